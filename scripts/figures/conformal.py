"""A threshold from 59 good parts, with either promise, and what it does to 300 new ones."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from calibration.threshold_rules import promise
from scripts.figures import style
from scripts.figures.world import World

SET_WITH, CHECKED_ON = 59, 300
RATE = 0.05
# Away from the parts of the other figures.
FIRST = 5000


def draw(world: World) -> Figure:
    """Scores that set both thresholds above, new ones below."""
    numbers = range(FIRST, FIRST + SET_WITH + CHECKED_ON)
    scores = np.array(
        [world.inspector.inspect(world.extra(number)).pred_score for number in numbers]
    )
    known, new = scores[:SET_WITH], scores[SET_WITH:]
    bins = np.linspace(scores.min(), scores.max(), 36)
    drawn = style.figure(4.6)
    upper, lower = drawn.subplots(2, 1, sharex=True)
    upper.hist(known, bins=bins, color=style.NEUTRAL, alpha=0.8)
    upper.set(
        title=f"{SET_WITH} good parts set the threshold for {RATE:.0%} false rejects",
        ylabel="parts",
    )
    lower.hist(new, bins=bins, color=style.GOOD, alpha=0.8)
    lower.set(
        title=f"What it does to {CHECKED_ON} new good parts", xlabel="raw score", ylabel="parts"
    )
    for confidence, name, color, height in (
        (None, "on average", style.ACCENT, 0.95),
        (0.95, "95 % sure", style.BAD, 0.7),
    ):
        chosen = promise(SET_WITH, RATE, confidence)
        threshold = chosen.of(known)
        texts = (
            f"{name}: the {chosen.rank}th smallest, {threshold:.1f}",
            f"{name}: {(new > threshold).mean():.1%} flagged",
        )
        for axes, text in zip((upper, lower), texts, strict=True):
            axes.axvline(threshold, color=color, lw=1.8)
            axes.text(
                0.99, height, text, color=color, ha="right", va="top", transform=axes.transAxes
            )
    return drawn
