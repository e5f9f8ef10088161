"""Where compiled models are cached: the user's cache folder, never the working directory."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

ENVIRONMENT_VARIABLE = "LINESIDE_CACHE_DIR"


def model_cache_dir() -> Path | None:
    """Folder for OpenVINO's compiled models, or None where none can be written (read-only boxes still work).

    ``LINESIDE_CACHE_DIR`` chooses another place; set to an empty string it turns the cache off.
    """
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen == "":
        return None
    root = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("lineside", appauthor=False))
    folder = root / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def empty_model_cache() -> bool:
    """Delete the compiled models; they are made anew when they are needed.

    Returns:
        Whether there were any.
    """
    folder = model_cache_dir()
    blobs = [] if folder is None else list(folder.glob("*.blob"))
    for blob in blobs:
        blob.unlink(missing_ok=True)
    return bool(blobs)
