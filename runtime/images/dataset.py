"""Inspection data on disk: MVTec AD's tree, or a plain folder of good parts.

A root is ``ROOT/<category>/{train,test,ground_truth}`` with a category's name, or those three
folders directly under ROOT, or just a folder of pictures of good parts. A mask is
``<stem>_mask.png`` or ``<stem>.png``; BTAD's is ``<stem>.bmp`` too, and its good parts are ``ok``;
MVTec LOCO AD's is a folder ``<stem>`` of pictures. For VisA and COCO see
:mod:`runtime.images.layouts.folders`.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import DataError, reading
from runtime.images.containers import is_allowed
from runtime.images.layouts.coco import Outlines
from runtime.images.preprocess import IMAGE_SUFFIXES
from runtime.types import Float32Map, Mask

log = logging.getLogger("lineside")

GOOD = "good"
# What data sets call a folder of good parts.
_GOOD_NAMES = (GOOD, "ok")


@dataclass(frozen=True)
class Part:
    """One photographed part.

    Attributes:
        path: the picture.
        defect_type: name of the defect, or ``"good"``.
        mask_path: ground truth of the defect, a picture or a folder of them; or None where there is
            none.
        outlines: the same from a file of annotations, which ``mask_path`` names then.
    """

    path: Path
    defect_type: str
    mask_path: Path | None = None
    outlines: Outlines | None = None

    @property
    def is_anomalous(self) -> bool:
        """Whether the label says that the part is defective."""
        return self.defect_type != GOOD


@dataclass(frozen=True)
class Category:
    """Pictures of one kind of part.

    Attributes:
        name: the category's name.
        train_good: pictures of good parts to learn from, sorted by name.
        test: labelled test parts, sorted by defect and name; empty for a plain folder.
    """

    name: str
    train_good: tuple[Path, ...]
    test: tuple[Part, ...]


def list_images(folder: Path) -> list[Path]:
    """All pictures below a folder, sorted; hidden ones are left out, linked folders followed.

    Raises:
        DataError: the folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: expected a folder of pictures, found {_what(folder)}; check the path"
        )
    unreadable: list[OSError] = []
    found = sorted(Path(entry.path) for entry in pictures_below(folder, unreadable))
    for error in unreadable:
        log.warning(f"left out: {error.filename}: a folder that cannot be read ({error.strerror})")
    if not found:
        raise DataError(
            f"{folder}: expected pictures ({', '.join(sorted(IMAGE_SUFFIXES))}), found none; put "
            "the photographs there"
        )
    return found


def collect_images(paths: Sequence[Path]) -> list[Path]:
    """Files as given, folders opened.

    Raises:
        DataError: a folder is missing or empty.
    """
    return [found for path in paths for found in ([path] if path.is_file() else list_images(path))]


def pictures_below(
    folder: Path,
    unreadable: list[OSError] | None = None,
    entering: Callable[[str], None] = lambda folder: None,
) -> Iterator[os.DirEntry[str]]:
    """Pictures in a folder and all below it, in no order; what is hidden is left out.

    Linked folders are followed, each folder once.

    Args:
        folder: where to look.
        unreadable: gathers the errors of folders below that cannot be read, which are passed over.
        entering: told of each folder that was read.

    Raises:
        OSError: the folder itself cannot be read.
    """
    waiting, seen = deque([os.fspath(folder)]), set[tuple[int, int]]()
    while waiting:
        place = waiting.popleft()
        try:
            status = Path(place).stat()
            entries = list(os.scandir(place))
        except OSError as error:
            if not seen:
                raise
            if unreadable is not None:
                unreadable.append(error)
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        entering(place)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                # Links last, so that a folder is known by its own name.
                (waiting.append if entry.is_symlink() else waiting.appendleft)(entry.path)
            elif is_picture_name(entry.name) and entry.is_file():
                yield entry


def is_picture_name(name: str) -> bool:
    """Whether a file of that name is taken for a picture."""
    # Of many thousands of names five times a second: pathlib takes too long for that.
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES


def list_categories(root: Path) -> list[str]:
    """Names of the folders under ``root`` that look like MVTec AD categories."""
    from runtime.images.layouts.folders import other_categories

    if not root.is_dir():
        return []
    if others := other_categories(root):
        return others
    return sorted(path.name for path in root.iterdir() if _good_folder(path / "train") is not None)


def load_category(root: Path, category: str | None = None) -> Category:
    """Read the layout of one category.

    Args:
        root: an MVTec-style root, a category's own folder, or a plain folder of good parts.
        category: the category's name; may be left out when ``root`` itself is the category.

    Raises:
        DataError: the folder is missing or empty, or the category is not there; the message lists
            what is.
    """
    from runtime.images.layouts.folders import other_layout

    if (other := other_layout(root, category)) is not None:
        return other
    folder = _category_folder(root, category)
    name = folder.absolute().name
    if not (folder / "train").is_dir():
        if (folder / "test").is_dir():
            raise DataError(
                f"{folder}: expected train/good beside test, found test alone; put good parts there"
            )
        return Category(name if category else _part_name(folder), tuple(_learnable(folder)), ())
    train = folder / "train"
    return Category(
        name, tuple(list_images(_good_folder(train) or train)), tuple(_test_parts(folder))
    )


def _learnable(folder: Path) -> list[Path]:
    """Pictures of a plain folder of good parts.

    Raises:
        DataError: it has a folder ``good`` and other pictures beside it, which it takes a person to
            sort.
    """
    good = _good_folder(folder)
    others = {path.relative_to(folder).parts[0] for path in list_images(folder)}
    if good is not None and (beside := sorted(others - {good.name})):
        more = f" and {len(beside) - 3} more" if len(beside) > 3 else ""
        raise DataError(
            f"{folder}: expected good parts alone, found '{good.name}' beside "
            f"{', '.join(beside[:3])}{more}; give {good}"
        )
    return list_images(good or folder)


def _good_folder(folder: Path) -> Path | None:
    if not folder.is_dir():
        return None
    return next(
        (path for path in sorted(folder.iterdir()) if is_good(path.name) and path.is_dir()), None
    )


def is_good(name: str) -> bool:
    """Whether a folder of that name holds good parts: ``good`` or ``ok``, however it is written."""
    return name.casefold() in _GOOD_NAMES


def load_mask(part: Part, size_hw: tuple[int, int]) -> Mask:
    """Ground truth of a part at the model's size.

    A pixel is defective if it is brighter than half of what its depth allows, or, in a mask that
    has no such pixel (0 and 1, numbers of classes), if it is not 0. Where a thin defect would
    vanish, every pixel that it touches is defective.

    Args:
        part: a part; a good one has an empty mask.
        size_hw: height and width to resize to, nearest neighbour.

    Returns:
        bool (H, W), True where the part is defective.

    Raises:
        DataError: the mask cannot be read.
    """
    if part.mask_path is None:
        return np.zeros(size_hw, dtype=np.bool_)
    if part.outlines is not None:
        defective = part.outlines.mask().astype(np.float32)
    elif part.mask_path.is_dir():
        masks = [_read_mask(path) for path in list_images(part.mask_path)]
        if len({one.shape for one in masks}) > 1:
            raise DataError(
                f"{part.mask_path}: expected masks of one size, found several; export them again"
            )
        defective = np.max(masks, axis=0)
    else:
        defective = _read_mask(part.mask_path)
    resized = cv2.resize(defective, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST)
    if defective.any() and not resized.any():
        resized = cv2.resize(defective, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(resized > 0.0, dtype=np.bool_)


def _read_mask(path: Path) -> Float32Map:
    """1 where a mask picture marks a defect, 0 elsewhere, at its own size."""
    advice = "export it again as PNG"
    with reading(path, "a mask picture", DataError, advice):
        data = np.frombuffer(path.read_bytes(), np.uint8)
        allowed = is_allowed(data[:16].tobytes())
        mask = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH) if allowed else None
    if mask is None or mask.dtype.kind != "u":
        raise DataError(f"{path}: expected a mask picture, found something unreadable; {advice}")
    half = np.iinfo(mask.dtype).max // 2
    return np.asarray(mask > (half if mask.max() > half else 0), dtype=np.float32)


def _part_name(folder: Path) -> str:
    """What a folder of good parts shows: its name, or where that says only "good" the one above."""
    path = folder.absolute()
    while (is_good(path.name) or path.name == "train") and path.parent.name:
        path = path.parent
    return path.name


def _category_folder(root: Path, category: str | None) -> Path:
    if not root.is_dir():
        raise DataError(f"{root}: expected a data folder, found {_what(root)}; check --data")
    if category is not None:
        if (root / category).is_dir():
            return root / category
        if root.absolute().name == category:
            return root
        raise DataError(
            f"{root}: expected the category '{category}', found {_listed(root)}; check --category"
        )
    if not (root / "train").is_dir() and list_categories(root):
        raise DataError(
            f"{root}: holds several categories, {_listed(root)}; say which with --category NAME"
        )
    return root


def _test_parts(folder: Path) -> list[Part]:
    test = folder / "test"
    if not test.is_dir():
        return []
    parts: list[Part] = []
    for kind in sorted(
        path for path in test.iterdir() if path.is_dir() and not path.name.startswith(".")
    ):
        for path in list_images(kind):
            if is_good(kind.name):
                parts.append(Part(path, GOOD))
                continue
            parts.append(Part(path, kind.name, _mask_of(folder / "ground_truth" / kind.name, path)))
    return parts


def _mask_of(folder: Path, picture: Path) -> Path | None:
    stem = picture.stem
    for name in (f"{stem}_mask.png", f"{stem}.png", f"{stem}.bmp", stem):
        path = folder / name
        if path.is_file() or (name == stem and path.is_dir()):
            return path
    return None


def _what(path: Path) -> str:
    if not path.exists():
        return "nothing there"
    return "a file" if path.is_file() else "something else"


def _listed(root: Path) -> str:
    names = list_categories(root)
    return ", ".join(names) if names else "no category folder (one with train/good in it)"
