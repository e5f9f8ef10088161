"""Pictures that cannot be judged, and a lamp that ages until the drift test speaks."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from runtime.health.drift import DriftMonitor
from runtime.images.preprocess import decode_rgb
from scripts.figures import style
from scripts.figures.world import World

COLORS = {"good": style.GOOD, "anomalous": style.BAD, "cannot_judge": style.ACCENT}
# Away from the parts of the other figures.
FIRST, BEFORE, AFTER = 9000, 120, 160
DIMMER_BY = 0.2

Picture = npt.NDArray[np.uint8]


def draw_unwell(world: World) -> Figure:
    """One good part as it is and spoiled in three ways, and one that is wrong."""
    good = world.extra(FIRST)
    crack = decode_rgb(next(part.path for part in world.category.test if part.is_anomalous))
    shown = {
        "a good part": good,
        "the lamp is out": _dimmed(good, 0.2),
        "out of focus": cv2.GaussianBlur(good, (0, 0), 6.0),
        "a crack": crack,
    }
    drawn = style.figure(2.9)
    for axes, (title, picture) in zip(drawn.subplots(1, 4), shown.items(), strict=True):
        said = world.inspector.inspect(picture)
        style.show(axes, style.thumbnail(picture), title)
        reason = said.reason.split(":")[0]
        axes.set_xlabel(
            f"{said.verdict}\n{reason}", color=COLORS[said.verdict], fontsize=10.5, weight="bold"
        )
    return drawn


def draw_drift(world: World) -> Figure:
    """Brightness of parts as they come, the limit of what can be judged, and the alarm."""
    inspector = world.inspector
    health = inspector.health
    if health is None:
        raise ValueError("expected a bundle with health.json, found none")
    monitor = DriftMonitor(copy.deepcopy(health), inspector.variant.key, 0)
    seen, alarm = [], None
    for number in range(BEFORE + AFTER):
        dimmer = DIMMER_BY * max(number - BEFORE, 0) / AFTER
        said = inspector.inspect(_dimmed(world.extra(FIRST + 1 + number), 1 - dimmer))
        statistics = said.statistics or {}
        seen.append(_gray(statistics["brightness"]))
        alarm = alarm or monitor.update(statistics, said.pred_score)
    drawn = style.figure(3.4)
    axes = drawn.subplots()
    axes.plot(range(1, len(seen) + 1), seen, ".", color=style.NEUTRAL, ms=5)
    axes.axvline(BEFORE, color=style.GOOD, lw=1.5)
    axes.text(
        BEFORE - 3, max(seen) + 7, "the lamp begins to age", ha="right", va="top", color=style.GOOD
    )
    low = health.limits["brightness"].low
    if low is not None:
        axes.axhline(_gray(low), color=style.ACCENT, lw=1.5, ls="--")
        axes.text(1, _gray(low) + 1, "below: cannot_judge", color=style.ACCENT, va="bottom")
    if alarm is not None:
        axes.axvline(alarm.noticed_part, color=style.BAD, lw=1.8)
        axes.text(
            alarm.noticed_part + 3,
            max(seen) + 7,
            f"drift noticed at part {alarm.noticed_part},\nsince about part {alarm.since_part}",
            color=style.BAD,
            va="top",
        )
    axes.set(
        title=f"A lamp that loses {DIMMER_BY:.0%} of its light in {AFTER} parts",
        xlabel="part",
        ylabel="brightness, gray levels",
        ylim=(None, max(seen) + 8),
    )
    return drawn


def _dimmed(picture: Picture, share: float) -> Picture:
    return np.round(picture * share).astype(np.uint8)


def _gray(brightness: float) -> float:
    """Gray levels of ``brightness``, log2(1 + gray level)."""
    return 2.0**brightness - 1
