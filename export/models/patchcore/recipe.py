"""PatchCore's settings, with defaults that suit inspection on a small machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from calibration.learning.copies import Augment
from export.backbones.layers import default_layers, is_transformer
from export.models.settings import BackboneRecipe, require, setting

# Tiles start at multiples of this, the deepest stride of the usual backbones, so that all maps of
# theirs lie on one grid.
GRID = 32


@dataclass(frozen=True)
class PatchCoreRecipe(BackboneRecipe):
    """PatchCore (Roth et al. 2022)."""

    model: Literal["patchcore"] = "patchcore"
    tile: int = field(
        default=0,
        metadata=setting(
            "side of overlapping tiles in which the backbone sees the picture; 0 shows it the whole"
        ),
    )
    tile_overlap: int = field(default=64, metadata=setting("of neighboring tiles in pixels"))
    coreset_ratio: float = field(default=0.1, metadata=setting("share of patches kept"))
    max_prototypes: int = field(default=10_000, metadata=setting("upper bound on them"))
    augment: Augment = field(
        default="none",
        metadata=setting(
            "copies of each good part to learn too: rotate for parts that lie any way, flip for "
            "mirrored ones"
        ),
    )
    dimensions: int = field(
        default=64, metadata=setting("principal components kept of the stacked layers; 0 keeps all")
    )
    whitening: float = field(
        default=0.5,
        metadata=setting(
            "how far the components' variances are evened out, from 0 (not at all) to 1 (fully)",
            in_file_only=True,
        ),
    )
    score_share: float = field(
        default=0.01,
        metadata=setting(
            "the score is the mean of this share of patches; 0 is the re-weighted maximum"
        ),
    )
    score_blur: float = field(
        default=1.0,
        metadata=setting(
            "deviation in patches of the Gaussian over the distances before that mean is taken",
            in_file_only=True,
        ),
    )
    pooling: int = field(
        default=0,
        metadata=setting(
            "side in patches of the average over a patch's neighborhood; 1 is none, 0 is 3, and 1 "
            "for transformers, whose patches are large and know their neighborhood",
            in_file_only=True,
        ),
    )
    num_neighbors: int = field(default=9, metadata=setting("of the re-weighting"))

    def __post_init__(self) -> None:
        ratio, share = self.coreset_ratio, self.score_share
        require(0.0 < ratio <= 1.0, "--coreset-ratio", "a share in (0, 1]", ratio)
        require(self.dimensions >= 0, "--dimensions", "at least 1, or 0 for all", self.dimensions)
        require(0.0 <= self.whitening <= 1.0, "whitening", "a number in [0, 1]", self.whitening)
        require(0.0 <= share <= 1.0, "--score-share", "a share in [0, 1]", share)
        require(0.0 <= self.score_blur <= 8.0, "score_blur", "a number in [0, 8]", self.score_blur)
        require(self.pooling in (0, 1, 3, 5), "pooling", "0, 1, 3 or 5", self.pooling)
        require(self.num_neighbors >= 1, "--num-neighbors", "at least 1", self.num_neighbors)
        # With fewer the re-weighting would have nothing to compare; with one, every score is 0.
        require(
            self.max_prototypes > self.num_neighbors,
            "--max-prototypes",
            f"more than --num-neighbors, {self.num_neighbors}",
            self.max_prototypes,
        )
        require(min(self.size_hw) >= 32, "--size", "at least 32 pixels a side", self.size_hw)
        self.check_layers()
        if self.tile:
            self._check_tiles()

    def _check_tiles(self) -> None:
        require(
            self.tile >= 2 * GRID and self.tile % GRID == 0,
            "--tile",
            f"a multiple of {GRID}, at least {2 * GRID}, or 0 for none",
            self.tile,
        )
        require(
            0 <= self.tile_overlap < self.tile and self.tile_overlap % GRID == 0,
            "--tile-overlap",
            f"a multiple of {GRID} smaller than the tile",
            self.tile_overlap,
        )
        on_grid = not any(side % GRID for side in self.size_hw)
        require(on_grid, "--size", f"multiples of {GRID} with --tile", self.size_hw)

    def resolved_pooling(self) -> int:
        """The side named, or the backbone's default."""
        return self.pooling or (1 if is_transformer(self.backbone) else 3)

    def to_json(self) -> dict[str, Any]:
        """As of any recipe, with the pooling that there is."""
        return {**super().to_json(), "pooling": self.resolved_pooling()}

    def resolved_layers(self) -> tuple[str, ...]:
        """The layers named, or the backbone's default."""
        return self.layers or default_layers(self.backbone, projected=self.dimensions > 0)
