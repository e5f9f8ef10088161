"""Inspector: a bundle on an engine, pictures in, predictions out."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np

from runtime.atomic import EditedFile
from runtime.bundle.folder import Bundle
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold
from runtime.engines.base import ANOMALY_MAP, EMBEDDING, OUTPUTS, PRED_SCORE, Engine, open_engine
from runtime.errors import EngineError
from runtime.health.baseline import HEALTH_FILE, Health
from runtime.health.statistics import measure
from runtime.images.preprocess import decode_rgb, resize
from runtime.prediction import Prediction, RawOutputs, Times, Verdict
from runtime.types import UInt8Image

# A file, the bytes of one, or a decoded picture: uint8 (H, W, 3), RGB.
Source = Path | str | bytes | UInt8Image
_NO_THRESHOLD = Threshold(0.0, 0.0, 0.0, method="none", n_good=0)


class Inspector:
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
        scores_only: for calibration, which makes both anew: thresholds.json and health.json are not
            read, and verdicts mean nothing.

    Raises:
        BundleError: the bundle is unusable or lacks the variant.
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
        scores_only: bool = False,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(Path(bundle))
        self.streams = streams
        self._owned = None if isinstance(bundle, Bundle) else self.bundle
        try:
            manifest = self.bundle.manifest
            self.variant = manifest.variant(engine if isinstance(engine, str) else None, precision)
            self._threshold = EditedFile(
                self.bundle.root / THRESHOLDS_FILE,
                lambda: (
                    _NO_THRESHOLD if scores_only else self.bundle.thresholds().of(self.variant.key)
                ),
                "threshold",
            )
            self._health = EditedFile(
                self.bundle.root / HEALTH_FILE,
                lambda: None if scores_only else self.bundle.health(),
                "check of pictures",
            )
            self._engine: Engine = (
                engine
                if not isinstance(engine, str)
                else open_engine(
                    self.variant.engine,
                    self.bundle.model_path(self.variant),
                    device,
                    threads,
                    streams,
                )
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
        """Why thresholds.json as it is now is not in force; empty if it is."""
        return self._threshold.problem

    @property
    def health(self) -> Health | None:
        """Which pictures can be judged, and what good ones look like; None if nobody has said."""
        return self._health.value

    @property
    def health_problem(self) -> str:
        """Why health.json as it is now is not in force; empty if it is."""
        return self._health.problem

    def refresh_thresholds(self) -> bool:
        """Take over an edited thresholds.json; costs one look at its time if nothing has changed.

        A damaged file leaves the last good state in force and is named in
        :attr:`threshold_problem`. A packed bundle's cannot be edited: a clean-up of the temporary
        folder that it was unpacked to changes nothing.

        Returns:
            Whether the file has changed since it was last read.
        """
        return not self.bundle.is_packed and self._threshold.refresh()

    def refresh_health(self) -> bool:
        """The same for health.json and :attr:`health_problem`; without it the check is off."""
        return not self.bundle.is_packed and self._health.refresh()

    def infer(self, image_rgb: UInt8Image) -> RawOutputs:
        """Run the graph.

        Args:
            image_rgb: uint8 (H, W, 3), RGB, already at the model's size.

        Raises:
            EngineError: another shape or type, or the engine returned something that is not finite.
        """
        if image_rgb.dtype != np.uint8 or image_rgb.shape != (*self.size_hw, 3):
            raise EngineError(
                f"image: expected uint8 {(*self.size_hw, 3)}, found {image_rgb.dtype} "
                f"{image_rgb.shape}; use runtime.images.preprocess.resize first"
            )
        outputs = self._engine.run({"image": np.ascontiguousarray(image_rgb)[None]})
        for name in OUTPUTS:
            if not np.isfinite(outputs[name]).all():
                raise EngineError(
                    f"{name}: expected finite numbers, found others; run: lineside verify BUNDLE"
                )
        return RawOutputs(
            pred_score=float(np.asarray(outputs[PRED_SCORE]).reshape(-1)[0]),
            anomaly_map=np.asarray(outputs[ANOMALY_MAP], dtype=np.float32)[0, 0],
            embedding=np.asarray(outputs[EMBEDDING], dtype=np.float32)[0],
        )

    def inspect(self, source: Source) -> Prediction:
        """Inspect one part.

        Args:
            source: a file, the bytes of one, or a decoded picture: uint8 (H, W, 3), RGB, any size.

        Raises:
            ImageError: the picture cannot be decoded.
        """
        at = [time.perf_counter()]
        image = _decoded(source)
        at.append(time.perf_counter())
        resized = resize(image, self.size_hw)
        at.append(time.perf_counter())
        raw = self.infer(resized)
        at.append(time.perf_counter())
        # Once: another thread may take over an edit meanwhile.
        health, threshold = self.health, self.threshold
        measured, reason = None, ""
        if health is not None and (health.judge or health.drift):
            measured = measure(resized)
            reason = health.reason(
                measured, image.shape[:2], self.size_hw, self.variant.key, raw.pred_score
            )
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
            times=Times(*(1000.0 * (end - start) for start, end in pairwise(at))),
            engine=self.variant.engine,
            precision=self.variant.precision,
            device=self.device,
            reason=reason,
            statistics=measured,
            picture=resized,
        )

    def close(self) -> None:
        """Release the engine, and the copy of a packed bundle that this inspector opened."""
        self._engine.close()
        if self._owned is not None:
            self._owned.close()

    def __enter__(self) -> Inspector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _decoded(source: Source) -> UInt8Image:
    if not isinstance(source, np.ndarray):
        return decode_rgb(Path(source) if isinstance(source, str) else source)
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
        raise EngineError(
            f"image: expected uint8 (H, W, 3), found {source.dtype} {source.shape}; "
            "convert it first"
        )
    return source
