"""From materials and defects to a data set on disk; the same seed gives the same pictures."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from export.sample_data import grid, leather, tile
from export.sample_data.drawing import Field, photograph
from runtime import atomic
from runtime.errors import DataError
from runtime.images.dataset import GOOD
from runtime.progress import track
from runtime.types import UInt8Image

Defect = Callable[[np.random.Generator, Field], tuple[Field, Field]]

# Raised whenever a change makes other pictures from the same seed.
GENERATOR_VERSION = 1
RECORD_FILE = "sample-data.json"
MIN_SIZE, MAX_SIZE = 64, 2048

_GOOD: dict[str, Callable[[np.random.Generator, int], Field]] = {
    "tile": tile.good,
    "leather": leather.good,
    "grid": grid.good,
}
_DEFECTS: dict[str, dict[str, Defect]] = {
    "tile": {
        d.__name__: d for d in (tile.crack, tile.glue_strip, tile.gray_stroke, tile.oil, tile.rough)
    },
    "leather": {
        d.__name__: d
        for d in (leather.color, leather.cut, leather.fold, leather.glue, leather.poke)
    },
    "grid": {
        d.__name__: d
        for d in (grid.bent, grid.broken, grid.glue, grid.metal_contamination, grid.thread)
    },
}
CATEGORIES = tuple(_GOOD)
DEFECTS = {category: tuple(defects) for category, defects in _DEFECTS.items()}


def render_part(
    category: str, defect: str | None, rng: np.random.Generator, size: int = 512
) -> tuple[UInt8Image, UInt8Image]:
    """Photograph one procedural part.

    The part, the defect and the camera have generators of their own, so the same ``rng`` without
    the defect shows the same part, flawless.

    Args:
        category: ``tile``, ``leather`` or ``grid``.
        defect: one of :data:`DEFECTS`, or None for a good part.
        rng: source of randomness.
        size: side in pixels, 64 to 2,048.

    Returns:
        Picture, uint8 (size, size, 3), RGB; mask, uint8 (size, size), 255 on the defect, 0
        elsewhere.

    Raises:
        DataError: no such category or defect, or a size out of range.
    """
    _require_known(category, defect, size)
    for_part, for_defect, for_camera = rng.spawn(3)
    scene = _GOOD[category](for_part, size)
    visible = np.zeros((size, size), np.float32)
    if defect is not None:
        scene, visible = _DEFECTS[category][defect](for_defect, scene)
    return photograph(for_camera, scene), np.asarray(
        np.where(visible > 0.1, 255, 0), dtype=np.uint8
    )


@dataclass(frozen=True)
class Counts:
    """What a data set holds: numbers of pictures, and their side in pixels."""

    category: str
    seed: int
    train: int
    test_good: int
    per_defect: int
    size: int
    generator: int = GENERATOR_VERSION


def write_dataset(
    out: Path,
    category: str,
    seed: int = 0,
    train: int = 60,
    test_good: int = 20,
    per_defect: int = 8,
    size: int = 512,
    overwrite: bool = False,
) -> bool:
    """Write ``out/<category>/{train,test,ground_truth}``; it appears only when it is complete.

    Args:
        out: root of the data set.
        category: ``tile``, ``leather`` or ``grid``.
        seed: of all pictures.
        train: good pictures to learn from.
        test_good: good pictures to test with.
        per_defect: pictures of each defect.
        size: side in pixels.
        overwrite: replace a folder that was made with other settings.

    Returns:
        Whether anything was written; False if the same data set was already there.

    Raises:
        DataError: the folder holds something else, or an argument is out of range.
    """
    _require_known(category, None, size)
    counts = Counts(category, seed, train, test_good, per_defect, size)
    target = out / category
    if target.exists() and not overwrite:
        if _recorded(target) == asdict(counts):
            return False
        raise DataError(
            f"{target}: expected a new folder or the same sample data, found something else; "
            "choose another folder, or replace it with --overwrite"
        )
    jobs = _jobs(counts)
    with atomic.folder(target) as root:
        for split, kind, _ in jobs:
            _folders(root, split, kind)
        with ProcessPoolExecutor() as pool:
            done = pool.map(_write_part, ((root, counts, job) for job in jobs), chunksize=4)
            for _ in track(done, f"drawing {category}", total=len(jobs)):
                pass
        atomic.write_json(root / RECORD_FILE, asdict(counts))
    return True


Job = tuple[str, str, int]


def _jobs(counts: Counts) -> list[Job]:
    jobs: list[Job] = [("train", GOOD, i) for i in range(counts.train)]
    jobs += [("test", GOOD, i) for i in range(counts.test_good)]
    jobs += [
        ("test", defect, i) for defect in DEFECTS[counts.category] for i in range(counts.per_defect)
    ]
    return jobs


def _folders(root: Path, split: str, kind: str) -> tuple[Path, Path]:
    pictures, masks = root / split / kind, root / "ground_truth" / kind
    pictures.mkdir(parents=True, exist_ok=True)
    if kind != GOOD:
        masks.mkdir(parents=True, exist_ok=True)
    return pictures, masks


def _write_part(work: tuple[Path, Counts, Job]) -> None:
    root, counts, (split, kind, index) = work
    # Each picture has a generator of its own, so neither order nor number of processes matters.
    key = zlib.crc32(f"{counts.category}/{split}/{kind}".encode())
    rng = np.random.default_rng(np.random.SeedSequence([counts.seed, key, index]))
    picture, mask = render_part(counts.category, None if kind == GOOD else kind, rng, counts.size)
    pictures, masks = _folders(root, split, kind)
    _write_png(pictures / f"{index:03d}.png", picture[:, :, ::-1])
    if kind != GOOD:
        _write_png(masks / f"{index:03d}_mask.png", mask)


def _write_png(path: Path, image: UInt8Image) -> None:
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise DataError(
            f"{path}: expected the picture to be encoded as PNG, it was not; try another --size"
        )
    path.write_bytes(data.tobytes())


def _recorded(target: Path) -> object:
    try:
        return json.loads((target / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _require_known(category: str, defect: str | None, size: int) -> None:
    if category not in CATEGORIES:
        raise DataError(f"category: expected one of {', '.join(CATEGORIES)}, found {category!r}")
    if defect is not None and defect not in DEFECTS[category]:
        raise DataError(f"defect: expected one of {', '.join(DEFECTS[category])}, found {defect!r}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise DataError(f"size: expected {MIN_SIZE} to {MAX_SIZE} pixels, found {size}")
