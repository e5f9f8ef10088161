"""Inspector: a bundle on an engine, pictures in, predictions out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from runtime.atomic import EditedFile
from runtime.bundle.folder import Bundle
from runtime.bundle.reference import read_reference, reference_file
from runtime.bundle.signing import check_signature
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold
from runtime.closing import Closeable
from runtime.engines.base import Engine, open_engine
from runtime.engines.canary import Canary
from runtime.engines.outputs import shapes_of
from runtime.engines.supervision import DEADLINE_S, Supervisor
from runtime.errors import EngineError, LinesideError, sentence
from runtime.health.baseline import HEALTH_FILE, Health
from runtime.health.plausibility import Plausibility, Repeats, check_threshold, plausibility
from runtime.health.statistics import measure
from runtime.images.preprocess import Source, decoded, resize
from runtime.prediction import Prediction, RawOutputs, Times, Verdict
from runtime.types import UInt8Image

log = logging.getLogger("lineside")

_NOTHING_LEARNED = "nothing learned yet; teach it a part: at /teach of its station"
_NO_THRESHOLD = Threshold(0.0, 0.0, 0.0, method="none", n_good=0)


class Inspector(Closeable):
    """Runs one variant of a bundle.

    Args:
        bundle: an open bundle, or the path of one.
        engine: ``openvino`` or ``onnxruntime``, or any open engine, such as
            :class:`lineside.FakeEngine`; it is closed with the inspector.
        precision: a precision that the bundle has, e.g. ``fp32``.
        device: ``CPU``, ``GPU``, ``NPU`` or ``AUTO``; one that is absent is an error that lists
            what there is.
        threads: CPU threads, or None for the engine's own choice.
        streams: number of threads that will call :meth:`inspect` at once: 1 for latency, more for
            throughput.
        deadline_s: seconds that one inference may take before its part cannot be judged.
        canary: replay a golden picture before the first part and every minute or 500 parts; for
            what runs for long.
        signed_by: file of public keys, one of which must have signed the bundle; None asks for no
            signature.
        isolate: run the engine in a process of its own, so that one that crashes costs a verdict
            and not this process.
        scores_only: for calibration, which makes both anew: thresholds.json and health.json are not
            read, verdicts mean nothing, and whatever fails is raised.
        blank_too: open a bundle that has learned no part, too, by which no part can be judged; for
            what replays golden pictures, and for a station that is yet to be taught.

    Raises:
        BundleError: the bundle is unusable, lacks the variant, or has learned no part.
        EngineError: the engine or device is not available.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str,
        *,
        engine: str | Engine = "openvino",
        precision: str = "fp32",
        device: str = "CPU",
        threads: int | None = None,
        streams: int = 1,
        deadline_s: float = DEADLINE_S,
        canary: bool = False,
        signed_by: Path | str | None = None,
        isolate: bool = False,
        scores_only: bool = False,
        blank_too: bool = False,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(Path(bundle))
        self.streams = streams
        self._owned = None if isinstance(bundle, Bundle) else self.bundle
        try:
            if signed_by:
                check_signature(self.bundle, Path(signed_by))
            manifest = self.bundle.manifest
            if not blank_too:
                self.bundle.require_part()
            scores_only = scores_only or manifest.is_blank
            self.variant = manifest.variant(engine if isinstance(engine, str) else None, precision)
            self._scores_only = scores_only
            golden = reference_file(self.bundle.root, self.variant)
            self.roi = self.bundle.roi()
            has_golden = golden.is_file() and not scores_only
            self._reference = read_reference(golden) if has_golden else None
            self._health = EditedFile(
                self.bundle.root / HEALTH_FILE,
                lambda: None if scores_only else self.bundle.health(),
                "check of pictures",
            )
            self._threshold = EditedFile(
                self.bundle.root / THRESHOLDS_FILE, self._read_threshold, "threshold"
            )
            if missing := "" if scores_only else self.bundle.missing_health():
                log.warning(f"warning: {missing}")
            self._was_replaced = False
            self._repeats = Repeats()
            self._plausibility = self._what_is_plausible()

            def opened_again() -> Engine:
                # Another bundle may have been copied over it meanwhile.
                self.bundle.verify_model(self.variant)
                return opened()

            def opened() -> Engine:
                model = self.bundle.model_path(self.variant)
                if isolate:
                    from runtime.engines.isolated.engine import IsolatedEngine

                    return IsolatedEngine(self.variant.engine, model, device, threads, streams)
                return open_engine(self.variant.engine, model, device, threads, streams)

            handed_over = None if isinstance(engine, str) else engine
            self._engine = Supervisor(
                handed_over or opened(),
                shapes_of(manifest),
                # Of an engine that was handed over, nobody knows whether it is the bundle's.
                self._new_canary(canary) if canary or handed_over is None else None,
                None if handed_over else opened_again,
                deadline_s,
            )
        except BaseException:
            if self._owned is not None:
                self._owned.close()
            raise

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the model's input in pixels."""
        return self.bundle.manifest.input.size_hw

    @property
    def device(self) -> str:
        """Device that the engine runs on."""
        return str(self._engine.description["device"])

    @property
    def threshold(self) -> Threshold:
        """The threshold in force."""
        return self._threshold.value

    @property
    def threshold_problem(self) -> str:
        """Why thresholds.json as it is now cannot be used; empty if it can."""
        return self._threshold.problem

    @property
    def health(self) -> Health | None:
        """Which pictures can be judged, and what good ones look like; None if nobody has said."""
        return self._health.value

    @property
    def health_problem(self) -> str:
        """Why health.json as it is now cannot be used; empty if it can."""
        return self._health.problem

    def refresh_thresholds(self) -> bool:
        """Take over an edited thresholds.json; costs one look at its time if nothing has changed.

        While the file is damaged no part is judged, for nobody knows what it was meant to say; why
        is in :attr:`threshold_problem`. A packed bundle's cannot be edited: a clean-up of the
        temporary folder that it was unpacked to changes nothing.

        Returns:
            Whether the file has changed since it was last read.
        """
        return not self.bundle.is_packed and self._refreshed(self._threshold)

    def refresh_health(self) -> bool:
        """The same for health.json and :attr:`health_problem`.

        Without it the check is off; where the bundle was made with one, no part is judged.
        """
        return not self.bundle.is_packed and self._refreshed(self._health)

    def _refreshed(self, file: EditedFile[Any]) -> bool:
        if self.bundle.original.is_replaced():
            # Its thresholds and limits are not for this model.
            file.keep()
            if not self._was_replaced:
                log.warning(
                    f"warning: {self.bundle.source}: another bundle was copied over the one at "
                    "work, which goes on as it was"
                )
            self._was_replaced = True
            return False
        self._was_replaced = False
        if not file.refresh():
            return False
        self._plausibility = self._what_is_plausible()
        return True

    def _read_threshold(self) -> Threshold:
        if self._scores_only:
            return _NO_THRESHOLD
        found = self.bundle.thresholds().of(self.variant.key)
        manifest = self.bundle.manifest
        check_threshold(self.variant.key, found, self.health, manifest, self._reference)
        return found

    def _new_canary(self, periodic: bool) -> Canary | None:
        if self._reference is None:
            return None
        return Canary(self.bundle.root, self.variant, self._reference, periodic=periodic)

    def _what_is_plausible(self) -> Plausibility:
        return plausibility(
            self.variant.key, self.threshold, self.health, self.bundle.manifest, self._reference
        )

    def infer(self, image_rgb: UInt8Image) -> RawOutputs:
        """Run the graph.

        Args:
            image_rgb: uint8 (H, W, 3), RGB, already at the model's size.

        Raises:
            EngineError: another shape or type, or the engine failed, hung or said nonsense.
        """
        if image_rgb.dtype != np.uint8 or image_rgb.shape != (*self.size_hw, 3):
            raise EngineError(
                f"image: expected uint8 {(*self.size_hw, 3)}, found {image_rgb.dtype} "
                f"{image_rgb.shape}; use runtime.images.preprocess.resize first"
            )
        return self._engine.infer(image_rgb)

    def inspect(self, source: Source, *, strict: bool = False) -> Prediction:
        """Inspect one part.

        Whatever fails beside the picture itself, the verdict is ``cannot_judge`` with the reason.

        Args:
            source: a file, the bytes of one, or a decoded picture: uint8 (H, W, 3), RGB, any size.
            strict: raise what fails instead; for what counts and compares scores.

        Raises:
            ImageError: the picture cannot be decoded.
            EngineError: an array that is no picture; with ``strict`` whatever else fails.
        """
        at = [time.perf_counter()]
        image = decoded(source)
        at.append(time.perf_counter())
        try:
            if self.bundle.manifest.is_blank:
                self.bundle.require_part()
            return self._judged(image, at)
        except Exception as error:
            if strict or (self._scores_only and not self.bundle.manifest.is_blank):
                if isinstance(error, LinesideError):
                    raise
                raise EngineError(f"inspection failed: {sentence(error)}") from error
            is_blank = self.bundle.manifest.is_blank
            return self._unjudged(_NOTHING_LEARNED if is_blank else sentence(error), image, at)

    def _judged(self, image: UInt8Image, at: list[float]) -> Prediction:
        resized = resize(image, self.size_hw)
        at.append(time.perf_counter())
        raw = self.infer(resized)
        at.append(time.perf_counter())
        # Once: another thread may take over an edit meanwhile.
        health, threshold = self.health, self.threshold
        seen = resized if self.roi is None else self.roi.seen(resized)
        fault = self._fault(raw, resized, seen)
        measured, reason = None, ""
        if health is not None and (health.judge or health.drift):
            measured = measure(seen)
            reason = health.reason(
                measured, image.shape[:2], self.size_hw, self.variant.key, raw.pred_score
            )
        reason = "; ".join(one for one in (fault, reason) if one)
        flagged: Verdict = "anomalous" if raw.pred_score > threshold.image_threshold else "good"
        normalized = threshold.normalized_score(raw.pred_score)
        at.append(time.perf_counter())
        return Prediction(
            verdict="cannot_judge" if reason else flagged,
            pred_score=raw.pred_score,
            normalized_score=normalized,
            threshold=threshold,
            anomaly_map=raw.anomaly_map,
            embedding=raw.embedding,
            blur_sigma=self.bundle.manifest.anomaly_map.blur_sigma,
            model_hw=self.size_hw,
            image_hw=(image.shape[0], image.shape[1]),
            times=_times(at),
            engine=self.variant.engine,
            precision=self.variant.precision,
            device=self.device,
            reason=reason,
            is_fault=bool(fault),
            statistics=measured,
            picture=resized,
            roi=self.roi,
        )

    def _fault(self, raw: RawOutputs, picture: UInt8Image, seen: UInt8Image) -> str:
        """Why no verdict can be given on any picture; empty if one can."""
        if self._scores_only:
            return ""
        said = (self._repeats.problem(raw, seen), self._plausibility.problem(raw, picture))
        if any(said):
            self._engine.suspect()
        lost = self.bundle.missing_health() if self.health is None else ""
        problems = (*said, self.threshold_problem, self.health_problem, lost)
        return "; ".join(one for one in problems if one)

    def _unjudged(self, reason: str, image: UInt8Image, at: list[float]) -> Prediction:
        """No output, no verdict: nothing in it can be taken for a good part's."""
        outputs = self.bundle.manifest.outputs
        at.extend([time.perf_counter()] * (5 - len(at)))
        return Prediction(
            verdict="cannot_judge",
            pred_score=math.nan,
            normalized_score=math.nan,
            threshold=self.threshold,
            anomaly_map=np.full((outputs.map_height, outputs.map_width), np.nan, np.float32),
            embedding=np.zeros(outputs.embedding_length, np.float32),
            blur_sigma=self.bundle.manifest.anomaly_map.blur_sigma,
            model_hw=self.size_hw,
            image_hw=(image.shape[0], image.shape[1]),
            times=_times(at),
            engine=self.variant.engine,
            precision=self.variant.precision,
            device=self.device,
            reason=reason,
            is_fault=True,
        )

    def close(self) -> None:
        """Release the engine, and the copy of a packed bundle that this inspector opened."""
        self._engine.close()
        if self._owned is not None:
            self._owned.close()


def _times(at: Sequence[float]) -> Times:
    return Times(*(1000.0 * (end - start) for start, end in pairwise(at)))
