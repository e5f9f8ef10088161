"""What the page works on: the lines of a box by the label that one picks, and their samples."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.fingerprint import bundle_fingerprint
from edge_app.indexing import find_parts
from edge_app.line import Line, open_memory
from edge_app.page.render import shrunk
from edge_app.store import NeighborStore, PartPoint
from edge_app.teaching.versions import opened_at_work
from runtime.atomic import readable
from runtime.bundle.golden import check_golden
from runtime.errors import BundleError, ImageError
from runtime.images.dataset import Part, list_categories
from runtime.images.preprocess import decode_rgb
from runtime.inspector import Inspector
from runtime.types import UInt8Image

MODEL_NAMES = {"patchcore": "PatchCore", "efficientad": "EfficientAD"}
MOST_SAMPLES = 24
_SAMPLE_SIDE = 200


Opener = Callable[[Path, Sequence[NeighborStore]], tuple[Inspector, NeighborStore]]


@dataclass(frozen=True)
class Sample:
    """A picture to click on.

    Attributes:
        part: the picture and what its folder says about it.
        thumbnail_rgb: uint8 (h, w, 3), RGB, at most 200 pixels on the longer side.
    """

    part: Part
    thumbnail_rgb: UInt8Image

    @property
    def caption(self) -> str:
        """Defect and file name, e.g. ``crack 003``."""
        return readable(f"{self.part.defect_type} {self.part.path.stem}".strip())


@dataclass(frozen=True)
class Station:
    """The lines of one page, and pictures to click on, both by label.

    Attributes:
        lines: by label.
        samples: by label.
        paths: of the bundles as they were given, by name of the line.
        open_bundle: opens another bundle as those of the lines were opened, for a line to go on
            with, on its own one of some open stores if it is there; it is closed with the station.
            None where no bundle may be changed.
        switching: held while a line goes on with another bundle.
    """

    lines: dict[str, Line] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    open_bundle: Opener | None = None
    switching: threading.Lock = field(default_factory=threading.Lock)

    @property
    def names(self) -> dict[str, str]:
        """Label by the name that programs and addresses use."""
        return {line.name: label for label, line in self.lines.items()}

    def line_of(self, point: PartPoint) -> Line:
        """The line that has judged a part: the operator may have chosen another since."""
        return next(
            line
            for line in self.lines.values()
            if point.bundle in [store.bundle for store in line.stores]
        )


@contextmanager
def open_station(
    bundles: Sequence[Path], location: str, samples: Path | None = None, **engine: Any
) -> Iterator[Station]:
    """Open bundles and their stores; all of them are closed at the end, or if one fails.

    Args:
        bundles: paths of bundles.
        location: of the neighbour store.
        samples: folder of pictures to click on.
        **engine: as of :class:`Inspector`.

    Raises:
        BundleError: a bundle is unusable, or two are the same.
        StoreError: the store cannot be opened.
        DataError: the folder of samples is missing or empty.
    """
    fingerprints: dict[str, Path] = {}
    with ExitStack() as stack:

        def open_bundle(
            path: Path, known: Sequence[NeighborStore] = ()
        ) -> tuple[Inspector, NeighborStore]:
            # A box may be delivered with nothing learned: nothing is judged until it is taught.
            inspector = stack.enter_context(Inspector(path, canary=True, blank_too=True, **engine))
            try:
                # The first inference prepares memory and is slow; the operator's first part should
                # not be.
                inspector.infer(np.zeros((*inspector.size_hw, 3), np.uint8))
                check_golden(inspector)
            except BaseException:
                inspector.close()
                raise
            fingerprint = bundle_fingerprint(inspector.bundle)
            for store in known:
                if store.bundle == fingerprint:
                    return inspector, store
            # A server that is not up yet after a power cut must not keep the operator from
            # verdicts.
            store = stack.enter_context(open_memory(inspector, location, later=True))
            # In a process of its own; until it has done its work, searches read the records.
            store.optimize(wait=False)
            return inspector, store

        station = Station(open_bundle=open_bundle)
        for path in bundles:
            inspector, store = opened_at_work(path, open_bundle)
            if store.bundle in fingerprints:
                raise BundleError(
                    f"{path}: expected different bundles, found the model of "
                    f"{fingerprints[store.bundle]} again; name each bundle once"
                )
            fingerprints[store.bundle] = path
            label = _label(inspector, path, station)
            category = inspector.bundle.manifest.category
            line = Line(inspector, store, line_name(path, station))
            # A server that ends may leave a part in work behind.
            stack.callback(line.end)
            station.lines[label] = line
            station.paths[line.name] = path
            station.samples[label] = [] if samples is None else load_samples(samples, category)
        yield station


def load_samples(folder: Path, category: str) -> list[Sample]:
    """Pick pictures, as many of each kind of defect as of good parts; unreadable ones are left out.

    Args:
        folder: an MVTec-style root, a category's folder, or any folder of pictures.
        category: kind of part; its own folder is used where there is one. A root of other
            categories has no pictures of it.

    Returns:
        at most :data:`MOST_SAMPLES`.

    Raises:
        DataError: the folder is missing or holds no picture.
    """
    if not (folder / category).is_dir() and category != folder.name and list_categories(folder):
        return []
    inside = folder / category if (folder / category).is_dir() else folder
    kinds: dict[str, list[Part]] = {}
    for part in find_parts(inside / "test" if (inside / "test").is_dir() else inside):
        kinds.setdefault(part.defect_type, []).append(part)
    # Defects first: they are what one wants to see.
    ordered = [kinds[name] for name in sorted(kinds, key=lambda name: (name == "good", name))]
    mixed = (part for row in zip_longest(*ordered) for part in row if part is not None)
    return list(itertools.islice(_readable(mixed), MOST_SAMPLES))


def _readable(parts: Iterator[Part]) -> Iterator[Sample]:
    for part in parts:
        try:
            yield Sample(part, shrunk(decode_rgb(part.path), _SAMPLE_SIDE))
        except ImageError:
            continue


def line_name(path: Path, station: Station) -> str:
    """The bundle's folder or file in letters that an address can hold; a number where two agree."""
    stem = readable(path.resolve().name).removesuffix(".lineside")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "bundle"
    numbered = (f"{plain}-{count}" for count in itertools.count(2))
    return next(found for found in itertools.chain([plain], numbered) if found not in station.names)


def _label(inspector: Inspector, path: Path, station: Station) -> str:
    """E.g. ``tile · PatchCore``; where another has that, with the bundle's name, then a number."""
    manifest = inspector.bundle.manifest
    label = f"{manifest.category} · {MODEL_NAMES.get(manifest.model, manifest.model)}"
    named = (f"{label} · {path.name} ({count})" for count in itertools.count(2))
    wanted = itertools.chain([label, f"{label} · {path.name}"], named)
    return next(found for found in wanted if found not in station.lines)
