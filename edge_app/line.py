"""A bundle on an engine with its memory of earlier parts: judge a part, record a word on it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from edge_app.fingerprint import bundle_fingerprint
from edge_app.indexing import make_point
from edge_app.region import Region
from edge_app.store import Neighbor, NeighborStore, PartPoint, SearchFilter, give_word, open_store
from edge_app.store.schema import point_id
from runtime.errors import StoreError
from runtime.health.state import DriftWatch
from runtime.images.dataset import Part
from runtime.images.preprocess import decode_rgb
from runtime.inspector import Inspector
from runtime.prediction import Prediction
from runtime.types import UInt8Image

NEIGHBORS = 5


def open_memory(
    inspector: Inspector, location: str, *, create: bool = True, later: bool = False
) -> NeighborStore:
    """Open the neighbour store of an inspector's bundle, as :func:`edge_app.store.open_store`."""
    return open_store(
        location,
        bundle=bundle_fingerprint(inspector.bundle),
        embedding_length=inspector.bundle.manifest.outputs.embedding_length,
        create=create,
        later=later,
    )


@dataclass(frozen=True)
class Judged:
    """One part as the page shows it.

    Attributes:
        image_rgb: uint8 (H, W, 3), RGB, the picture at its own size.
        prediction: what the inspector says.
        neighbors: earlier parts, best first.
        point: the part as it will be stored once the operator has given a word.
        drift: what has changed about the line's pictures, in one sentence; empty if nothing has.
        warning: what is wrong beside the verdict, e.g. a lost health.json; empty if nothing is.
        store_problem: why there are no neighbours to show; empty if the store has answered.
    """

    image_rgb: UInt8Image
    prediction: Prediction
    neighbors: tuple[Neighbor, ...]
    point: PartPoint
    drift: str = ""
    warning: str = ""
    store_problem: str = ""


class Line:
    """One bundle at work. Safe to use from several threads.

    Args:
        inspector: an open inspector.
        store: an open store of the same bundle.
    """

    def __init__(self, inspector: Inspector, store: NeighborStore) -> None:
        self.inspector = inspector
        self.store = store
        self._lock = threading.Lock()
        self._drift = DriftWatch()
        self._last = b""

    def judge(self, content: bytes, name: str, sample: Part | None = None) -> Judged:
        """Inspect a part and look up its neighbours.

        An uploaded part counts for the drift test; a sample from a folder, or the same picture once
        more, does not.

        Args:
            content: the picture file's bytes.
            name: what to call the picture.
            sample: where it lies and what its folder says of it; None if it was uploaded.

        Raises:
            ImageError: the picture cannot be decoded.
            EngineError: the engine fails.
        """
        image_rgb = decode_rgb(content)
        inspector = self.inspector
        with self._lock:
            inspector.refresh_thresholds()
            inspector.refresh_health()
            prediction = inspector.inspect(image_rgb, strict=True)
            if sample is None and content != self._last and not prediction.is_fault:
                self._drift.see(
                    inspector.health,
                    inspector.variant.key,
                    prediction.statistics,
                    prediction.pred_score,
                )
                self._last = content
            alarm = self._drift.alarm
        point = make_point(
            prediction,
            content,
            image_rgb,
            bundle=self.store.bundle,
            category=inspector.bundle.manifest.category,
            path=name if sample is None else sample.path,
            defect_type="" if sample is None else sample.defect_type,
        )
        neighbors: tuple[Neighbor, ...] = ()
        store_problem = ""
        try:
            neighbors = self._like(prediction, point.point_id)
        except StoreError as error:
            # A lost server must not keep the operator from the verdict.
            store_problem = str(error)
        drift = "" if alarm is None else alarm.sentence()
        return Judged(
            image_rgb,
            prediction,
            neighbors,
            point,
            drift,
            inspector.bundle.missing_health(),
            store_problem,
        )

    def like_box(
        self, content: bytes, shares: tuple[float, float, float, float]
    ) -> tuple[Neighbor, ...]:
        """Earlier parts like a box on a part, the part itself left out.

        Args:
            content: the picture file's bytes.
            shares: left, top, width and height of the box as shares of the picture's size.

        Raises:
            ImageError: the picture cannot be decoded.
            EngineError: the engine fails.
            StoreError: the store cannot be read.
        """
        image_rgb = decode_rgb(content)
        region = Region.from_shares(shares, (image_rgb.shape[0], image_rgb.shape[1]))
        with self._lock:
            prediction = self.inspector.inspect(region.around(image_rgb), strict=True)
        return self._like(prediction, point_id(content, self.store.bundle))

    def _like(self, prediction: Prediction, itself: str) -> tuple[Neighbor, ...]:
        where = SearchFilter(exclude_ids=(itself,))
        return tuple(self.store.search(prediction.embedding, NEIGHBORS, where))

    def record(self, point: PartPoint, word: str) -> int | None:
        """Store a part with the operator's word on its verdict: ``right`` or ``wrong``.

        Returns:
            number of parts stored; None where the store cannot tell just now.

        Raises:
            StoreError: it cannot be written.
        """
        give_word(self.store, point, word)
        try:
            return self.store.count()
        except StoreError:
            return None
