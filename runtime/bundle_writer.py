"""Writing a bundle: files first, then the manifest with their hashes, all under a temporary name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from runtime import atomic
from runtime.bundle import MANIFEST_FILE, Bundle, file_record, is_unrecorded
from runtime.manifest import FileRecord, Manifest


def collect_records(root: Path) -> dict[str, FileRecord]:
    """Size and hash of every file that a manifest must list, by name with forward slashes, sorted."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    names = ((path.relative_to(root).as_posix(), path) for path in paths)
    return {name: file_record(path) for name, path in names if not is_unrecorded(name)}


def seal(root: Path, manifest: Manifest) -> Manifest:
    """Hash all files below ``root`` and write bundle.json; the bundle is then complete and is opened once to prove it.

    Args:
        root: folder with the model files, ``golden/`` and thresholds.json already in place.
        manifest: manifest whose ``files`` are replaced by what is found.

    Returns:
        The manifest as written.

    Raises:
        BundleError: the folder does not make a valid bundle.
    """
    sealed = dataclasses.replace(manifest, files=collect_records(root))
    atomic.write_json(root / MANIFEST_FILE, sealed.to_json())
    return Bundle.open(root).manifest
