"""PatchCore and EfficientAD as diagrams, with the picture and the map of a real part."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runtime.images.preprocess import decode_rgb
from scripts.figures import style
from scripts.figures.boxes import Box, arrow, box, canvas, picture
from scripts.figures.world import Judged, World


def draw_patchcore(world: World) -> Figure:
    """Training above, inspection below."""
    drawn, axes = canvas(4.6)
    one = _shown(world)
    good = decode_rgb(world.category.train_good[0])
    _row(axes, 54, "Training: once, on good parts")
    part = picture(axes, Box(9, 44, 13, 13), style.thumbnail(good), "good parts,\n256 × 256")
    network = box(
        axes,
        Box(31, 44, 19, 13),
        "frozen backbone",
        "lite0, blocks.2 and .4\n3 × 3 neighbourhood\naverage",
        style.NEUTRAL,
    )
    patches = box(
        axes, Box(55, 44, 19, 13), "patch features", "32 × 32 a picture,\n152 numbers each"
    )
    bank = box(
        axes,
        Box(84, 44, 21, 13),
        "memory bank",
        "up to 10,000 patches,\nchosen to cover all",
        style.GOOD,
    )
    arrow(axes, part.right, network.left)
    arrow(axes, network.right, patches.left)
    arrow(axes, patches.right, bank.left, "coreset")

    _row(axes, 26, "Inspection: every part, one pass")
    query = picture(
        axes, Box(9, 15, 13, 13), style.thumbnail(decode_rgb(one.part.path)), "the part"
    )
    again = box(
        axes,
        Box(31, 15, 19, 13),
        "same backbone",
        "same layers,\nsame neighbourhood",
        style.NEUTRAL,
    )
    distance = box(axes, Box(55, 15, 19, 13), "nearest prototype", "1,024 distances:\none a patch")
    heat = picture(
        axes, Box(76.5, 15, 12, 12), one.prediction.anomaly_map, "anomaly map,\n32 × 32", "magma"
    )
    result = box(axes, Box(93, 15, 12, 13), "score", "largest,\nre-weighted", style.BAD)
    arrow(axes, query.right, again.left)
    arrow(axes, again.right, distance.left)
    arrow(axes, distance.right, heat.left)
    arrow(axes, heat.right, result.left)
    arrow(axes, bank.bottom, (distance.x + 4, distance.top[1]), color=style.GOOD)
    return drawn


def draw_efficientad(world: World) -> Figure:
    """Three networks and their two differences."""
    drawn, axes = canvas(4.6)
    one = _shown(world)
    part = picture(axes, Box(9, 30, 13, 13), style.thumbnail(decode_rgb(one.part.path)), "the part")
    teacher = box(
        axes,
        Box(33, 47, 23, 11),
        "teacher, frozen",
        "knows everyday pictures;\n56 × 56 patches",
        style.NEUTRAL,
    )
    student = box(
        axes,
        Box(33, 30, 23, 13),
        "student",
        "imitates the teacher and\nthe autoencoder,\non good parts only",
    )
    auto = box(
        axes,
        Box(33, 12, 23, 11),
        "autoencoder",
        "sees the whole part\nthrough a narrow middle",
        style.GOOD,
    )
    for target in (teacher, student, auto):
        arrow(axes, part.right, target.left)
    local = box(
        axes,
        Box(61, 39, 22, 11),
        "student branch",
        "squared difference:\nlocal surprises",
        style.ACCENT,
    )
    whole = box(
        axes,
        Box(61, 21, 22, 11),
        "autoencoder branch",
        "squared difference:\nwrong arrangement",
        style.GOOD,
    )
    arrow(axes, teacher.right, local.left)
    arrow(axes, student.right, local.left)
    arrow(axes, student.right, whole.left)
    arrow(axes, auto.right, whole.left)
    add = box(
        axes,
        Box(87, 30, 22, 14),
        "anomaly map",
        "each branch scaled by its\nquantiles, then weighted\nand added",
        style.INK,
    )
    arrow(axes, local.right, add.left)
    arrow(axes, whole.right, add.left)
    result = box(axes, Box(87, 12, 22, 8), "score", "its maximum", style.BAD)
    arrow(axes, add.bottom, result.top)
    notes = (
        "Training adds three losses.  Student against teacher: the hardest patches only, plus the "
        "penalty term on "
        "everyday pictures.\nAutoencoder against teacher.  Student against autoencoder."
    )
    axes.text(
        50, 3.4, notes, ha="center", va="center", fontsize=8.5, color=style.INK, linespacing=1.4
    )
    return drawn


def _row(axes: Axes, y: float, text: str) -> None:
    axes.text(2.5, y, text, fontsize=11, fontweight="bold", va="center")


def _shown(world: World) -> Judged:
    cracked = [one for one in world.judged if one.part.defect_type == "crack"]
    return max(cracked, key=lambda one: one.prediction.pred_score)
