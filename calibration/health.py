"""The check of pictures, made anew from the good parts that a threshold calibration has read."""

from __future__ import annotations

from calibration.scoring import ScoredPictures
from runtime.bundle import Bundle
from runtime.errors import HealthError, ImageError
from runtime.health.baseline import HEALTH_FILE, keep_settings
from runtime.health.build import MIN_PICTURES, BaselineBuilder
from runtime.health.file import write_health
from runtime.preprocess import decode_rgb, resize
from runtime.progress import say, track


def refresh_health(bundle: Bundle, good: ScoredPictures) -> None:
    """Write health.json from the good parts; its switches stay, and with too few pictures all of it does.

    Args:
        bundle: an open bundle folder.
        good: the good parts with the scores of every calibrated variant.

    Raises:
        HealthError: the file cannot be written; the old one is then untouched.
    """
    builder = BaselineBuilder()
    for path in track(good.paths, "picture statistics"):
        try:
            image = decode_rgb(path)
        except ImageError:
            continue
        builder.add(resize(image, bundle.manifest.input.size_hw), image.shape[:2])
    health = builder.baseline({key: found.scores for key, found in good.by_variant.items()})
    if health is None:
        say(
            f"the check of pictures stays as it is: it needs {MIN_PICTURES} good pictures, found {len(builder.rows)}"
        )
        return
    try:
        old = bundle.health()
    except HealthError as problem:
        old = None
        say(f"the damaged check of pictures is replaced: {problem}")
    path = bundle.root / HEALTH_FILE
    try:
        write_health(path, keep_settings(health, old))
    except OSError as error:
        raise HealthError(
            f"{path}: expected to write it, but {error.strerror}; the old check of pictures stays in force, the new "
            "thresholds do too. Check the disk and the folder's owner"
        ) from error
