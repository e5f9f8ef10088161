"""The work behind ``lineside watch``."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

from runtime.commands._inspect import print_prediction, save_map
from runtime.errors import ImageError
from runtime.inspector import Inspector
from runtime.progress import say
from runtime.sources import Arrival, arrivals


def run(
    bundle: Path, source: str, engine: dict[str, Any], *, existing: bool, once: bool, save_maps: Path | None, as_json: bool
) -> None:  # fmt: skip
    """Inspect until the source ends or Ctrl-C; a picture that cannot be read is named and skipped.

    Raises:
        SourceError: there is no such source.
        EngineError: the engine fails.
    """
    verdicts: Counter[str] = Counter()
    stop = threading.Event()
    with Inspector(bundle, **engine) as inspector:
        parts = arrivals(source, stop, existing=existing, once=once)
        if save_maps is not None:
            save_maps.mkdir(parents=True, exist_ok=True)
        say(f"watching {source}; Ctrl-C ends it")
        try:
            for part in parts:
                if inspector.refresh_thresholds():
                    in_force = f"threshold: {inspector.threshold.image_threshold:.4g}"
                    say(inspector.threshold_problem or in_force)
                verdicts[_inspect(inspector, part, sum(verdicts.values()), save_maps, as_json=as_json)] += 1
        except KeyboardInterrupt:
            stop.set()
    total = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items())) or "no part"
    say(f"{source}: {total}")


def _inspect(
    inspector: Inspector, part: Arrival, index: int, save_maps: Path | None, *, as_json: bool
) -> str:
    try:
        prediction = inspector.inspect(part.source)
    except ImageError as error:
        say(f"skipped: {error}")
        return "unreadable"
    print_prediction(part.name, prediction, as_json=as_json)
    if save_maps is not None and prediction.verdict == "anomalous":
        stem = Path(part.name.replace("#", "-")).stem or "part"
        save_map(save_maps / f"{index:06d}_{stem}.png", part.source, prediction)
    return prediction.verdict
