"""Changing thresholds.json of a bundle on disk: who may, what a rollback means, and how it is written."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime.bundle.folder import ARCHIVE_SUFFIX, Bundle
from runtime.bundle.thresholds import (
    THRESHOLDS_FILE,
    Threshold,
    Thresholds,
    read_thresholds,
    write_thresholds,
)
from runtime.errors import BundleError, ThresholdError

# A name that a bundle may hold beside thresholds.json.
DAMAGED = f".{THRESHOLDS_FILE}.damaged"
# Marks a state in the history that was rolled back, so that a second rollback goes further back.
UNDONE = "undone"
# Methods that look at good parts alone.
FROM_GOOD_PARTS = frozenset({"conformal", "tolerance", "prediction_bound"})


def require_folder(path: Path) -> None:
    """Refuse a packed bundle: its thresholds cannot be changed in place.

    Raises:
        BundleError: ``path`` is a file.
    """
    if path.is_file():
        folder = (
            path.with_suffix("")
            if path.suffix == ARCHIVE_SUFFIX
            else path.with_name(f"{path.name}-folder")
        )
        raise BundleError(
            f"{path}: expected a bundle folder, found a packed one, whose thresholds cannot be "
            "changed in place; "
            f"unpack it first with: python -m zipfile -e {path} {folder}"
        )


def save(bundle: Bundle, thresholds: Thresholds) -> None:
    """Write thresholds.json whole or not at all; a damaged one is kept under another name.

    Raises:
        ThresholdError: the folder cannot be written; the old file is then untouched.
    """
    path = bundle.root / THRESHOLDS_FILE
    try:
        _keep_damaged(path)
        write_thresholds(path, thresholds)
    except OSError as error:
        raise ThresholdError(
            f"{path}: expected to write it, but {error.strerror}; the old thresholds stay in "
            "force. "
            "Check the disk and the folder's owner"
        ) from error


def _keep_damaged(path: Path) -> None:
    try:
        read_thresholds(path)
    except ThresholdError:
        if path.exists():
            shutil.copy2(path, path.with_name(DAMAGED))


def roll_back(thresholds: Thresholds, variant_key: str) -> Thresholds:
    """A copy with a variant's last threshold before the one in force; the abandoned one stays in the history.

    Args:
        thresholds: all of thresholds.json.
        variant_key: ``engine/precision``.

    Raises:
        ThresholdError: nothing to go back to, or the history was edited into nonsense.
    """
    current = thresholds.of(variant_key)
    history = list(thresholds.history)
    place = _last_place(thresholds, variant_key)
    if place is None:
        raise ThresholdError(
            f"thresholds.json: expected an earlier threshold of {variant_key} to go back to, "
            "found none; "
            "set one with: lineside thresholds BUNDLE set --image-threshold X"
        )
    restored = _parsed(history.pop(place), variant_key)
    history.append({"variant": variant_key, **asdict(current), UNDONE: True})
    return Thresholds({**thresholds.variants, variant_key: restored}, tuple(history))


def can_roll_back(thresholds: Thresholds, variant_key: str) -> bool:
    """Whether a variant has an earlier threshold to go back to."""
    return _last_place(thresholds, variant_key) is not None


def last_from_good_parts(thresholds: Thresholds, variant_key: str) -> Threshold | None:
    """The newest threshold of a variant that was set from good parts alone, so that good parts lie below it.

    One set by hand or by costs may be anywhere.

    Raises:
        ThresholdError: the history was edited into nonsense.
    """
    current = thresholds.variants.get(variant_key)
    if current is not None and current.method in FROM_GOOD_PARTS:
        return current
    for entry in reversed(thresholds.history):
        if (
            entry.get("variant") == variant_key
            and entry.get("method") in FROM_GOOD_PARTS
            and not entry.get(UNDONE)
        ):
            return _parsed(entry, variant_key)
    return None


def _last_place(thresholds: Thresholds, variant_key: str) -> int | None:
    places = (
        index
        for index, entry in enumerate(thresholds.history)
        if entry.get("variant") == variant_key and not entry.get(UNDONE)
    )
    return max(places, default=None)


def _parsed(entry: dict[str, Any], variant_key: str) -> Threshold:
    fields = {name: value for name, value in entry.items() if name not in ("variant", UNDONE)}
    try:
        return Threshold(**fields)
    except TypeError as error:
        raise ThresholdError(
            f"thresholds.json: expected an earlier threshold of {variant_key} in the history, "
            "found a damaged entry "
            f"({error}); set one with: lineside thresholds BUNDLE set --image-threshold X"
        ) from error
