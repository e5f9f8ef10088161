"""A bundle on an engine with its memory of earlier parts: judge a part, record a word on it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Protocol

from edge_app.fingerprint import bundle_fingerprint
from edge_app.indexing import make_point
from edge_app.region import piece_around
from edge_app.store import Neighbor, NeighborStore, PartPoint, SearchFilter, give_word, open_store
from edge_app.store.schema import Place, point_id
from runtime.errors import EngineError, ImageError, StoreError
from runtime.health.drift import Alarm
from runtime.health.state import DriftWatch
from runtime.images.dataset import Part
from runtime.images.preprocess import decode_rgb
from runtime.images.regions import Box
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
class Inspected:
    """One part, before anything is looked up or stored.

    Attributes:
        content: the picture file's bytes, or the pixels of a camera's frame.
        image_rgb: uint8 (H, W, 3), RGB, the picture at its own size.
        prediction: what the inspector says; its times tell the decoding, too.
        waited_ms: milliseconds until the line was free.
        bundle: fingerprint of the one that has judged.
        category: kind of part, as that bundle calls it.
        drift: what has changed about the line's pictures, in one sentence; empty if nothing has.
        warning: what is wrong beside the verdict, e.g. a lost health.json; empty if nothing is.
    """

    content: bytes
    image_rgb: UInt8Image
    prediction: Prediction
    waited_ms: float
    bundle: str
    category: str
    drift: str = ""
    warning: str = ""


@dataclass(frozen=True)
class Judged:
    """One part as the page shows it.

    Attributes:
        image_rgb: uint8 (H, W, 3), RGB, the picture at its own size.
        prediction: what the inspector says.
        neighbors: earlier parts, best first.
        point: the part as it will be stored once the operator has given a word.
        drift: see :class:`Inspected`.
        warning: see :class:`Inspected`.
        store_problem: why there are no neighbours to show; empty if the store has answered.
    """

    image_rgb: UInt8Image
    prediction: Prediction
    neighbors: tuple[Neighbor, ...]
    point: PartPoint
    drift: str = ""
    warning: str = ""
    store_problem: str = ""


class Observer(Protocol):
    """Whoever counts what lines do; called from several threads."""

    def judged(self, line: str, part: Inspected) -> None:
        """A part has its verdict."""

    def refused(self, line: str) -> None:
        """A picture was none that can be judged."""


class Line:
    """One bundle at work. Safe to use from several threads.

    Args:
        inspector: an open inspector.
        store: an open store of the same bundle.
        name: what programs call it, see :func:`edge_app.page.choice.line_name`.
    """

    def __init__(self, inspector: Inspector, store: NeighborStore, name: str = "") -> None:
        self.inspector = inspector
        self.store = store
        self.name = name
        self.observer: Observer | None = None
        # What is wrong beside the verdicts; empty if nothing is.
        self.notice = ""
        self._lock = threading.Lock()
        # Of bundles that were at work here before, by fingerprint.
        self._earlier: dict[str, NeighborStore] = {}
        self._ended = False
        self._drift = DriftWatch()
        self._last = b""

    @property
    def alarm(self) -> Alarm | None:
        """The alarm of the drift test that is in force, or None."""
        return self._drift.alarm

    @property
    def is_blank(self) -> bool:
        """Whether its bundle has learned no part, so that none can be judged."""
        return self.inspector.bundle.manifest.is_blank

    def inspect(
        self, picture: bytes | UInt8Image, *, counts: bool = True, strict: bool = False
    ) -> Inspected:
        """Inspect a part: the one way to a verdict, for people, programs and cameras alike.

        Args:
            picture: the picture file's bytes; or a camera's frame, uint8 (H, W, 3), RGB.
            counts: whether it is a part of the line, which the drift test sees; the same picture
                once more is not.
            strict: whether a failing engine raises, instead of a verdict that it cannot judge.

        Raises:
            ImageError: the picture cannot be decoded.
            EngineError: the engine fails, with ``strict``; or the line has ended.
        """
        try:
            begin = time.perf_counter()
            if isinstance(picture, bytes):
                content, image_rgb = picture, decode_rgb(picture)
            else:
                content, image_rgb = picture.tobytes(), picture
            decode_ms = 1000.0 * (time.perf_counter() - begin)
        except ImageError:
            if self.observer is not None:
                self.observer.refused(self.name)
            raise
        begin = time.perf_counter()
        with self._lock:
            # Within the lock, so that a part is one bundle's from its verdict to its record.
            inspector, bundle = self.inspector, self.store.bundle
            waited_ms = 1000.0 * (time.perf_counter() - begin)
            self._check_running()
            inspector.refresh_thresholds()
            inspector.refresh_health()
            prediction = inspector.inspect(image_rgb, strict=strict)
            if counts and content != self._last and not prediction.is_fault:
                self._drift.see(
                    inspector.health,
                    inspector.variant.key,
                    prediction.statistics,
                    prediction.pred_score,
                )
                self._last = content
            alarm = self._drift.alarm
            warning = inspector.bundle.missing_health() or self.notice
        prediction = replace(prediction, times=replace(prediction.times, decode=decode_ms))
        drift = "" if alarm is None else alarm.sentence()
        category = inspector.bundle.manifest.category
        part = Inspected(
            content, image_rgb, prediction, waited_ms, bundle, category, drift, warning
        )
        if self.observer is not None:
            self.observer.judged(self.name, part)
        return part

    def look_again(self, content: bytes) -> tuple[UInt8Image, Prediction]:
        """Judge a part that was judged before, to show it: nothing is counted, nothing recorded.

        Args:
            content: the picture file's bytes.

        Returns:
            the picture, uint8 (H, W, 3), RGB, and what is said of it now.

        Raises:
            ImageError: the picture cannot be decoded.
            EngineError: the line has ended.
        """
        image_rgb = decode_rgb(content)
        with self._lock:
            self._check_running()
            return image_rgb, self.inspector.inspect(image_rgb)

    @property
    def stores(self) -> list[NeighborStore]:
        """Of the bundle at work, and of those that were at work here before it."""
        return [self.store, *self._earlier.values()]

    def recent(self, where: SearchFilter, before: Place | None, size: int) -> list[PartPoint]:
        """The newest parts that satisfy a filter, whichever bundle has judged them, each once.

        A part that the bundle at work has described once more is that bundle's.

        Args:
            where: what they must satisfy.
            before: time and id of the part that they come after; None for the newest.
            size: at most so many.
        """
        known: set[tuple[str, str, str]] = set()
        if before is not None and self._earlier:
            # The last part of the page before may be an earlier bundle's, too.
            last = self.store.fetch([before[1]], full=False)
            known = {one.whereabouts for one in last}
        found: list[PartPoint] = []
        for store in self.stores:
            some = [
                one for one in store.recent(where, before, size) if one.whereabouts not in known
            ]
            known |= {one.whereabouts for one in some}
            found += some
        found.sort(key=lambda one: (one.time, one.point_id), reverse=True)
        return found[:size]

    def store_of(self, bundle: str) -> NeighborStore:
        """The store of a bundle that is or was at work here, by its fingerprint."""
        return self._earlier.get(bundle, self.store)

    def renew(self, inspector: Inspector, store: NeighborStore) -> Inspector:
        """Judge with another bundle, from the next part on.

        Args:
            inspector: of that bundle, an open one.
            store: of that bundle.

        Returns:
            the inspector that was at work, which nobody uses any more.

        Raises:
            EngineError: the line has ended.
        """
        with self._lock:
            self._check_running()
            before, self.inspector = self.inspector, inspector
            self._earlier[self.store.bundle] = self.store
            self._earlier.pop(store.bundle, None)
            self.store = store
        return before

    def refresh(self) -> None:
        """Take over an edited threshold now, not only with the next part."""
        with self._lock:
            self.inspector.refresh_thresholds()

    def end(self) -> None:
        """Wait for the part that is being judged, and take on no other: its engine will close."""
        with self._lock:
            self._ended = True

    def _check_running(self) -> None:
        if self._ended:
            raise EngineError(
                f"line {self.name}: expected a line at work, found one that has ended; start "
                "lineside app again"
            )

    def point(
        self, part: Inspected, name: str, sample: Part | None = None, camera: str = ""
    ) -> PartPoint:
        """An inspected part as it will be stored.

        Args:
            part: from :meth:`inspect`.
            name: what to call the picture.
            sample: where it lies and what its folder says of it; None if it was uploaded.
            camera: name of the camera, or ``""``.
        """
        return make_point(
            part.prediction,
            part.content,
            part.image_rgb,
            bundle=part.bundle,
            category=part.category,
            path=name if sample is None else sample.path,
            defect_type="" if sample is None else sample.defect_type,
            camera=camera,
        )

    def judge(self, content: bytes, name: str, sample: Part | None = None) -> Judged:
        """Inspect a part and look up its neighbours.

        The drift test does not see it: what somebody tries is no part of the line.

        Args:
            content: the picture file's bytes.
            name: what to call the picture.
            sample: where it lies and what its folder says of it; None if it was uploaded.

        Raises:
            ImageError: the picture cannot be decoded.
            EngineError: the engine fails.
        """
        part = self.inspect(content, counts=False, strict=True)
        point = self.point(part, name, sample)
        neighbors: tuple[Neighbor, ...] = ()
        store_problem = ""
        try:
            neighbors = self._like(part.prediction, point.point_id, self.store_of(part.bundle))
        except StoreError as error:
            # A lost server must not keep the operator from the verdict.
            store_problem = str(error)
        return Judged(
            part.image_rgb,
            part.prediction,
            neighbors,
            point,
            part.drift,
            part.warning,
            store_problem,
        )

    def like_box(
        self,
        content: bytes,
        shares: tuple[float, float, float, float],
        k: int = NEIGHBORS,
        where: SearchFilter | None = None,
    ) -> tuple[Neighbor, ...]:
        """Earlier parts like a box on a part, the part itself left out.

        Args:
            content: the picture file's bytes.
            shares: left, top, width and height of the box as shares of the picture's size.
            k: number of them.
            where: what they must satisfy; None leaves out the part itself, by its file's bytes.

        Raises:
            ImageError: the picture cannot be decoded.
            EngineError: the engine fails.
            StoreError: the store cannot be read.
        """
        image_rgb = decode_rgb(content)
        box = Box.from_shares(shares, (image_rgb.shape[0], image_rgb.shape[1]))
        with self._lock:
            self._check_running()
            piece = piece_around(box, image_rgb, self.inspector.roi)
            prediction, store = self.inspector.inspect(piece, strict=True), self.store
        where = where or SearchFilter(exclude_ids=(point_id(content, store.bundle),))
        return tuple(store.search(prediction.embedding, k, where))

    def _like(
        self, prediction: Prediction, itself: str, store: NeighborStore
    ) -> tuple[Neighbor, ...]:
        where = SearchFilter(exclude_ids=(itself,))
        return tuple(store.search(prediction.embedding, NEIGHBORS, where))

    def keep(self, point: PartPoint) -> None:
        """Store a part on which nobody has said anything yet; one that is there stays as it is.

        Raises:
            StoreError: it cannot be written.
        """
        self.store_of(point.bundle).merge([point])

    def record(
        self, point: PartPoint, word: str, who: str = "", *, defect: str = "", note: str = ""
    ) -> int | None:
        """Store a part with the operator's word on its verdict: ``right`` or ``wrong``.

        Returns:
            number of parts stored; None where the store cannot tell just now.

        Raises:
            StoreError: it cannot be written.
        """
        give_word(self.store_of(point.bundle), point, word, who, defect=defect, note=note)
        try:
            return self.store.count()
        except StoreError:
            return None
