"""Recipes from a TOML file: the fields of :mod:`export.recipe`, flat, with ``model`` saying which recipe it is.

    model = "patchcore"
    backbone = "wide_resnet50_2"
    layers = ["layer2", "layer3"]
    size_hw = [320, 320]
    coreset_ratio = 0.05

Paths are relative to the file. A field that the recipe does not have is an error, so that a typing mistake is not a default.
"""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from export.recipe import EfficientAdRecipe, PatchCoreRecipe, Recipe
from runtime.errors import TrainingError

RECIPES: dict[str, type[PatchCoreRecipe] | type[EfficientAdRecipe]] = {
    "patchcore": PatchCoreRecipe,
    "efficientad": EfficientAdRecipe,
}
_PATHS = ("backbone_weights", "teacher_weights", "imagenet_dir")
_TUPLES = ("layers", "size_hw")


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Read the settings of a recipe file.

    Args:
        path: TOML file.

    Returns:
        Fields of the recipe that the file sets, ``model`` among them.

    Raises:
        TrainingError: the file cannot be read, is no TOML, or names a model or field that does not exist.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise TrainingError(
            f"{path}: expected a recipe in TOML, found {error}; see lineside train --help"
        ) from error
    model = found.get("model")
    if not isinstance(model, str) or model not in RECIPES:
        raise TrainingError(f"{path}: expected model = {' or '.join(map(repr, RECIPES))}, found {model!r}")
    known = {field.name: field for field in fields(RECIPES[model])}
    for name, value in found.items():
        if name not in known:
            raise TrainingError(f"{path}: expected fields of {model}: {', '.join(known)}; found {name!r}")
        found[name] = _typed(path, name, value, known[name].type)
    return found


def make_recipe(settings: dict[str, Any]) -> Recipe:
    """A typed recipe.

    Args:
        settings: fields by name, ``model`` among them; those left out take their defaults.

    Raises:
        TrainingError: a value out of range.
    """
    return RECIPES[settings["model"]](**settings)


def _typed(path: Path, name: str, value: Any, annotation: Any) -> Any:
    if name in _TUPLES and isinstance(value, list):
        kind = int if name == "size_hw" else str
        if all(type(item) is kind for item in value) and (name == "layers" or len(value) == 2):
            return tuple(value)
    elif isinstance(value, str) and annotation not in ("int", "float"):
        return path.parent / value if name in _PATHS else value
    elif type(value).__name__ == annotation or (annotation == "float" and type(value) is int):
        return value
    raise TrainingError(f"{path}: {name}: expected {annotation}, found {value!r}")
