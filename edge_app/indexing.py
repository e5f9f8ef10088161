"""From pictures to points in a neighbour store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_app.store import NeighborStore, PartPoint
from edge_app.store.schema import point_id
from edge_app.thumbnail import thumbnail
from runtime.atomic import readable
from runtime.errors import DataError, ImageError
from runtime.images.dataset import GOOD, Part, is_good, list_images
from runtime.images.preprocess import decode_rgb
from runtime.inspector import Inspector
from runtime.prediction import Prediction

BATCH = 64
_MASK_FOLDER = "ground_truth"


@dataclass
class IndexReport:
    """What became of the pictures.

    Attributes:
        stored: number of parts written, by verdict.
        unchanged: number of parts that the store had already.
        skipped: pictures that could not be used, with the reason.
    """

    stored: dict[str, int] = field(default_factory=dict)
    unchanged: int = 0
    skipped: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def stored_total(self) -> int:
        """Number of parts written."""
        return sum(self.stored.values())


def find_parts(folder: Path) -> list[Part]:
    """Pictures below a folder, with the name of the defect where MVTec AD's layout gives it.

    Args:
        folder: a category's folder, its ``test`` or ``train`` folder, one of theirs, or any folder
            of pictures.

    Returns:
        parts sorted by path; ``defect_type`` is empty where the layout does not tell. Masks are
        left out.

    Raises:
        DataError: the folder is missing or holds no picture of a part.
    """
    inside = folder.absolute()
    pictures = [path for path in list_images(inside) if not _is_mask(path, inside)]
    parts = [Part(path, defect_type_of(path)) for path in pictures]
    if not parts:
        raise DataError(
            f"{folder}: expected pictures of parts, found masks only; give the category's folder "
            "or its test folder"
        )
    return parts


def _is_mask(path: Path, folder: Path) -> bool:
    # Not any folder above: a whole data set may lie in one of that name.
    below = path.relative_to(folder.parent).parts[:-1]
    return _MASK_FOLDER in (*below, path.parent.parent.name)


def defect_type_of(path: Path) -> str:
    """Name of the defect by MVTec AD's layout: ``test/<defect>/x.png`` or ``train/good/x.png``.

    Args:
        path: absolute path of a picture.

    Returns:
        the defect, ``"good"``, or ``""`` where the layout does not tell.
    """
    kind, split = path.parent.name, path.parent.parent.name
    if split in ("test", "train") and is_good(kind):
        return GOOD
    if split == "test":
        return kind
    return ""


def make_point(
    prediction: Prediction,
    content: bytes,
    image_rgb: npt.NDArray[np.uint8],
    *,
    bundle: str,
    category: str,
    path: Path | str,
    defect_type: str = "",
    camera: str = "",
    time: str = "",
) -> PartPoint:
    """Make the point of an inspected part.

    Args:
        prediction: what the inspector said.
        content: the picture file's bytes; the id is made from them.
        image_rgb: uint8 (H, W, 3), RGB, the decoded picture, for the thumbnail.
        bundle: fingerprint of the model.
        category: kind of part.
        path: where the picture is; a :class:`pathlib.Path` is made absolute.
        defect_type: name of the defect where it is known.
        camera: name of the camera.
        time: ISO 8601 UTC, or empty for now.
    """
    return PartPoint(
        point_id=point_id(content, bundle),
        embedding=prediction.embedding,
        bundle=bundle,
        category=category,
        path=readable(str(path.absolute() if isinstance(path, Path) else path)),
        verdict=prediction.verdict,
        raw_score=prediction.pred_score,
        normalized_score=prediction.normalized_score,
        defect_type=readable(defect_type),
        time=time or datetime.now(UTC).isoformat(timespec="milliseconds"),
        camera=camera,
        thumbnail=thumbnail(image_rgb),
    )


def index_parts(
    inspector: Inspector,
    parts: Iterable[Part],
    store: NeighborStore,
    *,
    bundle: str,
    category: str | None = None,
    camera: str = "",
    batch: int = BATCH,
    report: IndexReport | None = None,
) -> IndexReport:
    """Inspect pictures and store them; pictures that the store has already are left as they are.

    An unreadable picture is recorded and skipped. What was inspected before an interruption or an
    error is stored, and the time of a part is that of its file, so that doing it again changes
    nothing, the operator's words included.

    Args:
        inspector: the bundle on an engine.
        parts: pictures, e.g. from :func:`find_parts`.
        store: where to put them.
        bundle: fingerprint of the inspector's bundle.
        category: kind of part; the bundle's own if None.
        camera: name of the camera.
        batch: number of parts written at once.
        report: filled while working, so that it can be read after an interruption.

    Raises:
        StoreError: the store cannot be written.
        EngineError: the engine fails.
    """
    report = report if report is not None else IndexReport()
    name = inspector.bundle.manifest.category if category is None else category
    waiting: dict[str, PartPoint] = {}
    try:
        for part in parts:
            try:
                content = part.path.read_bytes()
                identifier = point_id(content, bundle)
                if identifier in waiting or store.get(identifier) is not None:
                    report.unchanged += 1
                    continue
                waiting[identifier] = _inspected(inspector, part, content, bundle, name, camera)
            except (ImageError, OSError) as error:
                report.skipped.append((part.path, str(error)))
                continue
            if len(waiting) >= batch:
                _write(store, waiting, report)
    finally:
        _write(store, waiting, report)
    return report


def _inspected(
    inspector: Inspector, part: Part, content: bytes, bundle: str, category: str, camera: str
) -> PartPoint:
    image_rgb = decode_rgb(content)
    taken = datetime.fromtimestamp(part.path.stat().st_mtime, UTC)
    return make_point(
        inspector.inspect(image_rgb, strict=True),
        content,
        image_rgb,
        bundle=bundle,
        category=category,
        path=part.path,
        defect_type=part.defect_type,
        camera=camera,
        time=taken.isoformat(timespec="milliseconds"),
    )


def _write(store: NeighborStore, waiting: dict[str, PartPoint], report: IndexReport) -> None:
    if not waiting:
        return
    # Not upsert: an operator may have given a word on one of them meanwhile, at another box on the
    # same server.
    store.merge(list(waiting.values()))
    for point in waiting.values():
        report.stored[point.verdict] = report.stored.get(point.verdict, 0) + 1
    # Last, so that an interruption in the middle writes the same points once more rather than
    # never.
    waiting.clear()
