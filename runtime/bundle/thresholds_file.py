"""thresholds.json on disk: who may change it, what a rollback means, how it is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from runtime import atomic
from runtime.bundle.folder import ARCHIVE_SUFFIX, Bundle
from runtime.bundle.reference import read_reference, reference_file
from runtime.bundle.sealing import Seal
from runtime.bundle.thresholds import (
    THRESHOLDS_FILE,
    Threshold,
    Thresholds,
    read_thresholds,
    write_thresholds,
)
from runtime.decode import convert
from runtime.errors import BundleError, HealthError, ThresholdError
from runtime.health.plausibility import check_threshold

# A name that a bundle may hold beside thresholds.json.
DAMAGED = f".{THRESHOLDS_FILE}.damaged"
# Marks a state in the history that was rolled back, so that a second rollback goes further back.
UNDONE = "undone"
# Methods that look at good parts alone.
FROM_GOOD_PARTS = frozenset({"conformal", "tolerance", "leave_one_out", "prediction_bound"})


Action = Literal["show", "history", "set", "rollback", "seal"]


@dataclass(frozen=True)
class ByHand:
    """Thresholds that somebody chose.

    Attributes:
        image_threshold: raw score; None leaves it.
        pixel_threshold: raw map value; None leaves it.
        note: why, for those who come later.
    """

    image_threshold: float | None = None
    pixel_threshold: float | None = None
    note: str = ""


def thresholds_of(
    path: Path,
    action: Action = "show",
    by_hand: ByHand | None = None,
    *,
    engine: str | None = None,
    precision: str | None = None,
) -> list[dict[str, Any]]:
    """The thresholds of a bundle's variants, after a change if one is asked for.

    Args:
        path: a bundle; a folder where something changes.
        action: ``set`` takes over ``by_hand``, ``rollback`` goes back to the thresholds before,
            ``seal`` takes the file as it is, after an edit by hand.
        by_hand: what to set.
        engine: only this engine's; None for all.
        precision: only this precision's; None for all.

    Returns:
        A row for each variant: ``variant``, ``state`` and the fields of
        :class:`runtime.bundle.thresholds.Threshold`; with ``history`` earlier ones first, as they
        stand in the file.

    Raises:
        BundleError: no bundle, a packed one that should change, or no variant that matches.
        ThresholdError: the file is damaged, a value is not finite, or there is nothing to go back
            to.
    """
    changes = action in ("set", "rollback", "seal")
    if changes:
        require_folder(path)
    with atomic.alone(path) if changes else nullcontext(), Bundle.open(path) as bundle:
        keys = [one.key for one in bundle.manifest.variants_matching(engine, precision)]
        if action == "seal":
            thresholds = read_thresholds(bundle.root / THRESHOLDS_FILE, "ignored")
            thresholds = replace(thresholds, model=bundle.manifest.model_fingerprint())
        else:
            thresholds = bundle.thresholds()
        if action == "rollback":
            thresholds = _rolled_back(thresholds, keys)
        elif action == "set" and by_hand is not None:
            for key in keys:
                thresholds = thresholds.with_threshold(key, _set(thresholds.of(key), by_hand))
        if changes:
            _refuse_implausible(bundle, thresholds)
            save(bundle, thresholds, seal="ignored" if action == "seal" else "optional")
    return rows_of(thresholds, keys, history=action == "history")


def rows_of(
    thresholds: Thresholds, keys: Sequence[str], *, history: bool = False
) -> list[dict[str, Any]]:
    """A row for each threshold of some variants, as :func:`thresholds_of` returns them."""
    earlier = thresholds.history if history else ()
    return [
        *(
            {**entry, "state": "undone" if entry.get(UNDONE) else "replaced"}
            for entry in earlier
            if str(entry.get("variant")) in keys
        ),
        *(
            {"variant": key, "state": "in force", **asdict(thresholds.variants[key])}
            for key in keys
            if key in thresholds.variants
        ),
    ]


def _refuse_implausible(bundle: Bundle, thresholds: Thresholds) -> None:
    try:
        health = bundle.health()
    except HealthError:
        health = None
    for variant in bundle.manifest.variants:
        if variant.key in thresholds.variants:
            golden = reference_file(bundle.root, variant)
            reference = read_reference(golden) if golden.is_file() else None
            check_threshold(
                variant.key, thresholds.of(variant.key), health, bundle.manifest, reference
            )


def require_folder(path: Path) -> None:
    """Refuse a packed bundle: its thresholds cannot be changed in place.

    Raises:
        BundleError: ``path`` is a file.
    """
    if not path.is_file():
        return
    packed = path.suffix == ARCHIVE_SUFFIX
    folder = path.with_suffix("") if packed else path.with_name(f"{path.name}-folder")
    raise BundleError(
        f"{path}: expected a bundle folder, found a packed one, whose thresholds cannot be changed "
        f"in place; unpack it first with: python -m zipfile -e {path} {folder}"
    )


def save(bundle: Bundle, thresholds: Thresholds, seal: Seal = "optional") -> None:
    """Write thresholds.json whole or not at all; a damaged one is kept under another name.

    Args:
        bundle: an open bundle folder.
        thresholds: what to write.
        seal: what is asked of the one that is there; if it is not right, that one is damaged.

    Raises:
        ThresholdError: the folder cannot be written; the old file is then untouched.
    """
    path = bundle.root / THRESHOLDS_FILE
    try:
        try:
            read_thresholds(path, seal)
        except ThresholdError:
            if path.exists():
                shutil.copy2(path, path.with_name(DAMAGED))
        write_thresholds(path, thresholds)
    except OSError as error:
        raise ThresholdError(
            f"{path}: expected to write it, but {error.strerror}; the old thresholds stay in "
            "force. Check the disk and the folder's owner"
        ) from error


def roll_back(thresholds: Thresholds, variant_key: str) -> Thresholds:
    """A copy with a variant's last threshold before the one in force.

    Args:
        thresholds: all of thresholds.json; the abandoned threshold stays in its history.
        variant_key: ``engine/precision``.

    Raises:
        ThresholdError: nothing to go back to, or the history was edited into nonsense.
    """
    current = thresholds.of(variant_key)
    history = list(thresholds.history)
    place = _last_place(thresholds, variant_key)
    if place is None:
        raise ThresholdError(
            f"thresholds.json: expected an earlier threshold of {variant_key} to go back to, found "
            "none; set one with: lineside thresholds BUNDLE set --image-threshold X"
        )
    restored = _parsed(history.pop(place), variant_key)
    history.append({"variant": variant_key, **asdict(current), UNDONE: True})
    variants = {**thresholds.variants, variant_key: restored}
    return replace(thresholds, variants=variants, history=tuple(history))


def last_from_good_parts(thresholds: Thresholds, variant_key: str) -> Threshold | None:
    """The newest threshold of a variant that was set from good parts alone.

    Good parts lie below it. One set by hand or by costs may be anywhere.

    Raises:
        ThresholdError: the history was edited into nonsense.
    """
    current = thresholds.variants.get(variant_key)
    if current is not None and current.method in FROM_GOOD_PARTS:
        return current
    for entry in reversed(thresholds.history):
        if _is_earlier(entry, variant_key) and entry.get("method") in FROM_GOOD_PARTS:
            return _parsed(entry, variant_key)
    return None


def _rolled_back(thresholds: Thresholds, keys: Sequence[str]) -> Thresholds:
    # With none to go back to, the first one's error says so.
    with_earlier = [key for key in keys if _last_place(thresholds, key) is not None]
    for key in with_earlier or keys[:1]:
        thresholds = roll_back(thresholds, key)
    return thresholds


def _set(old: Threshold, by_hand: ByHand) -> Threshold:
    image, pixel = by_hand.image_threshold, by_hand.pixel_threshold
    return replace(
        old,
        image_threshold=old.image_threshold if image is None else image,
        pixel_threshold=old.pixel_threshold if pixel is None else pixel,
        method="manual",
        # What was promised for the old value says nothing about a value chosen by hand.
        max_false_rejects=None,
        confidence=None,
        note=by_hand.note or "set by hand; promises nothing",
        set_at="",
    )


def _is_earlier(entry: dict[str, Any], variant_key: str) -> bool:
    return entry.get("variant") == variant_key and not entry.get(UNDONE)


def _last_place(thresholds: Thresholds, variant_key: str) -> int | None:
    found = [_is_earlier(entry, variant_key) for entry in thresholds.history]
    return len(found) - 1 - found[::-1].index(True) if True in found else None


def _parsed(entry: dict[str, Any], variant_key: str) -> Threshold:
    return convert(
        {name: value for name, value in entry.items() if name not in ("variant", UNDONE)},
        Threshold,
        where=f"thresholds.json: an earlier threshold of {variant_key}",
        error=ThresholdError,
        advice="set one with: lineside thresholds BUNDLE set --image-threshold X",
    )
