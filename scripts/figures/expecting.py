"""What training says to expect: made-up defects of three strengths, and how many are found."""

from __future__ import annotations

from matplotlib.figure import Figure
from PIL import Image

from calibration.learning.made_up import PICTURE_FILE
from scripts.figures.world import World


def draw(world: World) -> Figure:
    """The picture that the bundle holds."""
    picture = Image.open(world.inspector.bundle.root / PICTURE_FILE).convert("RGB")
    drawn = Figure(figsize=(picture.width / 100, picture.height / 100))
    axes = drawn.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(picture)
    axes.set_axis_off()
    return drawn
