"""The work behind ``lineside watch``."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.commands._inspect import print_prediction, save_map
from runtime.errors import ImageError
from runtime.inspector import Inspector
from runtime.prediction import Prediction
from runtime.progress import say
from runtime.sources import Arrival
from runtime.watching import streams_for, watch_sources


def run(
    bundle: Path,
    sources: Sequence[str],
    engine: dict[str, Any],
    *,
    existing: bool,
    once: bool,
    save_maps: Path | None,
    as_json: bool,
) -> None:
    """Inspect until the sources end or Ctrl-C; a picture that cannot be read is named and skipped.

    Raises:
        SourceError: there is no such source.
        EngineError: the engine fails.
    """
    verdicts: Counter[str] = Counter()
    stop = threading.Event()
    title = ", ".join(sources)
    with Inspector(bundle, **engine, streams=streams_for(sources, engine, once=once)) as inspector:

        def take_over_edits() -> None:
            if inspector.refresh_thresholds():
                in_force = f"threshold: {inspector.threshold.image_threshold:.4g}"
                say(inspector.threshold_problem or in_force)

        found = watch_sources(inspector, sources, stop, take_over_edits, existing=existing, once=once)
        if save_maps is not None:
            save_maps.mkdir(parents=True, exist_ok=True)
        say(f"watching {title}; Ctrl-C ends it")
        try:
            for part, prediction in found:
                index = sum(verdicts.values())
                verdicts[_report(part, prediction, index, save_maps, as_json=as_json)] += 1
        except KeyboardInterrupt:
            stop.set()
    total = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items())) or "no part"
    say(f"{title}: {total}")


def _report(
    part: Arrival, prediction: Prediction | ImageError, index: int, save_maps: Path | None, *, as_json: bool
) -> str:
    if isinstance(prediction, ImageError):
        say(f"skipped: {prediction}")
        return "unreadable"
    print_prediction(part.name, prediction, as_json=as_json)
    if save_maps is not None and prediction.verdict == "anomalous":
        stem = Path(part.name.replace("#", "-")).stem or "part"
        save_map(save_maps / f"{index:06d}_{stem}.png", part.source, prediction)
    return prediction.verdict
