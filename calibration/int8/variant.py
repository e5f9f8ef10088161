"""An INT8 variant for a bundle: quantised, judged, and only then written."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from calibration.guarantee import promise
from calibration.int8.gate import Bounds, GateResult, Scores, compare
from calibration.int8.graph_parts import feature_model, memory_bank
from calibration.int8.model import around_networks, quantized_networks
from calibration.int8.pictures import Roles, share_out
from calibration.int8.search import MIN_ROWS
from calibration.int8.sensitivity import sensitive_layers, shallowest_first
from calibration.int8.synthetic import synthetic_defects
from calibration.scoring import learned_digests
from runtime import atomic
from runtime.bundle.folder import MANIFEST_FILE, Bundle, seal
from runtime.bundle.golden import record_golden
from runtime.bundle.manifest import TRAIN_DIGESTS, Variant
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold, write_thresholds
from runtime.engines.base import Engine, open_engine
from runtime.engines.quiet import ov
from runtime.errors import DataError, ImageError, ParityError
from runtime.images.dataset import list_images
from runtime.images.preprocess import load_image
from runtime.inspector import Inspector
from runtime.progress import track
from runtime.types import UInt8Image

log = logging.getLogger("lineside")

INT8 = Variant("openvino", "int8", "openvino/int8/model.xml")
# Where the manifest's metrics keep what the gate saw.
GATE = "int8_gate"
# PatchCore has a search to gain from when all of its networks stay in fp32.
SEARCH_ALONE = 1.0
# Share of the convolutions left in fp32, the first ones, at each attempt. The very first ones of
# PatchCore's backbone take little time and lose most (docs/int8.md).
ATTEMPTS = {
    "patchcore": (1 / 16, 1 / 8, 1 / 4, 1 / 2, SEARCH_ALONE),
    "efficientad": (0.0, 1 / 8, 1 / 4, 1 / 2),
}
# Where no bad part judges. As many keep what chance does to image AUROC below what the gate allows.
SYNTHETIC_DEFECTS = 480
_TIMED_RUNS = 15


@dataclass(frozen=True)
class Quantized:
    """An INT8 variant that passed.

    Attributes:
        gate: what the gate saw.
        scores: raw scores of the photographed parts that judged, of fp32 and of INT8, each (n,).
        left_in_fp32: convolutions that stayed in fp32 because quantising all of them hurt.
        times_faster: median latency of fp32 over that of INT8, on this machine.
    """

    gate: GateResult
    scores: tuple[np.ndarray, np.ndarray]
    left_in_fp32: tuple[str, ...]
    times_faster: float


def add_int8(
    path: Path,
    good: Path,
    bad: Path | None = None,
    bounds: Bounds | None = None,
    *,
    search_alone: bool = False,
) -> Quantized:
    """Add the variant ``openvino/int8`` to a bundle folder, or refuse; the folder is replaced as a whole, at the end.

    Args:
        path: bundle folder.
        good: pictures of good parts: training pictures serve to quantise, others to judge.
        bad: pictures of bad parts, if there are any; without, synthetic defects stand in for them.
        bounds: of the gate; None for the usual ones.
        search_alone: leave PatchCore's networks in fp32.

    Raises:
        MissingExtraError: nncf is not installed.
        BundleError: the bundle is unusable, or an older export.
        DataError: too few pictures, or a model without a search.
        ParityError: the variant judges parts otherwise; the bundle stays as it was.
    """
    with (
        Bundle.open(path) as bundle,
        tempfile.TemporaryDirectory(prefix="lineside-int8-") as folder,
    ):
        size_hw = bundle.manifest.input.size_hw
        attempts = _attempts(bundle, search_alone=search_alone)
        roles = share_out(good, size_hw, learned_digests(bundle), to_learn=not search_alone)
        bad_pictures = _pictures(bad, size_hw) if bad is not None else []
        found = _best(bundle, roles, bad_pictures, Path(folder), bounds or Bounds(), attempts)
        _write(bundle, Path(folder), roles, found)
    return found


def _attempts(bundle: Bundle, *, search_alone: bool) -> tuple[float, ...]:
    """Shares of the networks to leave in fp32, in turn."""
    attempts = ATTEMPTS[bundle.manifest.model]
    if SEARCH_ALONE in attempts and (rows := _bank_rows(bundle)) < MIN_ROWS:
        # The search would stay as it is, and a copy of fp32 would pass any gate.
        attempts = tuple(attempt for attempt in attempts if attempt != SEARCH_ALONE)
        found = f"{rows} prototypes, whose search takes no time"
    else:
        found = bundle.manifest.model
    if not search_alone:
        return attempts
    if SEARCH_ALONE not in attempts:
        raise DataError(
            f"{bundle.source}: expected PatchCore with {MIN_ROWS} prototypes or more to search, "
            f"found {found}; "
            "quantise its networks with: lineside calibrate --int8"
        )
    return (SEARCH_ALONE,)


def _bank_rows(bundle: Bundle) -> int:
    graph = ov.Core().read_model(bundle.model_path(bundle.manifest.variant("openvino", "fp32")))
    bank = memory_bank(graph)
    return 0 if bank is None else int(bank.get_output_shape(0)[0])


def _best(
    bundle: Bundle,
    roles: Roles,
    bad: list[UInt8Image],
    folder: Path,
    bounds: Bounds,
    attempts: Sequence[float],
) -> Quantized:
    ir = bundle.model_path(bundle.manifest.variant("openvino", "fp32"))
    onnx = bundle.model_path(bundle.manifest.variant("onnxruntime", "fp32"))
    fp32 = open_engine("openvino", ir)
    exact_scores = _scores(fp32, roles.judge, bad, "fp32")
    exact = feature_model(onnx)
    convolutions = shallowest_first(exact)
    worst: list[str] = []
    for attempt in attempts:
        left = tuple(convolutions[: round(attempt * len(convolutions))])
        kept = f", {len(left)} of {len(convolutions)} layers left in fp32" if left else ""
        log.info(
            "INT8: quantising the search alone"
            if attempt == SEARCH_ALONE
            else f"INT8: quantising{kept}"
        )
        networks = None if attempt == SEARCH_ALONE else quantized_networks(onnx, roles.learn, left)
        int8 = open_engine(
            "openvino", _save(around_networks(onnx, ir, networks, roles.learn), folder)
        )
        scores = _scores(int8, roles.judge, bad, "int8")
        gate = compare(
            exact_scores, scores, (_bound(exact_scores.good), _bound(scores.good)), bounds
        )
        if not gate.problems:
            both = (exact_scores.photographed, scores.photographed)
            return Quantized(gate, both, left, _times_faster(fp32, int8, roles.judge[0]))
        log.info(f"INT8: {'; '.join(gate.problems)}")
        if networks is not None and not worst:
            worst = [name for name, _ in sensitive_layers(exact, networks, roles.learn)]
    raise ParityError(
        f"{bundle.source}: expected an INT8 variant that judges parts as fp32 does, found: "
        f"{'; '.join(gate.problems)}. "
        + (f"The layers that lose most are {', '.join(worst[:5])}. " if worst else "")
        + "The bundle stays as it was; inspect with fp32"
    )


def _save(model: ov.Model, folder: Path) -> Path:
    target = folder / INT8.path
    target.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, str(target), compress_to_fp16=False)
    return target


def _write(bundle: Bundle, folder: Path, roles: Roles, found: Quantized) -> None:
    """A copy of the bundle with the variant, in the place of the bundle."""
    manifest = bundle.manifest
    learned = list(manifest.provenance.get(TRAIN_DIGESTS, []))
    others = tuple(variant for variant in manifest.variants if variant.key != INT8.key)
    changed = dataclasses.replace(
        manifest,
        variants=(*others, INT8),
        metrics={
            **manifest.metrics,
            GATE: {**found.gate.to_json(), "left_in_fp32": list(found.left_in_fp32)},
        },
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
        certificate = {**sealed.certificate}
        certificate["variants"] = {**certificate.get("variants", {}), INT8.key: _golden(root)}
        seal(root, dataclasses.replace(sealed, certificate=certificate))


def matched(threshold: Threshold, fp32: np.ndarray, int8: np.ndarray) -> Threshold:
    """The threshold that passes as many of the parts that judged as fp32's does, until the calibration that follows.

    Args:
        threshold: of fp32.
        fp32: raw scores (n,).
        int8: of the same parts.
    """
    ours, theirs = np.sort(int8), np.sort(fp32)

    def of_int8(score: float) -> float:
        beyond = score - float(np.clip(score, theirs[0], theirs[-1]))
        return float(np.interp(score, theirs, ours)) + beyond

    value = of_int8(threshold.image_threshold)
    return Threshold(
        image_threshold=value,
        pixel_threshold=threshold.pixel_threshold + value - threshold.image_threshold,
        median_good_score=of_int8(threshold.median_good_score),
        method="matched",
        n_good=threshold.n_good,
        note="passes as many parts as fp32's; calibrate for a promise",
    )


def _golden(root: Path) -> dict[str, Any]:
    """Record what the variant says of the golden images; how far that is from anomalib's torch model, for the certificate.

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


def _scores(
    engine: Engine, good: Sequence[UInt8Image], bad: Sequence[UInt8Image], what: str
) -> Scores:
    count = 0 if bad else SYNTHETIC_DEFECTS
    pictures = (*good, *bad), synthetic_defects(good, count)
    total = len(good) + len(bad) + count
    found = np.array(
        [
            _score(engine, picture)
            for picture in track(chain(*pictures), f"INT8: scoring with {what}", total)
        ]
    )
    return Scores(*np.split(found, [len(good), len(good) + len(bad)]))


def _score(engine: Engine, picture: UInt8Image) -> float:
    return float(np.asarray(engine.run({"image": picture[None]})["pred_score"]).ravel()[0])


def _bound(good_scores: np.ndarray) -> float:
    """A threshold set in the same way for both variants: at most 5 % of the good parts rejected on average."""
    return promise(good_scores.size, 0.05, None).of(good_scores)


def _pictures(folder: Path, size_hw: tuple[int, int]) -> list[UInt8Image]:
    found = []
    for path in list_images(folder):
        try:
            found.append(load_image(path, size_hw))
        except ImageError as error:
            log.warning(f"skipped: {error}")
    return found


def _times_faster(fp32: Engine, int8: Engine, picture: UInt8Image) -> float:
    """Ratio of the medians, in turn on the same picture."""
    times: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(_TIMED_RUNS):
        for which, engine in enumerate((fp32, int8)):
            start = time.perf_counter()
            engine.run({"image": picture[None]})
            times[which].append(time.perf_counter() - start)
    return statistics.median(times[0]) / statistics.median(times[1])
