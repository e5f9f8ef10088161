"""EfficientAD's settings, with defaults that train on a CPU and need no download."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from export.backbones.layers import default_layers
from export.models.settings import BackboneRecipe, require, setting

MIN_SIDE = 256
# Training steps that a student takes.
STEPS = {"features": 1500, "pixels": 300}


@dataclass(frozen=True)
class EfficientAdRecipe(BackboneRecipe):
    """EfficientAD (Batzner et al. 2024); the backbone is the teacher's."""

    model: Literal["efficientad"] = "efficientad"
    teacher: Literal["backbone", "pdn"] = field(
        default="backbone",
        metadata=setting("a frozen backbone (no download), or the official network"),
    )
    # ``auto`` is what a user leaves open: once made, a recipe says ``features`` or ``pixels``.
    student: Literal["auto", "features", "pixels"] = field(
        default="auto",
        metadata=setting(
            "one that reads a backbone teacher's features, or the paper's",
            shown="features; pixels with --teacher pdn, --model-size medium or --imagenet-dir",
        ),
    )
    teacher_weights: Path | None = field(
        default=None,
        metadata=setting("the official network's weights", shown="anomalib's download"),
    )
    imagenet_dir: Path | None = field(
        default=None,
        metadata=setting(
            "folder of folders of everyday pictures", shown="procedural scenes", metavar="DIR"
        ),
    )
    model_size: Literal["small", "medium"] = field(
        default="small", metadata=setting("size of the student")
    )
    steps: int = field(
        default=0,
        metadata=setting(
            "training steps",
            shown=f"{STEPS['features']}, or {STEPS['pixels']} with --student pixels",
            in_plan=True,
        ),
    )
    crop: int = field(
        default=128,
        metadata=setting(
            "side in pixels of the student's random training crops", in_file_only=True
        ),
    )
    learning_rate: float = field(
        default=1e-3, metadata=setting("peak of the one-cycle schedule", in_file_only=True)
    )
    whitening: float = field(
        default=1.0,
        metadata=setting(
            "how far the variances of the student's errors on good parts are evened out, from 0 "
            "(not "
            "at all, as in the paper) to 1 (fully)",
            in_file_only=True,
        ),
    )

    def __post_init__(self) -> None:
        rate, size = self.learning_rate, self.size_hw
        steps = "at least 1, or 0 for as many as the student takes"
        require(self.steps >= 0, "--steps", steps, self.steps)
        self._settle_student()
        self.check_layers()
        require(
            self.imagenet_dir is None or self.imagenet_dir.is_dir(),
            "--imagenet-dir",
            "a folder of folders of everyday pictures",
            f"no folder at {self.imagenet_dir}",
        )
        usable = self.crop >= 64 and self.crop % 4 == 0
        require(usable, "--crop", "a multiple of 4, at least 64", self.crop)
        require(0.0 <= self.whitening <= 1.0, "whitening", "a number in [0, 1]", self.whitening)
        require(0.0 < rate <= 0.1, "learning_rate", "a number in (0, 0.1]", rate)
        require(
            min(size) >= MIN_SIDE and not any(side % 64 for side in size),
            "--size",
            f"multiples of 64, at least {MIN_SIDE} (the autoencoder's last kernel needs that)",
            size,
        )

    def _settle_student(self) -> None:
        """Take the paper's student where a setting that only it has is given, else the other."""
        students = ("auto", *STEPS)
        require(self.student in students, "--student", " or ".join(students), self.student)
        papers = [
            said
            for said, given in (
                ("--teacher pdn", self.teacher == "pdn"),
                ("--model-size medium", self.model_size == "medium"),
                ("--imagenet-dir", self.imagenet_dir is not None),
            )
            if given
        ]
        if self.student == "auto":
            object.__setattr__(self, "student", "pixels" if papers else "features")
        require(
            self.student == "pixels" or not papers,
            "--student features",
            "a backbone teacher, and no settings of the paper's student",
            f"{' and '.join(papers)}; take --student pixels",
        )

    def resolved_layers(self) -> tuple[str, ...]:
        """Layers of the trunk; empty for the PDN, which has none to choose."""
        if self.teacher == "pdn":
            return ()
        return self.layers or default_layers(self.backbone, projected=self.student == "features")

    def resolved_steps(self) -> int:
        """Training steps."""
        return self.steps or STEPS[self.student]

    def to_json(self) -> dict[str, Any]:
        """As of any recipe, with the steps that are taken."""
        return {**super().to_json(), "steps": self.resolved_steps()}
