"""Recipes: every setting that makes a model, typed, with defaults that suit inspection on a small machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from export.layers import DEFAULT_BACKBONE, patchcore_layers
from runtime.errors import TrainingError

ModelName = Literal["patchcore", "efficientad"]
Teacher = Literal["backbone", "pdn"]
Student = Literal["pixels", "features"]
EfficientAdSize = Literal["small", "medium"]

MIN_EFFICIENTAD_SIDE = 256
# Tiles start at multiples of this, the deepest stride of the usual backbones, so that all maps of
# theirs lie on one grid.
GRID = 32


@dataclass(frozen=True)
class PatchCoreRecipe:
    """PatchCore (Roth et al. 2022).

    Attributes:
        backbone: any timm model with intermediate features.
        layers: layers to read; empty means the backbone's default.
        backbone_weights: state-dict file; None means packaged (lite0) or hub.
        size_hw: input height and width in pixels.
        tile: side in pixels of the tiles in which the backbone sees the picture; 0 shows it the
            whole.
        tile_overlap: of neighbouring tiles in pixels, at least.
        dimensions: principal components kept of the stacked layers, each scaled to the same
            variance before; 0 stacks the layers as they are.
        whitening: how far the components' variances are evened out, from 0 (not at all) to 1
            (fully).
        coreset_ratio: share of the training patches kept as prototypes.
        max_prototypes: upper bound on the number of prototypes.
        score_share: the score is the mean of this share of the patches, the most anomalous ones; 0
            means the maximum, re-weighted.
        score_blur: deviation in patches of the Gaussian that smooths the patches' distances before
            that mean is taken.
        num_neighbors: of the re-weighting, where ``score_share`` is 0; 1 takes the plain maximum.
        learn_held_out: learn from the held-out parts too, once they have set the threshold.
    """

    backbone: str = DEFAULT_BACKBONE
    layers: tuple[str, ...] = ()
    backbone_weights: Path | None = None
    size_hw: tuple[int, int] = (256, 256)
    tile: int = 0
    tile_overlap: int = 64
    dimensions: int = 64
    whitening: float = 0.5
    coreset_ratio: float = 0.1
    max_prototypes: int = 10_000
    score_share: float = 0.01
    score_blur: float = 1.0
    num_neighbors: int = 9
    learn_held_out: bool = False

    model: Literal["patchcore"] = "patchcore"

    def __post_init__(self) -> None:
        _require(
            0.0 < self.coreset_ratio <= 1.0,
            "--coreset-ratio",
            "a share in (0, 1]",
            self.coreset_ratio,
        )
        _require(self.dimensions >= 0, "--dimensions", "at least 1, or 0 for all", self.dimensions)
        _require(0.0 <= self.whitening <= 1.0, "whitening", "a number in [0, 1]", self.whitening)
        _require(
            0.0 <= self.score_share <= 1.0, "--score-share", "a share in [0, 1]", self.score_share
        )
        _require(0.0 <= self.score_blur <= 8.0, "score_blur", "a number in [0, 8]", self.score_blur)
        _require(self.num_neighbors >= 1, "--num-neighbors", "at least 1", self.num_neighbors)
        # With fewer the re-weighting would have nothing to compare; with one, every score is 0.
        _require(
            self.max_prototypes > self.num_neighbors,
            "--max-prototypes",
            f"more than --num-neighbors, {self.num_neighbors}",
            self.max_prototypes,
        )
        _require(min(self.size_hw) >= 32, "--size", "at least 32 pixels a side", self.size_hw)
        # With more prototypes a mean of distances can only fall, and the promise of the threshold
        # holds; the re-weighting may rise.
        _require(
            self.score_share > 0.0 or not self.learn_held_out,
            "--score-share",
            "more than 0 with --learn-held-out",
            self.score_share,
        )
        _require_different(self.layers)
        if self.tile:
            self._check_tiles()

    def _check_tiles(self) -> None:
        grid = f"multiples of {GRID} with --tile"
        _require(
            self.tile >= 2 * GRID and self.tile % GRID == 0,
            "--tile",
            f"a multiple of {GRID}, at least {2 * GRID}, or 0 for none",
            self.tile,
        )
        _require(
            0 <= self.tile_overlap < self.tile and self.tile_overlap % GRID == 0,
            "--tile-overlap",
            f"a multiple of {GRID} smaller than the tile",
            self.tile_overlap,
        )
        _require(not any(side % GRID for side in self.size_hw), "--size", grid, self.size_hw)

    def resolved_layers(self) -> tuple[str, ...]:
        """The layers named, or the backbone's default."""
        return self.layers or patchcore_layers(self.backbone, projected=self.dimensions > 0)

    def to_json(self) -> dict[str, Any]:
        """The recipe as it is recorded in the bundle."""
        return {**_plain(self), "layers": list(self.resolved_layers())}


STEPS: dict[Student, int] = {"pixels": 300, "features": 1500}


@dataclass(frozen=True)
class EfficientAdRecipe:
    """EfficientAD (Batzner et al. 2024).

    Attributes:
        teacher: ``backbone``, the frozen trunk of a pretrained network, or ``pdn``, the official
            patch description network.
        backbone: the trunk, for ``teacher="backbone"``.
        layers: layers of the trunk; empty means the backbone's default.
        backbone_weights: state-dict file of the trunk; None means packaged (lite0) or hub.
        teacher_weights: state-dict file of the PDN; None means anomalib's download.
        imagenet_dir: folder of folders of everyday pictures for the penalty term; None means
            procedural scenes with a backbone teacher, anomalib's Imagenette download with the PDN.
        model_size: ``small`` or ``medium`` student.
        size_hw: input height and width, at least 256.
        student: ``pixels``, the paper's, or ``features``, which reads what a backbone teacher says
            (:mod:`export.feature_student`).
        steps: training steps; 0 means as many as the student takes.
        crop: side in pixels of the student's random training crops, a multiple of 4; the
            autoencoder sees everything.
        learning_rate: peak of the one-cycle schedule for the student; the autoencoder has the same.
        whitening: how far the variances of the student's errors on good parts are evened out, from
            0 (not at all, as in the paper) to 1 (fully).
    """

    teacher: Teacher = "backbone"
    student: Student = "pixels"
    backbone: str = DEFAULT_BACKBONE
    layers: tuple[str, ...] = ()
    backbone_weights: Path | None = None
    teacher_weights: Path | None = None
    imagenet_dir: Path | None = None
    model_size: EfficientAdSize = "small"
    size_hw: tuple[int, int] = (256, 256)
    steps: int = 0
    crop: int = 128
    learning_rate: float = 1e-3
    whitening: float = 1.0

    model: Literal["efficientad"] = "efficientad"

    def __post_init__(self) -> None:
        _require(
            self.steps >= 0,
            "--steps",
            "at least 1, or 0 for as many as the student takes",
            self.steps,
        )
        _require(self.student in STEPS, "--student", " or ".join(STEPS), self.student)
        _require(
            self.student == "pixels" or self.teacher == "backbone",
            "--student features",
            "--teacher backbone, whose features it reads",
            f"--teacher {self.teacher}",
        )
        _require_different(self.layers)
        _require(
            self.imagenet_dir is None or self.imagenet_dir.is_dir(),
            "--imagenet-dir",
            "a folder of folders of everyday pictures",
            f"no folder at {self.imagenet_dir}",
        )
        _require(
            self.crop >= 64 and self.crop % 4 == 0,
            "--crop",
            "a multiple of 4, at least 64",
            self.crop,
        )
        _require(0.0 <= self.whitening <= 1.0, "whitening", "a number in [0, 1]", self.whitening)
        _require(
            0.0 < self.learning_rate <= 0.1,
            "learning_rate",
            "a number in (0, 0.1]",
            self.learning_rate,
        )
        _require(
            min(self.size_hw) >= MIN_EFFICIENTAD_SIDE
            and not any(side % 64 for side in self.size_hw),
            "--size",
            f"multiples of 64, at least {MIN_EFFICIENTAD_SIDE} (the autoencoder's last kernel "
            "needs that)",
            self.size_hw,
        )

    def resolved_layers(self) -> tuple[str, ...]:
        """Layers of the trunk; empty for the PDN, which has none to choose."""
        if self.teacher == "pdn":
            return ()
        return self.layers or patchcore_layers(self.backbone, projected=self.student == "features")

    def resolved_steps(self) -> int:
        """Training steps."""
        return self.steps or STEPS[self.student]

    def to_json(self) -> dict[str, Any]:
        """The recipe as it is recorded in the bundle."""
        return {
            **_plain(self),
            "layers": list(self.resolved_layers()),
            "steps": self.resolved_steps(),
        }


Recipe = PatchCoreRecipe | EfficientAdRecipe


def _plain(recipe: Recipe) -> dict[str, Any]:
    """Plain JSON: files by name alone, since a path says more about the workstation than about the model."""
    return {
        key: value.name if isinstance(value, Path) else value
        for key, value in asdict(recipe).items()
    }


def _require_different(layers: tuple[str, ...]) -> None:
    _require(len(set(layers)) == len(layers), "--layers", "different layers", ",".join(layers))


def _require(holds: bool, flag: str, expected: str, found: Any) -> None:
    if not holds:
        raise TrainingError(f"{flag}: expected {expected}, found {found}")
