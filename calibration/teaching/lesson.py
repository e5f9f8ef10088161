"""What PatchCore learns of a part: components, memory bank, and each part's score without it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from calibration.learning.components import Components, find_components, spread
from calibration.learning.copies import Augment, Copies, copies_of, stand_in, with_copies
from calibration.learning.coreset import select_coreset
from calibration.learning.distances import Places
from calibration.learning.evidence import Scored
from calibration.learning.leave_one_out import LeaveOneOut
from calibration.learning.made_up import as_scores, score_made_up, share_of_part
from calibration.learning.patch_scores import PatchScorer, blur_reach
from calibration.teaching.new_bank import Network, TeachableGraph
from runtime.bundle.folder import Bundle
from runtime.decode import Count, Positive, convert
from runtime.errors import BundleError, TrainingError
from runtime.images.preprocess import load_image
from runtime.progress import task, track
from runtime.types import Float32, Float32Map, UInt8Image

log = logging.getLogger("lineside")

# Of all parts' patches in memory: 2,000 parts with 1,024 patches of 64 numbers. Selection needs as
# much again.
MAX_PATCH_BYTES = 1 << 29
# Of decoded pictures kept for the next look at them: 1,300 with 256 pixels a side.
_MAX_PICTURE_BYTES = 1 << 28


@dataclass(frozen=True)
class Settings:
    """What a bundle's recipe says about learning a part; see ``lineside train --help``."""

    coreset_ratio: Annotated[float, Meta(gt=0.0, le=1.0)]
    max_prototypes: Positive
    dimensions: Count
    whitening: Annotated[float, Meta(ge=0.0, le=1.0)]
    score_share: Annotated[float, Meta(ge=0.0, le=1.0)]
    score_blur: Annotated[float, Meta(ge=0.0, le=8.0)]
    num_neighbors: Positive
    augment: Augment = "none"

    @classmethod
    def of(cls, bundle: Bundle) -> Settings:
        """Those of a PatchCore bundle.

        Raises:
            BundleError: its recipe lacks one.
        """
        recipe = bundle.manifest.recipe
        return convert(
            {name: recipe[name] for name in cls.__dataclass_fields__ if name in recipe},
            cls,
            where=f"{bundle.source}: recipe",
            error=BundleError,
            advice="make the bundle again on a workstation with: lineside train --model patchcore",
        )

    @property
    def scorer(self) -> PatchScorer:
        """How a part is scored."""
        return PatchScorer(self.score_share, self.score_blur, self.num_neighbors)


class Pictures:
    """Readable pictures at a model's size, the first ones kept in memory.

    Args:
        paths: of them.
        size_hw: the model's input height and width.
    """

    def __init__(self, paths: Sequence[Path], size_hw: tuple[int, int]) -> None:
        self.paths = paths
        self.size_hw = size_hw
        self._kept: dict[int, UInt8Image] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> UInt8Image:
        """A picture, uint8 (H, W, 3) RGB.

        Raises:
            ImageError: it has gone since it was first read.
        """
        if place in self._kept:
            return self._kept[place]
        image = load_image(self.paths[place], self.size_hw)
        if (len(self._kept) + 1) * image.nbytes <= _MAX_PICTURE_BYTES:
            self._kept[place] = image
        return image


@dataclass(frozen=True)
class Lesson:
    """What was learned of a part.

    Attributes:
        components: of the layers; None where the recipe keeps all their channels.
        patches: of all parts that were learned, float32 (n, P, D); of a bank that has grown, behind
            those of the new parts, the rows that it had before.
        grid_hw: rows and columns of a part's patches.
        chosen: places of the prototypes among the n * P patches, in the order of choice.
        network: from a picture to its patches.
        scorer: from patches and a bank to a score.
        copies: patches of turned or mirrored copies, to which ``chosen`` counts on.
        augment: which copies they are.
    """

    components: Components | None
    patches: Float32
    grid_hw: tuple[int, int]
    chosen: Places
    network: Network
    scorer: PatchScorer
    copies: Copies | None = None
    augment: Augment = "none"

    @property
    def bank(self) -> Float32:
        """The prototypes, float32 (K, D)."""
        return with_copies(self.patches, self.copies)[self.chosen]

    def score(self, picture: UInt8Image, bank: Float32) -> tuple[float, Float32Map]:
        """Raw score and map (h, w) of a picture, uint8 (H, W, 3), with a bank."""
        return self.scorer.score(flat(self.network(picture)[0]), bank, self.grid_hw)

    def left_out(self, parts: Pictures, seed: int) -> Scored:
        """What each learned part scores with a bank that is built without it.

        Args:
            parts: those that were learned.
            seed: of made-up defects.
        """
        if len(self.patches) == 1:
            # Its own bank judges it in another pose; the rule for few scores does the rest.
            score, found = self.score(stand_in(parts[0], self.augment), self.bank)
            return Scored(np.array([score]), [found])
        banks = LeaveOneOut(self.patches, self.chosen, self.scorer.neighbors + 1, self.copies)
        scores: list[float] = []
        maps: list[Float32Map] = []
        made_up: list[list[float]] = []
        for place in track(range(len(parts)), "leaving parts out"):
            bank = banks.bank(place)
            score, found = self.scorer.score(self.patches[place], bank, self.grid_hw)
            scores.append(score)
            maps.append(found)
            if defects := share_of_part(place, len(parts)):
                judge = partial(self._score_of, bank=bank)
                made_up += score_made_up(judge, parts[place], defects, seed)
        return Scored(np.array(scores), maps, as_scores(made_up))

    def _score_of(self, picture: UInt8Image, bank: Float32) -> float:
        return self.score(picture, bank)[0]


def learn(graph: TeachableGraph, settings: Settings, parts: Pictures, seed: int) -> Lesson:
    """Learn good parts.

    Args:
        graph: whose networks describe them.
        settings: of the recipe.
        parts: at least one.
        seed: of the first prototype.

    Raises:
        ImageError: a picture has gone since it was first read.
        TrainingError: features that are not finite, or a map too small for the blur.
    """
    components = None
    if graph.has_projection:
        pooled = graph.pooled()
        described = (
            pooled(parts[place]) for place in track(spread(len(parts)), "principal components")
        )
        components = find_components(described, settings.dimensions, settings.whitening)
    network = graph.patches(components)
    first = network(parts[0])[0]
    grid_hw = (first.shape[1], first.shape[2])
    _check_blur(settings, grid_hw)
    found = np.empty((len(parts), first[0].size, len(first)), np.float32)
    for place in track(range(len(parts)), "describing patches"):
        found[place] = flat(network(parts[place])[0])
    copies = copies_of(
        lambda image: network(image)[0], parts.paths, settings.augment, parts.size_hw
    )
    rows = with_copies(found, copies)
    with task("coreset") as advance:
        places = select_coreset(rows, _prototypes(settings, len(rows)), seed, advance)
    scorer, augment = settings.scorer, settings.augment
    return Lesson(components, found, grid_hw, places, network, scorer, copies, augment)


def flat(patches: Float32) -> Float32:
    """A map (D, h, w) as rows, (h * w, D)."""
    return patches.reshape(len(patches), -1).T


def most_parts(patches: Float32) -> int:
    """How many parts can be learned at once, by the patches of one, (D, h, w)."""
    size: int = patches.nbytes
    return max(1, MAX_PATCH_BYTES // size)


def _prototypes(settings: Settings, rows: int) -> int:
    """The recipe's number of them, as training counts."""
    count = min(math.ceil(rows * settings.coreset_ratio), settings.max_prototypes)
    # Of few pictures a small share would be fewer than the re-weighting compares.
    return min(max(count, settings.num_neighbors + 1), rows)


def _check_blur(settings: Settings, grid_hw: tuple[int, int]) -> None:
    reach = blur_reach(settings.score_blur)
    if settings.score_share and reach >= min(grid_hw):
        raise TrainingError(
            f"score_blur: expected a map of more than {reach} patches a side, found {grid_hw[0]} x "
            f"{grid_hw[1]}; teach from a bundle with larger pictures"
        )
