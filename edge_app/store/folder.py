"""The folder of an embedded store: whose it is, who holds it, and what becomes of a damaged shard.

LOCATION/<bundle key>/store.json     schema version, bundle fingerprint, embedding length
LOCATION/<bundle key>/lock           held while a process has the store open; contains its process
number LOCATION/<bundle key>/shard/         Qdrant Edge's own files LOCATION/<bundle
key>/shard.corrupt-<time>/   a shard that could not be opened, set aside
"""

from __future__ import annotations

import errno
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_app.store.schema import SCHEMA_VERSION, bundle_key
from runtime.atomic import write_json
from runtime.errors import StoreError

if sys.platform != "win32":
    import fcntl

STORE_FILE = "store.json"
LOCK_FILE = "lock"
SHARD_FOLDER = "shard"


def store_folder(location: Path, bundle: str) -> Path:
    """Folder of one bundle's store below a location.

    Args:
        location: what the user gave with ``--store``; several bundles share it, each in a folder of
            its own.
        bundle: fingerprint of the model.
    """
    # Somebody may point at the inner folder itself, for instance after copying one from another
    # box.
    return location if (location / STORE_FILE).is_file() else location / bundle_key(bundle)


def prepare(folder: Path, bundle: str, embedding_length: int, *, create: bool) -> None:
    """Create a store's folder, or check that an existing one is for this bundle.

    Args:
        folder: from :func:`store_folder`.
        bundle: fingerprint of the model.
        embedding_length: length of its descriptors.
        create: False to refuse a store that does not exist yet.

    Raises:
        StoreError: the folder is for another bundle or length, of a newer schema, missing, or
            cannot be written.
    """
    file = folder / STORE_FILE
    try:
        if file.is_file():
            _check(folder, _read(file), bundle, embedding_length)
            return
        if not create:
            raise StoreError(_nothing_indexed(folder, bundle))
        folder.mkdir(parents=True, exist_ok=True)
        write_json(
            file,
            {
                "schema_version": SCHEMA_VERSION,
                "bundle": bundle,
                "embedding_length": embedding_length,
            },
        )
    except OSError as error:
        raise StoreError(unwritable(folder, error)) from error


def unwritable(folder: Path, error: OSError) -> str:
    """One line for a folder that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = (
        "free some space" if full else "choose another folder with --store, or change its owner"
    )
    return f"{folder}: expected a folder that can be written, found '{error.strerror or error}'; {advice}"


class FolderLock:
    """Exclusive use of a store's folder by one process; the kernel lets go when the process dies.

    Args:
        folder: the store's folder.

    Raises:
        StoreError: another process holds it (the message says which), or the lock cannot be
            written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(unwritable(folder, error)) from error
        try:
            self._take(folder)
        except BaseException:
            os.close(self._handle)
            raise

    def _take(self, folder: Path) -> None:
        # Windows has no flock; there the engine's own lock refuses the second process, without
        # naming the first.
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(_held(folder, os.pread(self._handle, 32, 0))) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; the file stays, because removing it would let two processes lock two different files."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def set_aside(damaged: Path, into: Path) -> Path:
    """Rename a damaged folder so that nothing is lost and a new one can take its place.

    Args:
        damaged: the folder.
        into: where to keep it, on the same disk.

    Returns:
        ``into/<name>.corrupt-<UTC time>``.

    Raises:
        StoreError: it cannot be renamed.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    target = into / f"{damaged.name}.corrupt-{stamp}"
    try:
        damaged.rename(target)
    except OSError as error:
        raise StoreError(unwritable(into, error)) from error
    return target


def read_store_file(file: Path) -> tuple[str, int]:
    """Fingerprint of the bundle and length of the descriptors of a store.

    Raises:
        StoreError: the file is damaged or of another schema.
    """
    found = _read(file)
    bundle, length = found.get("bundle"), found.get("embedding_length")
    if not isinstance(bundle, str) or not isinstance(length, int):
        raise StoreError(
            f"{file}: expected the fields bundle and embedding_length, found {sorted(found)}; "
            "move the folder away"
        )
    _check(file.parent, found, bundle, length)
    return bundle, length


def _read(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(
            f"{file}: expected JSON, found {error}; move the folder away and index again: "
            "lineside index"
        ) from error
    if not isinstance(value, dict):
        raise StoreError(
            f"{file}: expected a JSON object, found something else; move the folder away"
        )
    return value


def _check(folder: Path, found: dict[str, Any], bundle: str, embedding_length: int) -> None:
    version = found.get("schema_version")
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        advice = (
            "type: pip install --upgrade lineside" if newer else "index again into another folder"
        )
        raise StoreError(
            f"{folder}: expected a store of schema version {SCHEMA_VERSION}, found {version!r}; "
            f"{advice}"
        )
    other = str(found.get("bundle"))
    if other != bundle:
        raise StoreError(
            f"{folder}: expected parts of bundle {bundle[:16]}, found those of {other[:16]}; "
            "descriptors of different "
            "bundles cannot be compared: index into another folder, e.g. --store "
            f"{folder.name}-{bundle[:8]}"
        )
    length = found.get("embedding_length")
    if length != embedding_length:
        raise StoreError(
            f"{folder}: expected descriptors of length {embedding_length}, found {length}; "
            "index into another folder with --store"
        )


def _nothing_indexed(folder: Path, bundle: str) -> str:
    others = sorted(path.parent.name for path in folder.parent.glob(f"*/{STORE_FILE}"))
    found = f"only those of {', '.join(others)}" if others else "none"
    return (
        f"{folder.parent}: expected parts indexed with bundle {bundle[:16]}, found {found}; "
        f"type: lineside index BUNDLE --images DIR --store {folder.parent}"
    )


def _held(folder: Path, content: bytes) -> str:
    pid = content.decode(errors="replace").strip()
    who = (
        "this very process"
        if pid == str(os.getpid())
        else f"process {pid or 'unknown'}{_name_of(pid)}"
    )
    return (
        f"{folder}: expected a store that nobody has open, found it held by {who}; "
        "stop that process, or share a server with --store http://HOST:6333"
    )


def _name_of(pid: str) -> str:
    try:
        words = (
            Path(f"/proc/{int(pid)}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")
        )
    except (OSError, ValueError):
        return ""
    return f" ({words.strip()[:80]})" if words.strip() else ""
