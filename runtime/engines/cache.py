"""OpenVINO's compiled models on disk: one is loaded only where its checksum says it is whole.

OpenVINO believes what it finds there, and a flipped byte is another verdict. Beside every blob
stands its sha256, written by whoever compiled it. A blob without one, or with another, is removed
and compiled anew. It shows damage, not malice: whoever may write a blob may write its checksum.

OpenVINO knows a model by its file's name and time. Another model that was copied there with the
same time would not be loaded, so that the model's own sha256 stands beside the blobs, too.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from runtime import atomic
from runtime.engines.base import model_cache_dir

log = logging.getLogger("lineside")

_CHECKSUM = ".sha256"
_MODEL = "model.sha256"


def trusted_cache(model_path: Path, device: str, config: dict[str, Any]) -> Path | None:
    """A folder whose blobs are whole, for one model with one configuration.

    Args:
        model_path: IR or ONNX file.
        device: that it is compiled for.
        config: of OpenVINO.

    Returns:
        None where nothing can be kept, or where something damaged cannot be removed.
    """
    root = model_cache_dir()
    if root is None:
        return None
    what = json.dumps([str(model_path.resolve()), device, config], sort_keys=True, default=str)
    folder = root / hashlib.sha256(what.encode()).hexdigest()[:16]
    try:
        # Of versions that kept no checksums.
        for blob in root.glob("*.blob"):
            blob.unlink(missing_ok=True)
        folder.mkdir(exist_ok=True)
        _remove_if_of_another(folder, model_path)
        for blob in folder.glob("*.blob"):
            _remove_unless_whole(blob)
    except OSError as error:
        log.info(f"{folder}: compiled models are not kept: {error}")
        return None
    return folder


def record_checksums(folder: Path) -> None:
    """Write the checksum of every blob that has none yet: right after it was compiled."""
    try:
        for blob in folder.glob("*.blob"):
            checksum = _beside(blob)
            if not checksum.exists():
                atomic.write_bytes(checksum, _digest(blob).encode())
    except OSError as error:
        log.info(f"{folder}: compiled models are not kept: {error}")


def _remove_if_of_another(folder: Path, model_path: Path) -> None:
    files = (model_path, model_path.with_suffix(".bin"))
    model = "".join(_digest(one) for one in files if one.is_file()).encode()
    known = folder / _MODEL
    if known.exists() and known.read_bytes() == model:
        return
    for blob in folder.glob("*.blob"):
        _beside(blob).unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
    atomic.write_bytes(known, model)


def _remove_unless_whole(blob: Path) -> None:
    checksum = _beside(blob)
    expected = checksum.read_bytes() if checksum.exists() else b""
    if expected and expected == _digest(blob).encode():
        return
    if expected:
        log.warning(
            f"warning: {blob}: the compiled model was damaged; it is removed and compiled anew. "
            "Check the disk"
        )
    blob.unlink(missing_ok=True)
    checksum.unlink(missing_ok=True)


def _beside(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}{_CHECKSUM}")


def _digest(blob: Path) -> str:
    with blob.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
