"""Data sets that are laid out in another way than MVTec AD, read as they come.

VisA (https://github.com/amazon-science/spot-diff): ``split_csv/1cls.csv`` says which picture is
what. COCO: a file of annotations for each split, or one for all. BTAD and MVTec LOCO AD are MVTec
AD's tree with other names, see :mod:`runtime.images.dataset`.
"""

from __future__ import annotations

import csv
import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import DataError, reading
from runtime.images.dataset import GOOD, Category, Part
from runtime.images.layouts.coco import Annotation, CocoFile, Outlines, Picture, is_coco, read_coco

log = logging.getLogger("lineside")

VISA_SPLIT = Path("split_csv") / "1cls.csv"
_TEST_SPLITS = ("test", "valid", "val", "validation")


def other_categories(root: Path) -> list[str]:
    """Names of VisA's categories; none where it is not VisA."""
    return sorted({row["object"] for row in _visa_rows(root)}) if _is_visa(root) else []


def other_layout(root: Path, category: str | None) -> Category | None:
    """The category if the root is VisA's or has COCO's annotations; None if it is neither.

    Raises:
        DataError: as for ``load_category``.
    """
    if _is_visa(root) and category is not None:
        return _visa(root, category)
    if _is_visa(root.parent) and category in (None, root.name):
        return _visa(root.parent, root.name)
    if root.is_dir() and not (root / "train" / GOOD).is_dir():
        folder = root / category if category and (root / category).is_dir() else root
        if files := _coco_files(folder):
            return _coco(folder, files)
    return None


def _is_visa(root: Path) -> bool:
    return (root / VISA_SPLIT).is_file()


def _visa_rows(root: Path) -> list[dict[str, str]]:
    path = root / VISA_SPLIT
    with reading(path, "VisA's list of pictures", DataError, "unpack the data set again"):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or not {"object", "split", "label", "image", "mask"} <= set(rows[0]):
            raise DataError(
                f"{path}: expected the columns object, split, label, image, mask, found others; "
                "unpack the data set again"
            )
    return rows


def _visa(root: Path, category: str) -> Category:
    rows = [row for row in _visa_rows(root) if row["object"] == category]
    train = [root / row["image"] for row in rows if row["split"] == "train"]
    if not train:
        raise DataError(
            f"{root}: expected the category '{category}', found "
            f"{', '.join(other_categories(root))}; check --category"
        )
    test = []
    for row in rows:
        if row["split"] == "test":
            bad = row["label"] != "normal"
            mask = root / row["mask"] if row["mask"] else None
            test.append(
                Part(root / row["image"], "anomaly" if bad else GOOD, mask if bad else None)
            )
    _check_there([*train, *(part.path for part in test)], root / VISA_SPLIT)
    return Category(category, tuple(sorted(train)), _in_order(test))


@dataclass(frozen=True)
class _Annotated:
    """One file of annotations; ``split`` is empty where there is one file for all."""

    path: Path
    split: str


def _coco_files(folder: Path) -> list[_Annotated]:
    found = []
    for place in (folder, folder / "annotations", *sorted(folder.glob("*/"))):
        for path in sorted(place.glob("*.json")):
            if is_coco(path):
                words = {place.name, *path.stem.replace("-", "_").split("_")}
                split = next((one for one in ("train", *_TEST_SPLITS) if one in words), "")
                found.append(_Annotated(path, split))
    return list(dict.fromkeys(found))


def _coco(folder: Path, files: list[_Annotated]) -> Category:
    train: list[Path] = []
    test: list[Part] = []
    left_out = 0
    has_test = any(one.split in _TEST_SPLITS for one in files)
    for one in files:
        for part in _coco_parts(folder, one):
            if one.split in _TEST_SPLITS or (part.is_anomalous and not has_test):
                test.append(part)
            elif part.is_anomalous:
                left_out += 1
            else:
                train.append(part.path)
    if left_out:
        log.info(f"{folder}: {left_out} annotated pictures of the training split are left out")
    if not train:
        raise DataError(
            f"{folder}: expected good pictures to learn from, which have no annotations, found "
            "none; add some to the training split"
        )
    return Category(folder.absolute().name, tuple(sorted(train)), _in_order(test))


def _coco_parts(folder: Path, one: _Annotated) -> list[Part]:
    content: CocoFile = read_coco(one.path)
    kinds = {kind.id: kind.name for kind in content.categories}
    by_picture: defaultdict[int | str, list[Annotation]] = defaultdict(list)
    for annotation in content.annotations:
        by_picture[annotation.image_id].append(annotation)
    places = [one.path.parent, *((folder / "images", folder / "images" / one.split)), folder]
    parts, missing = [], []
    for picture in content.images:
        path = _found(places, picture)
        if path is None:
            missing.append(picture.file_name)
            continue
        its = by_picture[picture.id]
        outlines = Outlines((picture.height, picture.width), tuple(its))
        kind = kinds.get(its[0].category_id, "defect") if its else GOOD
        parts.append(Part(path, kind, one.path, outlines) if its else Part(path, GOOD))
    if missing:
        raise DataError(
            f"{one.path}: expected the pictures that it lists in {places[0]} or {folder}/images, "
            f"found {len(missing)} missing, as {missing[0]}; put them there"
        )
    return parts


def _found(places: list[Path], picture: Picture) -> Path | None:
    return next((one for place in places if (one := place / picture.file_name).is_file()), None)


def _check_there(paths: list[Path], listed_in: Path) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{listed_in}: expected the pictures that it lists, found {len(missing)} missing, as "
            f"{missing[0]}; unpack the data set again"
        )


def _in_order(parts: list[Part]) -> tuple[Part, ...]:
    return tuple(sorted(parts, key=lambda part: (part.defect_type, part.path)))
