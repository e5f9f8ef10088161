"""From a PatchCore bundle and good pictures of another part to a bundle of that part.

PatchCore learns without a gradient: a part's memory bank is a selection of what the bundle's own
network says of good pictures (Roth et al., CVPR 2022). So a box can learn a part with what it runs
on, NumPy and OpenVINO. The result is what ``lineside train`` would have made of the same pictures,
but for the last digits in which engines differ.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.int8.variant import INT8
from calibration.learning.copies import Augment
from calibration.learning.made_up import METRIC
from calibration.learning.photographs import Photographs, read_photographs
from calibration.teaching.lesson import Pictures, Settings, learn, most_parts
from calibration.teaching.new_bank import TeachableGraph
from calibration.teaching.writing import ONNX, OPENVINO, Work, write
from calibration.threshold_rules import MAX_FALSE_REJECTS, first_threshold, peaks_of, promise
from runtime import atomic
from runtime.bundle.folder import Bundle
from runtime.bundle.golden import Parity, replay_golden
from runtime.bundle.manifest import ROI, Manifest
from runtime.bundle.thresholds import Threshold
from runtime.errors import BundleError, ParityError, TrainingError
from runtime.images.dataset import load_category
from runtime.inspector import Inspector

log = logging.getLogger("lineside")


@dataclass(frozen=True)
class Taught:
    """A new bundle.

    Attributes:
        manifest: as written.
        photographs: what was learned, and what was not.
        left_aside: readable pictures that were too many to learn.
        prototypes: rows of the memory bank.
        threshold: in force.
        seconds: that it took.
    """

    manifest: Manifest
    photographs: Photographs
    left_aside: tuple[Path, ...]
    prototypes: int
    threshold: Threshold
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The fields of ``teach --json``."""
        return {
            "bundle": self.manifest.name,
            "category": self.manifest.category,
            "n_good": len(self.photographs.train),
            "n_skipped": len(self.photographs.skipped),
            "n_left_aside": len(self.left_aside),
            "prototypes": self.prototypes,
            "image_threshold": self.threshold.image_threshold,
            "method": self.threshold.method,
            "note": self.threshold.note,
            "made_up_defects": self.manifest.metrics.get(METRIC, {}),
            "seconds": round(self.seconds, 1),
        }


def teach(
    bundle: Path,
    good: Path,
    out: Path,
    name: str,
    *,
    augment: Augment | None = None,
    seed: int = 0,
    max_false_rejects: float = MAX_FALSE_REJECTS,
) -> Taught:
    """Make a bundle of a new part from a bundle's network and good pictures of the part.

    Args:
        bundle: a PatchCore bundle, of whatever part.
        good: a folder of good parts, or an MVTec-style folder of the part.
        out: new bundle folder; it appears when all of it is proven. ``bundle`` stays as it is.
        name: of the part.
        augment: turned or mirrored copies to learn too; None for those that the bundle's recipe
            says.
        seed: of everything random.
        max_false_rejects: share of good parts that the threshold may reject, in (0, 1).

    Raises:
        BundleError: the bundle is unusable, an older export, or of a model that cannot be taught.
        DataError: no usable pictures.
        TrainingError: something is at ``out`` already, or the name is empty.
        ParityError: this machine computes something else than the bundle's certificate says, or the
            new model differs from its reference; no bundle was written.
        KeyboardInterrupt: interrupted; nothing half-written is left behind.
    """
    start = time.perf_counter()
    name = _checked(name)
    require_new(out)
    require_outside(out, bundle)
    # A rate that makes no sense should not wait until everything is learned.
    promise(1, max_false_rejects, None)
    with Bundle.open(bundle) as base:
        graph, settings = teachable(base), Settings.of(base)
        if augment is not None:
            settings = dataclasses.replace(settings, augment=augment)
        tell_left_behind(base)
        size_hw = base.manifest.input.size_hw
        category = dataclasses.replace(load_category(good), name=name)
        found = read_photographs(category, size_hw, seed, hold_out=False)
        on_base = verified(base)
        photographs, left_aside = _within_memory(found, graph, size_hw)
        parts = Pictures(photographs.train, size_hw)
        lesson = learn(graph, settings, parts, seed)
        left_out = lesson.left_out(parts, seed)
        peaks = peaks_of(left_out.maps, size_hw, base.manifest.anomaly_map.blur_sigma)
        threshold = first_threshold(
            left_out.scores, peaks, max_false_rejects, left_out=len(photographs.train) > 1
        )
        work = Work(base, graph, category, photographs, lesson, left_out, threshold, on_base, seed)
        with atomic.folder(out) as root:
            manifest = write(work, root, start)
            # Somebody else may have taught the same part meanwhile.
            require_new(out)
    seconds = time.perf_counter() - start
    return Taught(manifest, photographs, left_aside, len(lesson.chosen), threshold, seconds)


def _checked(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable():
        raise TrainingError(
            f"--name: expected the name of the part, found {name!r}; type e.g. --name screw-m4"
        )
    return name


def require_new(out: Path) -> None:
    """Refuse a place where something is.

    Raises:
        TrainingError: something is there.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise TrainingError(
            f"{out}: expected a new folder, found something there, which is never overwritten; "
            "choose another --out"
        )


def require_outside(out: Path, bundle: Path) -> None:
    """Refuse a place inside of the bundle that is taught from.

    Raises:
        TrainingError: it is inside.
    """
    if out.resolve().is_relative_to(bundle.resolve()):
        raise TrainingError(
            f"{out}: expected a folder outside of the bundle {bundle}, which stays as it is; "
            "choose another --out"
        )


def tell_left_behind(base: Bundle) -> None:
    """Say which variants the new bundle will not have."""
    made = (OPENVINO.key, ONNX.key, INT8.key)
    others = [one.key for one in base.manifest.variants if one.key not in made]
    if others:
        log.info(f"{', '.join(others)}: not taught")


def teachable(base: Bundle) -> TeachableGraph:
    """The graph of a bundle that another bank can be put into.

    Raises:
        BundleError: it has none.
    """
    manifest = base.manifest
    files = [one for one in manifest.variants if one.key == ONNX.key]
    if not files:
        raise BundleError(
            f"{base.source}: expected the variant {ONNX.key}, which another part's bank is put "
            f"into, found {', '.join(one.key for one in manifest.variants)}; make the bundle again "
            "on a workstation with: lineside train --model patchcore"
        )
    if ROI in manifest.recipe:
        raise BundleError(
            f"{base.source}: expected a bundle that judges whole pictures, found one with a region "
            "of interest of its own part; teach from a bundle that was trained without --roi"
        )
    return TeachableGraph(base.model_path(files[0]), base.source, manifest.model)


def verified(base: Bundle) -> Parity:
    """The bundle on its golden pictures: a box that computes it wrongly would learn it wrongly."""
    variant = base.manifest.variant(OPENVINO.engine, OPENVINO.precision)
    with Inspector(
        base, engine=variant.engine, precision=variant.precision, blank_too=True
    ) as inspector:
        found = replay_golden(base, inspector)
    if not found.holds:
        raise ParityError(
            f"{base.source}: expected this machine to compute what the bundle's certificate says, "
            f"found scores that differ by {found.max_score_difference:.2e} of their range; see: "
            "lineside verify BUNDLE"
        )
    return found


def _within_memory(
    found: Photographs, graph: TeachableGraph, size_hw: tuple[int, int]
) -> tuple[Photographs, tuple[Path, ...]]:
    """As many parts as fit in memory, spread evenly, and those left aside, which is told."""
    blank = np.zeros((*size_hw, 3), np.uint8)
    most = most_parts(graph.patches(None)(blank)[0])
    count = len(found.train)
    if count <= most:
        return found, ()
    kept = np.unique(np.linspace(0, count - 1, most).astype(np.intp)).tolist()
    aside = tuple(found.train[place] for place in sorted({*range(count)} - {*kept}))
    log.warning(
        f"warning: {count} good pictures are more than the {most} that are learned at once; "
        f"{len(aside)} of them, spread evenly, are left aside. Set the threshold on them with: "
        "lineside calibrate BUNDLE --good DIR"
    )
    return (
        dataclasses.replace(
            found,
            train=tuple(found.train[place] for place in kept),
            train_digests=tuple(found.train_digests[place] for place in kept),
        ),
        aside,
    )
