"""What the page does, without the page: judge a part, find its neighbours, record the operator's word."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edge_app.fingerprint import bundle_fingerprint
from edge_app.indexing import make_point
from edge_app.region import Region
from edge_app.store import Neighbor, NeighborStore, PartPoint, SearchFilter, give_word, open_store
from edge_app.store.schema import point_id
from runtime.errors import BundleError, StoreError
from runtime.health.state import DriftWatch
from runtime.images.preprocess import decode_rgb
from runtime.inspector import Inspector
from runtime.prediction import Prediction

MODEL_NAMES = {"patchcore": "PatchCore", "efficientad": "EfficientAD"}


@dataclass(frozen=True)
class Judged:
    """One part as the page shows it.

    Attributes:
        image_rgb: uint8 (H, W, 3), RGB, the picture at its own size.
        prediction: what the inspector says.
        neighbours: earlier parts, best first.
        point: the part as it will be stored once the operator has given a word.
        drift: what has changed about the line's pictures, in one sentence; empty if nothing has.
        warning: what went wrong beside the verdict, e.g. a damaged file of thresholds; empty if
            nothing did.
        store_problem: why there are no neighbours to show; empty if the store has answered.
    """

    image_rgb: npt.NDArray[np.uint8]
    prediction: Prediction
    neighbors: tuple[Neighbor, ...]
    point: PartPoint
    drift: str = ""
    warning: str = ""
    store_problem: str = ""


class Line:
    """One bundle on an engine with its memory of earlier parts. Safe to use from several threads.

    Args:
        inspector: an open inspector; the line closes it.
        store: an open store of the same bundle; the line closes it.
        fingerprint: the bundle's fingerprint.
    """

    def __init__(self, inspector: Inspector, store: NeighborStore, fingerprint: str) -> None:
        self._inspector = inspector
        self._store = store
        self.fingerprint = fingerprint
        self._lock = threading.Lock()
        self._drift = DriftWatch()
        self._last = b""

    @property
    def category(self) -> str:
        """Kind of part."""
        return self._inspector.bundle.manifest.category

    @property
    def label(self) -> str:
        """What the operator picks, e.g. ``tile · PatchCore``."""
        model = self._inspector.bundle.manifest.model
        return f"{self.category} · {MODEL_NAMES.get(model, model)}"

    def judge(
        self, content: bytes, name: str, *, path: Path | None = None, defect_type: str = ""
    ) -> Judged:
        """Inspect a part and look up its neighbours.

        An uploaded part counts for the drift test; a sample from a folder, or the same picture once
        more, does not.

        Args:
            content: the picture file's bytes.
            name: what to call the picture.
            path: where it lies, or None if it was uploaded.
            defect_type: name of the defect where the folder tells it.

        Raises:
            ImageError: the picture cannot be decoded.
            EngineError: the engine fails.
        """
        image_rgb = decode_rgb(content)
        with self._lock:
            self._inspector.refresh_thresholds()
            self._inspector.refresh_health()
            warning = (
                f"{self._inspector.threshold_problem} {self._inspector.health_problem}".strip()
            )
            prediction = self._inspector.inspect(image_rgb)
            if path is None and content != self._last:
                self._drift.see(
                    self._inspector.health,
                    self._inspector.variant.key,
                    prediction.statistics,
                    prediction.pred_score,
                )
                self._last = content
            alarm = self._drift.alarm
        point = make_point(
            prediction,
            content,
            image_rgb,
            bundle=self.fingerprint,
            category=self.category,
            path=path if path is not None else name,
            defect_type=defect_type,
        )
        neighbors: tuple[Neighbor, ...] = ()
        store_problem = ""
        try:
            neighbors = self._like(prediction, point.point_id)
        except StoreError as error:
            # A lost server must not keep the operator from the verdict.
            store_problem = str(error)
        drift = "" if alarm is None else alarm.sentence()
        return Judged(image_rgb, prediction, neighbors, point, drift, warning, store_problem)

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
        piece = Region.from_shares(shares, (image_rgb.shape[0], image_rgb.shape[1])).around(
            image_rgb
        )
        with self._lock:
            prediction = self._inspector.inspect(piece)
        return self._like(prediction, point_id(content, self.fingerprint))

    def _like(self, prediction: Prediction, itself: str) -> tuple[Neighbor, ...]:
        where = SearchFilter(exclude_ids=(itself,))
        return tuple(self._store.search(prediction.embedding, 5, where))

    def record(self, point: PartPoint, word: str) -> None:
        """Store a part with the operator's word on its verdict: ``right`` or ``wrong``.

        Raises:
            StoreError: it cannot be written.
        """
        give_word(self._store, point, word)

    def remembered(self) -> int | None:
        """Number of stored parts; None where the store cannot be asked just now."""
        try:
            return self._store.count()
        except StoreError:
            return None

    def close(self) -> None:
        """Release the engine and flush the store."""
        try:
            self._store.close()
        finally:
            self._inspector.close()


class Station:
    """The lines of one page, by label."""

    def __init__(self, lines: dict[str, Line]) -> None:
        self.lines = lines

    def line_of(self, point: PartPoint) -> Line:
        """The line that has judged a part: the operator may have chosen another since."""
        return next(line for line in self.lines.values() if line.fingerprint == point.bundle)

    @classmethod
    def open(cls, bundles: Sequence[Path], location: str, engine: dict[str, Any]) -> Station:
        """Open bundles and their stores; whatever was opened is closed again if one of them fails.

        Args:
            bundles: paths of bundles.
            location: of the neighbour store.
            engine: keyword arguments of :class:`Inspector`.

        Raises:
            BundleError: a bundle is unusable, or two are the same.
            StoreError: the store cannot be opened.
        """
        with ExitStack() as undo:
            lines: dict[str, Line] = {}
            fingerprints: dict[str, Path] = {}
            for path in bundles:
                inspector = Inspector(path, **engine)
                undo.callback(inspector.close)
                # The first inference prepares memory and is slow; the operator's first part should
                # not be.
                inspector.infer(np.zeros((*inspector.size_hw, 3), np.uint8))
                fingerprint = bundle_fingerprint(inspector.bundle)
                if fingerprint in fingerprints:
                    raise BundleError(
                        f"{path}: expected different bundles, found the model of "
                        f"{fingerprints[fingerprint]} again; "
                        "name each bundle once"
                    )
                fingerprints[fingerprint] = path
                length = inspector.bundle.manifest.outputs.embedding_length
                # A server that is not up yet after a power cut must not keep the operator from
                # verdicts.
                store = open_store(
                    location, bundle=fingerprint, embedding_length=length, later=True
                )
                undo.callback(store.close)
                # Now, while nobody waits for the page: it stops everything for as long as it takes.
                store.optimize()
                line = Line(inspector, store, fingerprint)
                lines[_free(line.label, path.name, lines)] = line
            undo.pop_all()
        return cls(lines)

    def close(self) -> None:
        """Close every line."""
        with ExitStack() as stack:
            for line in self.lines.values():
                stack.callback(line.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _free(label: str, name: str, taken: Mapping[str, object]) -> str:
    """A label that no other line has: with the bundle's name, and then a number, where it is needed."""
    named = (
        f"{label} · {name}{f' ({count})' if count > 1 else ''}" for count in itertools.count(1)
    )
    return next(found for found in itertools.chain([label], named) if found not in taken)
