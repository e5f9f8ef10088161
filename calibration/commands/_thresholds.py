"""The work behind ``lineside thresholds``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from calibration.thresholds_file import UNDONE, can_roll_back, require_folder, roll_back, save
from calibration.variants import choose_variants
from runtime.bundle.folder import Bundle
from runtime.bundle.thresholds import Threshold, Thresholds
from runtime.console import emit_json, percent, wide_console


def run(path: Path, action: str, options: dict[str, Any], *, as_json: bool) -> None:
    """Show, or change and show."""
    if action in ("set", "rollback"):
        require_folder(path)
    with Bundle.open(path) as bundle:
        keys = [
            one.key
            for one in choose_variants(bundle.manifest, options["engine"], options["precision"])
        ]
        thresholds = bundle.thresholds()
        if action in ("set", "rollback"):
            thresholds = _changed(thresholds, action, keys, options)
            save(bundle, thresholds)
    rows = _history(thresholds, keys) if action == "history" else _in_force(thresholds, keys)
    if as_json:
        for row in rows:
            emit_json({name: _plain(value) for name, value in row.items()})
    else:
        wide_console().print(_table(rows))


def _changed(
    thresholds: Thresholds, action: str, keys: list[str], options: dict[str, Any]
) -> Thresholds:
    if action == "rollback":
        # With none to go back to, the first one's error says so.
        for key in [key for key in keys if can_roll_back(thresholds, key)] or keys[:1]:
            thresholds = roll_back(thresholds, key)
        return thresholds
    for key in keys:
        thresholds = thresholds.with_threshold(key, _by_hand(thresholds.of(key), options))
    return thresholds


def _by_hand(old: Threshold, options: dict[str, Any]) -> Threshold:
    image, pixel = options["image_threshold"], options["pixel_threshold"]
    return dataclasses.replace(
        old,
        image_threshold=old.image_threshold if image is None else image,
        pixel_threshold=old.pixel_threshold if pixel is None else pixel,
        method="manual",
        # What was promised for the old value says nothing about a value chosen by hand.
        max_false_rejects=None,
        confidence=None,
        note=options["note"] or "set by hand; promises nothing",
        set_at="",
    )


def _in_force(thresholds: Thresholds, keys: list[str]) -> list[dict[str, Any]]:
    found = {key: thresholds.variants[key] for key in keys if key in thresholds.variants}
    return [{"variant": key, "state": "in force", **asdict(one)} for key, one in found.items()]


def _history(thresholds: Thresholds, keys: list[str]) -> list[dict[str, Any]]:
    earlier = [
        {**entry, "state": "undone" if entry.get(UNDONE) else "replaced"}
        for entry in thresholds.history
        if str(entry.get("variant")) in keys
    ]
    return [*earlier, *_in_force(thresholds, keys)]


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("variant", "state", "set at", "method"):
        table.add_column(name, no_wrap=True)
    for name in ("image threshold", "pixel threshold", "good", "false rejects", "confidence"):
        table.add_column(name, justify="right")
    table.add_column("note")
    for row in rows:
        table.add_row(
            str(row["variant"]),
            str(row["state"]),
            str(row.get("set_at", ""))[:19],
            str(row.get("method", "")),
            _shown(row.get("image_threshold"), "{:.4f}".format),
            _shown(row.get("pixel_threshold"), "{:.4f}".format),
            str(row.get("n_good", "-")),
            _shown(row.get("max_false_rejects"), percent),
            _shown(row.get("confidence"), percent),
            str(row.get("note", "")),
        )
    return table


def _shown(value: Any, form: Callable[[float], str]) -> str:
    """A number in its form; anything else, which somebody edited in, as it stands."""
    if value is None:
        return "-"
    return form(value) if isinstance(value, (int, float)) else str(value)


def _plain(value: Any) -> Any:
    """What JSON can hold: a number that is not finite, which somebody edited in, becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
