"""Settings of a model: fields of a dataclass that know their command-line option."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from export.backbones.layers import DEFAULT_BACKBONE
from runtime.errors import TrainingError

# Key of a setting's help in the metadata of its field.
HELP = "help"


def setting(
    text: str,
    *,
    flag: str | None = None,
    shown: str | None = None,
    metavar: str = "FILE",
    in_file_only: bool = False,
    in_plan: bool = False,
) -> dict[str, Any]:
    """Metadata of a recipe's field: what its command-line option says.

    Args:
        text: the help.
        flag: name of the option where it is not the field's.
        shown: the default as people read it, where that is not the value.
        metavar: of a path.
        in_file_only: too special for an option.
        in_plan: ``lineside plan`` has the option too.
    """
    options = {"flag": flag, "shown": shown, "metavar": metavar}
    return {HELP: text, **options, "in_file_only": in_file_only, "in_plan": in_plan}


def require(holds: bool, flag: str, expected: str, found: Any) -> None:
    """Refuse a setting.

    Raises:
        TrainingError: ``holds`` is false.
    """
    if not holds:
        raise TrainingError(f"{flag}: expected {expected}, found {found}")


@dataclass(frozen=True)
class Recipe:
    """Every setting that makes a model; a family's recipe adds its own."""

    model: str = ""
    size_hw: tuple[int, int] = field(
        default=(256, 256),
        metadata=setting("input height and width in pixels", flag="size", shown="256"),
    )

    def to_json(self) -> dict[str, Any]:
        """As the bundle records it: files by name alone, for a path tells of the workstation."""
        return {
            key: value.name if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True)
class BackboneRecipe(Recipe, ABC):
    """Backbone, its layers and its weights."""

    backbone: str = field(default=DEFAULT_BACKBONE, metadata=setting("any timm backbone by name"))
    backbone_weights: Path | None = field(
        default=None,
        metadata=setting("the backbone's state dict, for machines without a model hub"),
    )
    layers: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            "layers to read, separated by commas", shown="lite0: three; others: strides 8 and 16"
        ),
    )

    def check_layers(self) -> None:
        """Refuse a layer that is named twice."""
        different = len(set(self.layers)) == len(self.layers)
        require(different, "--layers", "different layers", ",".join(self.layers))

    @abstractmethod
    def resolved_layers(self) -> tuple[str, ...]:
        """The layers named, or the backbone's default."""

    def to_json(self) -> dict[str, Any]:
        """As of any recipe, with the layers that are read."""
        return {**super().to_json(), "layers": list(self.resolved_layers())}
