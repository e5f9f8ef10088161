"""Files and folders that appear whole or not at all: write under a temporary name, then rename."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from runtime.errors import sentence


def readable(text: str) -> str:
    """Text that can be stored and shown: bytes of a file name that are no UTF-8 are replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader, a crash or a full disk never sees half of it.

    Args:
        path: target file; its folder must exist.
        data: whole content.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full; an older file is then
            untouched.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; the bundle is meant to be read by the service's user.
        Path(name).chmod(0o644)
        Path(name).replace(path)
        sync(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, survive a power cut.

    A file system that knows no such thing is left as it is.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    with suppress(OSError):
        os.fsync(handle)
    os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write JSON (UTF-8, indented, no NaN) atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{readable(text)}\n".encode())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until nobody else is at work in a folder, and keep others waiting while the block runs.

    For what reads a file, changes it and writes it: of two at once one would be lost. Where locks
    are unknown, or the folder cannot be read, it is as if there were none.
    """
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def folder(target: Path) -> Iterator[Path]:
    """Build a folder under a temporary name beside ``target``; rename it when all went well.

    An existing ``target`` is replaced only at the end, and keeps its permissions; if the block
    fails or is interrupted it stays as it was. Of a link, the folder that it points to is replaced.

    Args:
        target: final folder.

    Yields:
        The temporary folder to write into, on the same file system as ``target``.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    # mkdtemp makes folders private; a bundle is meant to be read by the service's user.
    mode = target.stat().st_mode & 0o7777 if target.exists() else 0o755
    try:
        yield building
        # Last, for copying a tree into a folder gives it the tree's permissions.
        building.chmod(mode)
        for path in building.rglob("*"):
            sync(path)
        sync(building)
        if target.exists() and _exchange(building, target):
            sync(target.parent)
            shutil.rmtree(building, ignore_errors=True)
            return
        replaced = None
        if target.exists():
            replaced = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            target.rename(replaced / "was")
        try:
            building.rename(target)
        except BaseException:
            if replaced is not None:
                (replaced / "was").rename(target)
                replaced.rmdir()
            raise
        sync(target.parent)
        if replaced is not None:
            shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step, which a crash cannot cut in two: Linux's renameat2.

    Returns:
        Whether it was done; elsewhere there is no such step.
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2
    return bool(renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


Value = TypeVar("Value")


class EditedFile(Generic[Value]):
    """What a file says now.

    Args:
        path: the file; only its time and size are looked at here.
        read: reads it.
        what: its content in words, for :attr:`problem`.

    Attributes:
        value: the last good state.
        problem: why the file as it is now cannot be used; empty if it can.

    Raises:
        BundleError: the file cannot be read, so there is no last good state.
    """

    def __init__(self, path: Path, read: Callable[[], Value], what: str) -> None:
        self._path, self._read, self._what = path, read, what
        # Before reading, so that an edit in between is seen the next time.
        self._stamp = self._stamp_now()
        self.value = read()
        self.problem = ""

    def refresh(self) -> bool:
        """Take over an edit; costs one look at the file's time when nothing has changed.

        Returns:
            Whether the file has changed since it was last read.
        """
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.value = self._read()
        except Exception as error:
            # Whatever it is, the parts go on and say it.
            self.problem = f"the {self._what} cannot be used as it is now: {sentence(error)}"
        else:
            self.problem = ""
        return True

    def keep(self) -> None:
        """Leave the last good state in force, whatever the file says by now."""
        self.problem = ""

    def _stamp_now(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0, 0
        return status.st_mtime_ns, status.st_size, status.st_ino
