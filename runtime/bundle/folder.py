"""Opening a bundle, a folder or one ``.lineside`` zip of it: every file is checked before use."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from runtime import atomic
from runtime.bundle.manifest import ROI, FileRecord, Manifest, Variant, parse_manifest
from runtime.bundle.packed import (
    UNPACKED_PREFIX,
    hold,
    remove_left_behind,
    safe_member,
    unpack,
)
from runtime.bundle.replaced import Original
from runtime.bundle.sealing import Seal, has_seal
from runtime.bundle.thresholds import THRESHOLDS_FILE, Thresholds, read_thresholds, write_thresholds
from runtime.closing import Closeable
from runtime.errors import BundleError, ThresholdError, reading
from runtime.health.baseline import HEALTH_FILE, Health, read_health
from runtime.images.roi import ROI_FILE, RegionOfInterest, read_roi

MANIFEST_FILE = "bundle.json"
# Who made the bundle, see runtime/bundle/signing.py.
SIGNATURE_FILE = "bundle.json.sig"
ARCHIVE_SUFFIX = ".lineside"
# Files that may be there without being recorded: the manifest itself, its signature, and what is
# edited on the box.
UNRECORDED = frozenset({MANIFEST_FILE, SIGNATURE_FILE, THRESHOLDS_FILE, HEALTH_FILE})
# Where the provenance lists the files that were made with the bundle and carry a seal.
SEALED = "sealed"
_CHUNK = 1 << 20


class Bundle(Closeable):
    """A verified bundle.

    Attributes:
        root: folder with the bundle's files (a temporary one when a zip was opened).
        source: the path that was asked for.
        manifest: parsed bundle.json.
        original: tells whether another bundle was copied over it.
    """

    def __init__(
        self,
        root: Path,
        source: Path,
        manifest: Manifest,
        original: Original,
        *,
        unpacked: Path | None = None,
    ) -> None:
        self.root = root
        self.source = source
        self.manifest = manifest
        self.original = original
        self._unpacked = unpacked
        self._lock: int | None = None

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Open a bundle and verify the size and sha256 of every file.

        Args:
            path: a bundle folder, or a ``.lineside`` zip of one.

        Raises:
            BundleError: not a bundle, a newer schema, a missing or changed file, an unrecorded
                file, a symbolic link or a name that leaves the folder.
        """
        path = Path(path)
        if path.is_file():
            return cls._open_archive(path)
        if not (path / MANIFEST_FILE).is_file():
            found = "a folder without bundle.json" if path.is_dir() else "nothing there"
            raise BundleError(
                f"{path}: expected a bundle (a folder with bundle.json, or a .lineside file), "
                f"found {found}; make one with: lineside train --out BUNDLE"
            )
        with reading(path, "a bundle", BundleError, "copy the bundle again"):
            manifest, content = _verified_manifest(path)
            return cls(path, path, manifest, Original(path / MANIFEST_FILE, content))

    @classmethod
    def _open_archive(cls, path: Path) -> Bundle:
        remove_left_behind()
        unpacked = Path(tempfile.mkdtemp(prefix=UNPACKED_PREFIX))
        lock, original = hold(unpacked), Original(path)
        try:
            unpack(path, unpacked)
            with reading(path, "a bundle", BundleError, "copy the bundle again"):
                manifest, _ = _verified_manifest(unpacked)
                found = cls(unpacked, path, manifest, original, unpacked=unpacked)
        except BaseException:
            shutil.rmtree(unpacked, ignore_errors=True)
            if lock is not None:
                os.close(lock)
            raise
        found._lock = lock
        return found

    @property
    def is_packed(self) -> bool:
        """Whether this is the temporary copy of a packed bundle."""
        return self._unpacked is not None

    def model_path(self, variant: Variant) -> Path:
        """Path of a variant's model file."""
        return self.root / variant.path

    def verify_model(self, variant: Variant) -> None:
        """Verify a variant's files once more, before its engine is opened again.

        Raises:
            BundleError: one is missing or was changed.
        """
        folder = variant.path.rpartition("/")[0]
        for name, record in self.manifest.files.items():
            if name.rpartition("/")[0] == folder:
                _verify_file(self.root, name, record)

    def thresholds(self) -> Thresholds:
        """Read thresholds.json anew, so that an edit on the box takes effect without a restart.

        Raises:
            ThresholdError: the file is missing, damaged, has lost its seal, or belongs to another
                model.
        """
        path = self.root / THRESHOLDS_FILE
        found = read_thresholds(path, self._seal_of(THRESHOLDS_FILE))
        if found.model not in ("", self.manifest.model_fingerprint()):
            raise ThresholdError(
                f"{path}: expected thresholds of this bundle's model, found another model's; copy "
                "the right file, or type: lineside calibrate BUNDLE --good DIR"
            )
        return found

    def health(self) -> Health | None:
        """Read health.json anew; None where there is none, and then no picture is refused.

        Raises:
            HealthError: the file is damaged, or has lost its seal.
        """
        path = self.root / HEALTH_FILE
        return read_health(path, self._seal_of(HEALTH_FILE)) if path.exists() else None

    def roi(self) -> RegionOfInterest | None:
        """The region inside which alone parts are judged; None for the whole picture.

        Raises:
            BundleError: the bundle has one, but its picture is missing or damaged.
        """
        said = self.manifest.recipe.get(ROI)
        if said is None and ROI_FILE not in self.manifest.files:
            return None
        if said is None or ROI_FILE not in self.manifest.files:
            raise BundleError(
                f"{self.source}: expected bundle.json to name the region of interest and its file "
                f"{ROI_FILE}, found one of them alone; export or copy the bundle again"
            )
        return read_roi(self.root / ROI_FILE, self.manifest.input.size_hw)

    def require_part(self) -> None:
        """Refuse a bundle that has learned no part.

        Raises:
            BundleError: it is blank.
        """
        if self.manifest.is_blank:
            raise BundleError(
                f"{self.source}: expected a bundle that has learned a part, found a blank one, "
                "which judges nothing; teach it a part first: lineside teach BUNDLE --good DIR "
                "--out NEW --name PART, or at /teach of its station"
            )

    def missing_health(self) -> str:
        """Why a health.json that was made with the bundle is missed; empty if it is not."""
        if HEALTH_FILE not in self._sealed_files() or (self.root / HEALTH_FILE).exists():
            return ""
        if self.original.is_replaced():
            return ""
        return (
            f"{self.source}: expected {HEALTH_FILE}, which was made with the bundle, found none, "
            "so that no part is judged; copy the bundle again, or type: lineside calibrate BUNDLE "
            "--good DIR"
        )

    def unsealed(self) -> list[str]:
        """Files without a seal, as older versions wrote them: nothing shows an edit of them."""
        found = []
        for name in (THRESHOLDS_FILE, HEALTH_FILE):
            path = self.root / name
            # Of one that was made with a seal, reading it tells.
            if path.exists() and not has_seal(path) and name not in self._sealed_files():
                found.append(name)
        return found

    def _sealed_files(self) -> list[str]:
        recorded = self.manifest.provenance.get(SEALED)
        return list(map(str, recorded)) if isinstance(recorded, list) else []

    def _seal_of(self, name: str) -> Seal:
        return "required" if name in self._sealed_files() else "optional"

    def close(self) -> None:
        """Remove the temporary copy of an opened zip; a folder is left alone."""
        if self._unpacked is not None:
            shutil.rmtree(self._unpacked, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def is_unrecorded(name: str) -> bool:
    """Whether a file may be in a bundle without being recorded.

    What an editor or a power cut left of such a file is never read.

    Args:
        name: relative to the bundle, with forward slashes.
    """
    edited = (THRESHOLDS_FILE, HEALTH_FILE)
    return name in UNRECORDED or any(
        name == f"{one}~" or name.startswith(f".{one}.") for one in edited
    )


def file_record(path: Path) -> FileRecord:
    """Size and sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return FileRecord(path.stat().st_size, digest.hexdigest())


def pack_archive(folder: Path, archive: Path) -> None:
    """Write a bundle folder as one ``.lineside`` zip, atomically.

    Args:
        folder: a bundle folder; it is verified first.
        archive: target file, outside of it.

    Raises:
        BundleError: no folder, no valid bundle, or a target inside it.
    """
    if folder.is_file():
        raise BundleError(
            f"{folder}: expected a bundle folder, found a packed one; copy it as it is"
        )
    if archive.resolve().is_relative_to(folder.resolve()):
        raise BundleError(
            f"{archive}: expected a file outside of the bundle {folder}; name another place"
        )
    if archive.is_dir():
        raise BundleError(
            f"{archive}: expected a file to write, found a folder; name one in it: "
            f"{archive / folder.name}{ARCHIVE_SUFFIX}"
        )
    manifest = Bundle.open(folder).manifest
    temporary = archive.with_name(f".{archive.name}.part")
    try:
        # A box without a clock may date files before 1980, which a zip cannot hold.
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, strict_timestamps=False) as out:
            for name in sorted({*manifest.files, *UNRECORDED}):
                if (folder / name).is_file():
                    out.write(folder / name, name)
        atomic.sync(temporary)
        temporary.replace(archive)
        atomic.sync(archive.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _verified_manifest(root: Path) -> tuple[Manifest, bytes]:
    """The manifest of a folder whose files are as it says, and the bytes of bundle.json."""
    try:
        text = (root / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{root / MANIFEST_FILE}: expected readable JSON, found {error}; copy the bundle again"
        ) from error
    manifest = parse_manifest(text)
    for name, record in manifest.files.items():
        _verify_file(root, name, record)
    for path in root.rglob("*"):
        if path.is_symlink():
            raise BundleError(
                f"{path}: expected plain files only, found a symbolic link; copy the bundle again"
            )
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in manifest.files and not is_unrecorded(name):
            raise BundleError(
                f"{path}: expected only files that bundle.json lists, found one more; remove it"
            )
    return manifest, text


def _verify_file(root: Path, name: str, record: FileRecord) -> None:
    path = root / safe_member(name)
    if path.is_symlink() or any(
        parent.is_symlink() for parent in path.parents if root in parent.parents
    ):
        raise BundleError(
            f"{path}: expected plain files only, found a symbolic link; copy the bundle again"
        )
    if not path.is_file():
        raise BundleError(
            f"{path}: expected a file of {record.size} bytes, found nothing; copy the bundle again"
        )
    found = file_record(path)
    if found != record:
        raise BundleError(
            f"{path}: expected sha256 {record.sha256[:12]}… ({record.size} bytes), "
            f"found {found.sha256[:12]}… ({found.size} bytes); the file was changed or damaged, "
            "copy the bundle again"
        )


def collect_records(root: Path) -> dict[str, FileRecord]:
    """Size and hash of every file that a manifest must list, by name, sorted."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    names = ((path.relative_to(root).as_posix(), path) for path in paths)
    return {name: file_record(path) for name, path in names if not is_unrecorded(name)}


def seal(root: Path, manifest: Manifest) -> Manifest:
    """Hash all files below ``root``, write bundle.json, and open the bundle once to prove it.

    Args:
        root: folder with the model files, ``golden/`` and thresholds.json already in place.
        manifest: manifest whose ``files`` are replaced by what is found. Its provenance says too
            which files carry a seal of their own.

    Returns:
        The manifest as written.

    Raises:
        BundleError: the folder does not make a valid bundle.
    """
    records = collect_records(root)
    _bind_thresholds(root, dataclasses.replace(manifest, files=records))
    edited = [name for name in (THRESHOLDS_FILE, HEALTH_FILE) if has_seal(root / name)]
    provenance = {**manifest.provenance, SEALED: edited}
    sealed = dataclasses.replace(manifest, files=records, provenance=provenance)
    atomic.write_json(root / MANIFEST_FILE, sealed.to_json())
    return Bundle.open(root).manifest


def _bind_thresholds(root: Path, manifest: Manifest) -> None:
    """Note in thresholds.json whose scores they belong to; one that is no such file is left."""
    try:
        found = read_thresholds(root / THRESHOLDS_FILE)
    except ThresholdError:
        return
    bound = dataclasses.replace(found, model=manifest.model_fingerprint())
    if bound != found:
        write_thresholds(root / THRESHOLDS_FILE, bound)
