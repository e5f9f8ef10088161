"""What PatchCore learns of a part: components, memory bank, and each part's score without it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from calibration.learning.components import Components, find_components, spread
from calibration.learning.coreset import select_coreset
from calibration.learning.distances import Places
from calibration.learning.evidence import Scored, load_images
from calibration.learning.leave_one_out import LeaveOneOut
from calibration.learning.made_up import as_scores, score_made_up, share_of_part
from calibration.learning.patch_scores import PatchScorer, blur_reach
from calibration.teaching.graph import Network, TeachableGraph
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


@dataclass(frozen=True)
class Lesson:
    """What was learned of a part.

    Attributes:
        components: of the layers; None where the recipe keeps all their channels.
        patches: of all parts that were learned, float32 (n, P, D).
        grid_hw: rows and columns of a part's patches.
        chosen: places of the prototypes among the n * P patches, in the order of choice.
        network: from a picture to its patches.
        scorer: from patches and a bank to a score.
    """

    components: Components | None
    patches: Float32
    grid_hw: tuple[int, int]
    chosen: Places
    network: Network
    scorer: PatchScorer

    @property
    def bank(self) -> Float32:
        """The prototypes, float32 (K, D)."""
        return self.patches.reshape(-1, self.patches.shape[2])[self.chosen]

    def score(self, picture: UInt8Image, bank: Float32) -> tuple[float, Float32Map]:
        """Raw score and map (h, w) of a picture, uint8 (H, W, 3), with a bank."""
        return self.scorer.score(flat(self.network(picture)[0]), bank, self.grid_hw)

    def left_out(self, parts: Sequence[Path], size_hw: tuple[int, int], seed: int) -> Scored:
        """What each learned part scores with a bank that is built without it.

        Args:
            parts: those that were learned, in their order.
            size_hw: model input size.
            seed: of made-up defects.
        """
        if len(parts) == 1:
            # The only part is both: its own bank judges it, and the rule for few scores does the
            # rest.
            score, found = self.scorer.score(self.patches[0], self.bank, self.grid_hw)
            return Scored(np.array([score]), [found])
        banks = LeaveOneOut(self.patches, self.chosen, self.scorer.neighbors + 1)
        scores: list[float] = []
        maps: list[Float32Map] = []
        made_up: list[list[float]] = []
        for place, path in enumerate(track(parts, "leaving parts out")):
            bank = banks.bank(place)
            score, found = self.scorer.score(self.patches[place], bank, self.grid_hw)
            scores.append(score)
            maps.append(found)
            defects = share_of_part(place, len(parts))
            # A picture may have gone since it was learned.
            for part in load_images([path], size_hw) if defects else ():
                made_up += score_made_up(
                    lambda one, bank=bank: self.score(one, bank)[0],  # type: ignore[misc]
                    part,
                    defects,
                    seed,
                )
        return Scored(np.array(scores), maps, as_scores(made_up))


def learn(
    graph: TeachableGraph,
    settings: Settings,
    parts: Sequence[Path],
    size_hw: tuple[int, int],
    seed: int,
) -> Lesson:
    """Learn good parts.

    Args:
        graph: whose networks describe them.
        settings: of the recipe.
        parts: readable pictures.
        size_hw: model input size.
        seed: of the first prototype.

    Raises:
        TrainingError: features that are not finite, or a map too small for the blur.
    """
    components = None
    if graph.has_projection:
        pooled = graph.pooled()
        chosen = [parts[place] for place in spread(len(parts))]
        pictures = (pooled(image) for image in _loaded(chosen, size_hw, "principal components"))
        components = find_components(pictures, settings.dimensions, settings.whitening)
    network = graph.patches(components)
    found: Float32 | None = None
    grid_hw = (0, 0)
    for place, image in enumerate(_loaded(parts, size_hw, "describing patches")):
        (patches,) = network(image)
        if found is None:
            grid_hw = (patches.shape[1], patches.shape[2])
            found = np.empty((len(parts), patches[0].size, len(patches)), np.float32)
        found[place] = flat(patches)
    if found is None:
        raise ValueError("parts: expected at least one")
    _check_blur(settings, grid_hw)
    with task("coreset") as advance:
        places = select_coreset(
            found.reshape(-1, found.shape[2]), _prototypes(settings, found), seed, advance
        )
    return Lesson(components, found, grid_hw, places, network, settings.scorer)


def flat(patches: Float32) -> Float32:
    """A map (D, h, w) as rows, (h * w, D)."""
    return patches.reshape(len(patches), -1).T


def most_parts(patches: Float32) -> int:
    """How many parts can be learned at once, by the patches of one, (D, h, w)."""
    return max(1, MAX_PATCH_BYTES // int(patches.nbytes))


def _prototypes(settings: Settings, patches: Float32) -> int:
    """The recipe's number of them, as training counts."""
    rows = patches.shape[0] * patches.shape[1]
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


def _loaded(parts: Sequence[Path], size_hw: tuple[int, int], what: str) -> Iterator[UInt8Image]:
    """The pictures one after the other; one that has gone since it was first read stops it all."""
    for path in track(parts, what):
        yield load_image(path, size_hw)
