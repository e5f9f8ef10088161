"""A packed bundle, one ``.lineside`` zip: unpacked within bounds, and never left behind."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from runtime.errors import BundleError, LinesideError, sentence

_MAX_UNPACKED = 4 << 30
# A model's numbers hardly get smaller; what unpacks to very much more than it takes is no bundle.
_FREE_UNPACKED, _MAX_RATIO = 64 << 20, 50
_MAX_MEMBERS = 2000
UNPACKED_PREFIX = "lineside-bundle-"
# Long enough that whoever has made a folder has locked it.
_NEW_S = 60.0


def safe_member(name: str) -> PurePosixPath:
    """Check that a file name from a manifest or zip stays inside the bundle.

    Raises:
        BundleError: absolute, with ``..``, a backslash, a drive or a NUL.
    """
    path = PurePosixPath(name)
    if (
        not name
        or path.is_absolute()
        or ".." in path.parts
        or any(bad in name for bad in ("\\", ":", "\0"))
    ):
        raise BundleError(
            f"bundle: expected file names inside the bundle, found {name!r}; do not use this bundle"
        )
    return path


def unpack(path: Path, target: Path) -> None:
    """Unpack a packed bundle; nothing is written before its names and sizes are checked.

    Raises:
        BundleError: no zip, a damaged one, one that leaves the folder or is a bomb, or no room.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_size(path, members)
            for member in members:
                _check_member(path, member)
            archive.extractall(target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise _no_archive(path, error) from error
        raise BundleError(
            f"{path}: expected room in {target.parent} to unpack it, but {error.strerror}; free "
            "some, or set TMPDIR to another disk"
        ) from error
    except LinesideError:
        raise
    except Exception as error:
        # zipfile, its codecs and its names fail in more ways than one can list.
        raise _no_archive(path, error) from error


def _check_size(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    size = sum(member.file_size for member in members)
    allowed = min(_MAX_UNPACKED, max(_FREE_UNPACKED, _MAX_RATIO * path.stat().st_size))
    if size > allowed or len(members) > _MAX_MEMBERS:
        raise BundleError(
            f"{path}: expected at most {_MAX_MEMBERS} files and {allowed >> 20} MiB unpacked, "
            f"found {len(members)} and {size >> 20} MiB; do not use this file"
        )


def hold(folder: Path) -> int | None:
    """Hold a folder for as long as this process lives; None where locks are unknown."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def remove_left_behind() -> None:
    """Remove the unpacked bundles of processes that were killed: nobody holds them any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{UNPACKED_PREFIX}*"):
        try:
            status = folder.lstat()
        except OSError:
            continue
        ours = not hasattr(os, "getuid") or status.st_uid == os.getuid()
        if not (stat.S_ISDIR(status.st_mode) and ours and time.time() - status.st_mtime > _NEW_S):
            continue
        handle = hold(folder)
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    safe_member(member.filename)
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BundleError(
            f"{path}: expected files that are stored or deflated, found another compression; "
            "type: lineside pack BUNDLE OUT"
        )
    if (member.external_attr >> 16) & 0o170000 == 0o120000:
        raise BundleError(
            f"{path}: expected plain files only, found a symbolic link; do not use this file"
        )


def _no_archive(path: Path, error: Exception) -> BundleError:
    return BundleError(
        f"{path}: expected a bundle folder or a .lineside zip, found something else "
        f"({sentence(error)}); copy it again"
    )
