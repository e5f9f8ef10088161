"""golden/: a few images with the reference's outputs, replayed on the box's own device.

So a device that computes something else is found before the first part.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime.bundle.folder import Bundle
from runtime.bundle.manifest import Variant
from runtime.bundle.reference import (
    GOLDEN_FOLDER,
    OWN_FILE,
    REFERENCE_FILE,
    Reference,
    bound_of,
    golden_picture,
    read_reference,
    reference_file,
)
from runtime.bundle.reference import Compared as Compared  # noqa: PLC0414  used from here
from runtime.bundle.signing import check_signature
from runtime.engines.base import empty_model_cache
from runtime.errors import BundleError, HealthError, MissingExtraError, ParityError
from runtime.images.heatmap import upsample_map
from runtime.inspector import Inspector
from runtime.types import Float32, Float32Map, UInt8Image

log = logging.getLogger("lineside")


@dataclass(frozen=True)
class Parity:
    """How far one variant is from anomalib's torch model on the same images.

    Attributes:
        variant: ``engine/precision``.
        device: where it ran.
        images: number of images compared.
        score_range: largest minus smallest reference score.
        max_score_difference: max |d pred_score| / score_range.
        p99_score_difference: 99th percentile of the same.
        max_map_difference: max |d anomaly_map| / range of the reference maps.
        p99_map_difference: 99th percentile of the same over all pixels.
        verdict_flips: images whose verdict differs, each side with its own threshold.
        bound: largest ``max_score_difference`` and ``p99_map_difference`` allowed.
    """

    variant: str
    device: str
    images: int
    score_range: float
    max_score_difference: float
    p99_score_difference: float
    max_map_difference: float
    p99_map_difference: float
    verdict_flips: int
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the variant is within its bound, without a flip."""
        # Each on its own: max() would pass over a difference that is no number.
        near = self.max_score_difference <= self.bound and self.p99_map_difference <= self.bound
        return near and self.verdict_flips == 0

    def refusal(self) -> str:
        """Of one that does not hold: expected, found, what to do."""
        return (
            f"expected scores and maps within {self.bound:g} of their range and no verdict flip on "
            f"{self.device}, found {self.max_score_difference:.2e}, "
            f"{self.p99_map_difference:.2e} and {self.verdict_flips} flips with {self.variant}; do "
            "not inspect with this device: use --device CPU, or update its driver"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "holds": self.holds}


def write_golden(
    root: Path, images: Sequence[UInt8Image], reference: Compared, score_range: float
) -> None:
    """Write the golden images and the reference outputs.

    Args:
        root: bundle folder being built.
        images: uint8 (H, W, 3) RGB at the model's size.
        reference: anomalib's scores, maps and threshold for these images.
        score_range: range of the reference scores over the whole certificate set.
    """
    folder = root / GOLDEN_FOLDER
    folder.mkdir()
    for index, image in enumerate(images):
        done, data = cv2.imencode(".png", image[:, :, ::-1])
        if not done:
            raise BundleError(
                f"{folder}: expected golden image {index} to be written as PNG, it was not; try "
                "again"
            )
        (folder / f"{index}.png").write_bytes(data.tobytes())
    _write(folder / REFERENCE_FILE, reference, score_range)


def record_golden(bundle: Bundle, inspector: Inspector, threshold: float) -> Parity:
    """Keep what a variant says now as its reference, in place of anomalib's results.

    Args:
        bundle: open bundle; its folder is written to, so seal it again.
        inspector: of the same bundle, of the variant to record.
        threshold: raw, of this variant.

    Returns:
        How far what it says is from anomalib's results.
    """
    folder = bundle.root / GOLDEN_FOLDER
    reference = read_reference(folder / REFERENCE_FILE)
    found = _infer(inspector, _images(bundle.root, reference), threshold)
    variant = inspector.variant
    own = OWN_FILE.format(engine=variant.engine, precision=variant.precision)
    _write(folder / own, found, reference.score_range)
    device = str(inspector.device)
    return compare(variant.key, device, reference.said, found, reference.score_range)


def replay_golden(bundle: Bundle, inspector: Inspector) -> Parity:
    """Run the golden images and compare with the reference: anomalib's, or what was recorded.

    Args:
        bundle: open bundle.
        inspector: of the same bundle, on the engine and device to check.

    Raises:
        BundleError: the golden folder is missing or unreadable.
    """
    reference = read_reference(reference_file(bundle.root, inspector.variant))
    # An operator may move the threshold; parity is about the scores that export fixed.
    found = _infer(inspector, _images(bundle.root, reference), reference.said.threshold)
    return compare(
        inspector.variant.key,
        str(inspector.device),
        reference.said,
        found,
        reference.score_range,
    )


def check_golden(inspector: Inspector) -> None:
    """Refuse a bundle that does not say on this device what it said when it was made.

    A bundle without golden pictures is left as it is.

    Raises:
        ParityError: a golden picture comes out otherwise than it should.
        BundleError: the golden folder is unreadable.
    """
    bundle = inspector.bundle
    if not reference_file(bundle.root, inspector.variant).is_file():
        return
    parity = replay_golden(bundle, inspector)
    if not parity.holds:
        raise ParityError(f"{bundle.source}: {parity.refusal()}")


def verify(
    path: Path | str,
    engine: str | None = None,
    precision: str | None = None,
    device: str = "CPU",
    signed_by: Path | None = None,
    *,
    isolate: bool = False,
) -> list[Parity]:
    """Check every file and seal of a bundle and replay its golden images on this machine.

    Args:
        path: of a bundle.
        engine: only this one; None takes all that are installed and have the device.
        precision: only this one, or None for all.
        device: ``CPU``, ``GPU``, ``NPU`` or ``AUTO``.
        signed_by: as for :class:`Inspector`.
        isolate: as for :class:`Inspector`.

    Returns:
        How far each variant is from its reference, within bounds or not.

    Raises:
        BundleError: the bundle is unusable, has no such variant, or has lost its health.json.
        EngineError: the device is not there.
        MissingExtraError: the engine that was asked for is not installed.
    """
    with Bundle.open(Path(path)) as bundle:
        if signed_by is not None:
            check_signature(bundle, signed_by)
        chosen = bundle.manifest.variants_matching(engine, precision)
        if engine is None and device not in ("CPU", "AUTO"):
            # ONNX Runtime has no such device here; who asks for it by name is told so.
            chosen = tuple(one for one in chosen if one.engine == "openvino")
        if missing := bundle.missing_health():
            raise HealthError(missing)
        for name in bundle.unsealed():
            log.warning(
                f"warning: {name}: without a seal, as older versions wrote it, so that an edit or "
                "damage would not show; seal it with: lineside thresholds BUNDLE seal, lineside "
                "health BUNDLE --seal"
            )
        found: list[Parity] = []
        for variant in chosen:
            try:
                found.append(_replayed(bundle, variant, device, isolate))
            except MissingExtraError as error:
                if engine is not None:
                    raise
                log.info(f"skipped {variant.key}: {error}")
    if not found:
        raise BundleError(
            f"{path}: expected an installed engine for "
            f"{', '.join(one.key for one in chosen) or device}, found none; "
            "type: pip install 'lineside[onnxruntime]'"
        )
    return found


def _replayed(bundle: Bundle, variant: Variant, device: str, isolate: bool) -> Parity:
    def once() -> Parity:
        with Inspector(
            bundle,
            engine=variant.engine,
            precision=variant.precision,
            device=device,
            isolate=isolate,
            blank_too=True,
        ) as inspector:
            return replay_golden(bundle, inspector)

    found = once()
    if found.holds or variant.engine != "openvino" or not empty_model_cache():
        return found
    # The bundle's files are checked whenever it is opened; what was compiled from them and kept is
    # not.
    log.info(
        f"{variant.key}: out of bounds; trying once more with the model compiled anew, for the "
        "cached one may be damaged"
    )
    return once()


def _infer(inspector: Inspector, images: Sequence[UInt8Image], threshold: float) -> Compared:
    found = [inspector.infer(image) for image in images]
    return Compared(
        np.array([raw.pred_score for raw in found]), [raw.anomaly_map for raw in found], threshold
    )


def _write(path: Path, said: Compared, score_range: float) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        scores=said.scores,
        maps=np.stack(list(said.maps)),
        threshold=np.float64(said.threshold),
        score_range=np.float64(score_range),
    )
    path.write_bytes(buffer.getvalue())


def _images(root: Path, reference: Reference) -> list[UInt8Image]:
    return [golden_picture(root, index) for index in range(len(reference.said.scores))]


def compare(
    variant: str,
    device: str,
    reference: Compared,
    found: Compared,
    score_range: float | None = None,
) -> Parity:
    """Compare an engine's results with the reference's.

    Args:
        variant: ``engine/precision``.
        device: where ``found`` was computed.
        reference: anomalib's results.
        found: the engine's, in the same order. A map that is smaller than the reference's is
            up-sampled bilinearly.
        score_range: range to relate differences to; None takes the reference scores' own.
    """
    spread = float(np.ptp(reference.scores)) if score_range is None else score_range
    score_difference = np.abs(reference.scores - found.scores) / max(spread, 1e-12)
    map_range = max(float(np.ptp(np.concatenate([m.ravel() for m in reference.maps]))), 1e-12)
    map_difference = (
        np.concatenate([_difference(a, b) for a, b in zip(reference.maps, found.maps, strict=True)])
        / map_range
    )
    flips = (reference.scores > reference.threshold) != (found.scores > found.threshold)
    precision = variant.split("/")[-1]
    return Parity(
        variant=variant,
        device=device,
        images=len(reference.scores),
        score_range=spread,
        max_score_difference=float(score_difference.max()),
        p99_score_difference=float(np.quantile(score_difference, 0.99)),
        max_map_difference=float(map_difference.max()),
        p99_map_difference=float(np.quantile(map_difference, 0.99)),
        verdict_flips=int(flips.sum()),
        bound=bound_of(precision),
    )


def _difference(reference: Float32Map, found: Float32Map) -> Float32:
    if found.shape != reference.shape:
        found = upsample_map(found, (reference.shape[0], reference.shape[1]), 0.0)
    return np.asarray(np.abs(reference - found).ravel(), dtype=np.float32)
