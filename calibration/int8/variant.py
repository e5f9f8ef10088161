"""An INT8 variant for a bundle: quantized, judged, and only then written."""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from calibration.int8.gate import Bounds, GateResult, compare
from calibration.int8.graph import feature_model, memory_bank
from calibration.int8.model import around_networks
from calibration.int8.networks import quantized_networks, sensitive_layers, shallowest_first
from calibration.int8.parts import Roles, scores_of, share_out
from calibration.int8.search import MIN_ROWS
from calibration.scoring import Pictures, learned_digests, of_other, read_pictures
from calibration.threshold_rules import promise
from runtime import atomic
from runtime.bundle.folder import MANIFEST_FILE, Bundle, seal
from runtime.bundle.golden import record_golden
from runtime.bundle.manifest import TRAIN_DIGESTS, Variant
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold, write_thresholds
from runtime.decode import convert
from runtime.engines.base import Engine, open_engine
from runtime.engines.quiet import ov
from runtime.errors import BundleError, DataError, ParityError
from runtime.inspector import Inspector
from runtime.types import Floats, UInt8Image

log = logging.getLogger("lineside")

INT8 = Variant("openvino", "int8", "openvino/int8/model.xml")
# Where the manifest's metrics keep what the gate saw.
GATE = "int8_gate"
# Where the manifest's recipe says which shares of the networks' convolutions to leave in fp32, the
# first ones, at each attempt.
ATTEMPTS = "int8_attempts"
# Networks that stay in fp32 as a whole, around a search that a memory bank gives something to gain.
SEARCH_ALONE = 1.0
# Where the recipe says nothing. The very first convolutions of PatchCore's backbone take little
# time and lose most (docs/int8.md).
WITH_BANK = (1 / 16, 1 / 8, 1 / 4, 1 / 2, SEARCH_ALONE)
WITHOUT_BANK = (0.0, 1 / 8, 1 / 4, 1 / 2)
# Image AUROC of fp32 from which on synthetic defects tell one variant from another.
_TELLING = 0.65
_TIMED_RUNS = 15


@dataclass(frozen=True)
class Quantized:
    """An INT8 variant that was judged.

    Attributes:
        gate: what the gate saw.
        scores: raw scores of the photographed parts that judged, of fp32 and of INT8, each (n,).
        left_in_fp32: convolutions that stayed in fp32 because quantizing all of them hurt.
        times_faster: median latency of fp32 over that of INT8, on this machine; NaN where it did
            not pass.
    """

    gate: GateResult
    scores: tuple[Floats, Floats]
    left_in_fp32: tuple[str, ...]
    times_faster: float


def add_int8(
    path: Path,
    good: Pictures,
    bad: Pictures | None = None,
    bounds: Bounds | None = None,
    *,
    search_alone: bool = False,
) -> Quantized:
    """Add the variant ``openvino/int8`` to a bundle, or refuse.

    Args:
        path: bundle folder; it is replaced as a whole, at the end.
        good: good parts, a folder or paths: training pictures serve to quantize, others to judge.
        bad: bad parts, if there are any; without, synthetic defects stand in for them.
        bounds: of the gate; None for the usual ones.
        search_alone: leave the networks in fp32, and take the search through the bank alone.

    Raises:
        MissingExtraError: nncf is not installed.
        BundleError: the bundle is unusable, or an older export.
        DataError: too few pictures, or a model without a search.
        ParityError: the variant judges parts otherwise; the bundle stays as it was.
    """
    with (
        Bundle.open(path) as bundle,
        tempfile.TemporaryDirectory(prefix="lineside-int8-") as name,
    ):
        size_hw, folder = bundle.manifest.input.size_hw, Path(name)
        attempts = _attempts(bundle, search_alone=search_alone)
        roles = share_out(good, size_hw, learned_digests(bundle), to_learn=not search_alone)
        bad_pictures = (
            [image for _, image in read_pictures(bad, size_hw, "INT8: reading bad parts")]
            if bad is not None
            else []
        )
        found = _best(bundle, roles, bad_pictures, folder, bounds or Bounds(), attempts)
        write_int8(bundle, folder, roles, found)
    tell_int8(found)
    _advise(found.gate)
    return found


def default_attempts(model: ov.Model) -> tuple[float, ...]:
    """Shares of the convolutions to leave in fp32, in turn, by what the graph is."""
    return WITHOUT_BANK if memory_bank(model) is None else WITH_BANK


def _attempts(bundle: Bundle, *, search_alone: bool) -> tuple[float, ...]:
    manifest = bundle.manifest
    model = ov.Core().read_model(bundle.model_path(manifest.variant("openvino", "fp32")))
    attempts = convert(
        manifest.recipe.get(ATTEMPTS) or default_attempts(model),
        tuple[Annotated[float, Meta(ge=0.0, le=SEARCH_ALONE)], ...],
        where=f"{bundle.source}: {ATTEMPTS}",
        error=BundleError,
        advice="make the bundle again with: lineside train",
    )
    bank = memory_bank(model)
    rows = 0 if bank is None else int(bank.get_output_shape(0)[0])
    if rows < MIN_ROWS:
        # The search would stay as it is, and a copy of fp32 would pass any gate.
        attempts = tuple(attempt for attempt in attempts if attempt != SEARCH_ALONE)
    if not search_alone:
        return attempts
    if SEARCH_ALONE not in attempts:
        small = f"{rows} prototypes, whose search takes no time"
        raise DataError(
            f"{bundle.source}: expected PatchCore with {MIN_ROWS} prototypes or more to search, "
            f"found {manifest.model if bank is None else small}; quantise its networks with: "
            "lineside calibrate --int8"
        )
    return (SEARCH_ALONE,)


def _best(
    bundle: Bundle,
    roles: Roles,
    bad: Sequence[UInt8Image],
    folder: Path,
    bounds: Bounds,
    attempts: Sequence[float],
) -> Quantized:
    ir = bundle.model_path(bundle.manifest.variant("openvino", "fp32"))
    onnx = bundle.model_path(bundle.manifest.variant("onnxruntime", "fp32"))
    judge = Judge(bundle, roles.judge, bad, bounds)
    exact = feature_model(onnx)
    convolutions = shallowest_first(exact)
    problems = ""
    worst: list[str] = []
    for attempt in attempts:
        left = tuple(convolutions[: round(attempt * len(convolutions))])
        kept = f", {len(left)} of {len(convolutions)} layers left in fp32" if left else ""
        alone = attempt == SEARCH_ALONE
        log.info(f"INT8: quantising{' the search alone' if alone else kept}")
        networks = None if alone else quantized_networks(onnx, roles.learn, left)
        target = folder / INT8.path
        target.parent.mkdir(parents=True, exist_ok=True)
        whole = around_networks(onnx, ir, networks, roles.learn)
        ov.save_model(whole, str(target), compress_to_fp16=False)
        found = judge.of(target, left)
        if not found.gate.problems:
            return found
        problems = "; ".join(found.gate.problems)
        log.info(f"INT8: {problems}")
        if networks is not None and not worst:
            worst = [name for name, _ in sensitive_layers(exact, networks, roles.learn)]
    lost = f"The layers that lose most are {', '.join(worst[:5])}. " if worst else ""
    raise ParityError(
        f"{bundle.source}: expected an INT8 variant that judges parts as fp32 does, found: "
        f"{problems}. {lost}The bundle stays as it was; inspect with fp32"
    )


class Judge:
    """What says whether INT8 judges parts as fp32 does: both on the same ones.

    Args:
        bundle: whose fp32 variant it is.
        good: pictures of good parts, uint8 (H, W, 3) at the model's size.
        bad: of bad ones; without, synthetic defects stand in for them.
        bounds: what is allowed.
    """

    def __init__(
        self,
        bundle: Bundle,
        good: Sequence[UInt8Image],
        bad: Sequence[UInt8Image],
        bounds: Bounds,
    ) -> None:
        self._good, self._bad, self._bounds, self._roi = good, bad, bounds, bundle.roi()
        variant = bundle.manifest.variant("openvino", "fp32")
        self._fp32 = open_engine("openvino", bundle.model_path(variant))
        self._exact = scores_of(self._fp32, good, bad, "fp32", self._roi)

    def of(self, model: Path, left: tuple[str, ...]) -> Quantized:
        """Judge an INT8 model; what is out of bounds is in its ``gate.problems``.

        Args:
            model: the .xml file.
            left: layers of it that are in fp32.
        """
        count, exact = len(self._good), self._exact
        int8 = open_engine("openvino", model)
        scores = scores_of(int8, self._good, self._bad, "int8", self._roi)
        thresholds = _bound(exact[:count]), _bound(scores[:count])
        gate = compare(exact, scores, count, len(self._bad), thresholds, self._bounds)
        photographed = slice(count + len(self._bad))
        both = exact[photographed], scores[photographed]
        faster = math.nan if gate.problems else _times_faster(self._fp32, int8, self._good[0])
        return Quantized(gate, both, left, faster)


def _bound(good_scores: Floats) -> float:
    """A threshold set in the same way for both variants: 5 % false rejects on average."""
    return promise(good_scores.size, 0.05, None).of(good_scores)


def _times_faster(fp32: Engine, int8: Engine, picture: UInt8Image) -> float:
    """Ratio of the medians, in turn on the same picture."""
    times: tuple[list[float], list[float]] = [], []
    for _ in range(_TIMED_RUNS):
        for engine, taken in zip((fp32, int8), times, strict=True):
            start = time.perf_counter()
            engine.run({"image": picture[None]})
            taken.append(time.perf_counter() - start)
    return statistics.median(times[0]) / statistics.median(times[1])


def write_int8(bundle: Bundle, folder: Path, roles: Roles, found: Quantized) -> None:
    """Put a copy of the bundle with the variant in the place of the bundle.

    Args:
        bundle: open, of a folder.
        folder: where the model lies, under its path in the bundle.
        roles: of the pictures.
        found: the variant that passed.
    """
    manifest = bundle.manifest
    learned = list(manifest.provenance.get(TRAIN_DIGESTS, []))
    gate = {**found.gate.to_json(), "left_in_fp32": list(found.left_in_fp32)}
    others = tuple(variant for variant in manifest.variants if variant.key != INT8.key)
    changed = dataclasses.replace(
        manifest,
        variants=(*others, INT8),
        metrics={**manifest.metrics, GATE: gate},
        provenance={**manifest.provenance, TRAIN_DIGESTS: sorted({*learned, *roles.digests})},
    )
    with atomic.folder(bundle.root) as root:
        shutil.copytree(
            bundle.root, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST_FILE)
        )
        shutil.rmtree(root / Path(INT8.path).parent, ignore_errors=True)
        shutil.copytree(folder, root, dirs_exist_ok=True)
        thresholds = bundle.thresholds()
        first = matched(thresholds.of("openvino/fp32"), *found.scores)
        write_thresholds(root / THRESHOLDS_FILE, thresholds.with_threshold(INT8.key, first))
        sealed = seal(root, changed)
        variants = {**sealed.certificate.get("variants", {}), INT8.key: _golden(root)}
        certificate = {**sealed.certificate, "variants": variants}
        seal(root, dataclasses.replace(sealed, certificate=certificate))


def matched(threshold: Threshold, fp32: Floats, int8: Floats) -> Threshold:
    """The threshold that passes as many of the parts that judged as fp32's does.

    It serves until the calibration that follows.

    Args:
        threshold: of fp32.
        fp32: raw scores (n,).
        int8: of the same parts.
    """
    both = np.array([threshold.image_threshold, threshold.median_good_score])
    value, median = of_other(both, fp32, int8).tolist()
    return Threshold(
        image_threshold=value,
        pixel_threshold=threshold.pixel_threshold + value - threshold.image_threshold,
        median_good_score=median,
        method="matched",
        n_good=threshold.n_good,
        note="passes as many parts as fp32's; calibrate for a promise",
    )


def _golden(root: Path) -> dict[str, Any]:
    """Record what the variant says of the golden images, and its distance from the reference.

    The gate has let it in, on more parts than these. What a box is held to is that it computes the
    variant which passed.
    """
    with (
        Bundle.open(root) as bundle,
        Inspector(bundle, engine=INT8.engine, precision=INT8.precision) as inspector,
    ):
        threshold = bundle.thresholds().of(INT8.key).image_threshold
        parity = record_golden(bundle, inspector, threshold)
    return {**parity.to_json(), "bound": None, "holds": True, "let_in_by": GATE}


def tell_int8(found: Quantized) -> None:
    """Log what was added."""
    gate = found.gate
    on = f" on {gate.n_synthetic} synthetic defects" if gate.n_synthetic else ""
    left = f", {len(found.left_in_fp32)} layers left in fp32" if found.left_in_fp32 else ""
    log.info(
        f"{INT8.key} added: image AUROC{on} {gate.auroc_fp32:.4f} to {gate.auroc_int8:.4f}, rank "
        f"correlation {gate.rank_correlation:.3f}, {gate.flips} flips on "
        f"{gate.n_good + gate.n_bad} parts, {found.times_faster:.2f} times as fast as fp32 "
        f"on this machine{left}"
    )


def _advise(gate: GateResult) -> None:
    if gate.n_synthetic:
        little = ", which hardly stand out among these parts" if gate.auroc_fp32 < _TELLING else ""
        log.info(
            "no bad part has judged it: give pictures of some with --bad DIR, they say more than "
            f"synthetic defects{little}; together with --max-false-rejects RATE they judge it "
            "alone, and the promise stays"
        )
