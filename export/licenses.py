"""The terms of a bundle's weights and pictures, for its card: what is known, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.backbones.weights import PACKAGED
from export.sample_data.dataset import RECORD_FILE
from runtime.images.dataset import GOOD

# As data sets name the file: MVTec AD has one for each category.
FILES = ("license.txt", "LICENSE.txt", "LICENSE", "LICENSE.md")
NOT_STATED = "not stated"
_MOST = 200


def licenses_of(recipe: dict[str, Any], pictures: tuple[Path, ...]) -> dict[str, str]:
    """What is known of the licenses of ``weights`` and ``data``.

    Args:
        recipe: as it stands in bundle.json.
        pictures: of good parts that are learned from.
    """
    return {"weights": _of_weights(recipe), "data": _of_data(pictures)}


def _of_weights(recipe: dict[str, Any]) -> str:
    if recipe.get("teacher") == "pdn":
        return "Apache-2.0 (anomalib's teacher)"
    given, backbone = recipe.get("backbone_weights"), str(recipe.get("backbone", ""))
    if given:
        return f"{NOT_STATED}: {backbone} with weights of {Path(str(given)).name}"
    if backbone in PACKAGED:
        return f"{PACKAGED[backbone].licence} ({backbone})"
    import timm

    try:
        known = timm.get_pretrained_cfg(backbone)
    except RuntimeError:
        known = None
    stated = getattr(known, "license", None)
    return f"{stated or NOT_STATED} ({backbone})"


def _of_data(pictures: tuple[Path, ...]) -> str:
    folder = pictures[0].absolute().parent
    folders = [folder]
    # MVTec AD's layout: the category's folder, and that of all of them.
    if folder.name == GOOD and folder.parent.name == "train":
        folders += folder.parents[1:3]
    for one in folders:
        if (one / RECORD_FILE).is_file():
            return "Apache-2.0 (drawn by lineside sample-data)"
        for name in FILES:
            stated = _first_line(one / name)
            if stated:
                return f"{stated} ({name})"
    return f"{NOT_STATED}: your own pictures, or look where they came from"


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = next((line.strip() for line in lines if line.strip()), "")
    return "".join(sign for sign in found if sign.isprintable())[:_MOST]
