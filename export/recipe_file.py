"""Recipes from a TOML file: the fields of :mod:`export.recipe`, flat, with ``model`` saying which recipe it is.

    model = "patchcore"
    backbone = "wide_resnet50_2"
    layers = ["layer2", "layer3"]
    size_hw = [320, 320]
    coreset_ratio = 0.05

Paths are relative to the file. A field that the recipe does not have is an error, so that a typing
mistake is not a default.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from export.recipe import EfficientAdRecipe, PatchCoreRecipe, Recipe
from runtime.errors import TrainingError

RECIPES: dict[str, type[PatchCoreRecipe] | type[EfficientAdRecipe]] = {
    "patchcore": PatchCoreRecipe,
    "efficientad": EfficientAdRecipe,
}


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Read the settings of a recipe file.

    Args:
        path: TOML file.

    Returns:
        Fields of the recipe that the file sets, ``model`` among them.

    Raises:
        TrainingError: the file cannot be read, is no TOML, or names a model or field that does not
            exist.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise TrainingError(
            f"{path}: expected a recipe in TOML, found {error}; see lineside train --help"
        ) from error
    model = found.get("model")
    if not isinstance(model, str) or model not in RECIPES:
        raise TrainingError(
            f"{path}: expected model = {' or '.join(map(repr, RECIPES))}, found {model!r}"
        )
    known = get_type_hints(RECIPES[model])
    for name, value in found.items():
        if name not in known:
            raise TrainingError(
                f"{path}: expected fields of {model}: {', '.join(known)}; found {name!r}"
            )
        found[name] = _typed(path, name, value, known[name])
    return found


def make_recipe(settings: dict[str, Any]) -> Recipe:
    """A typed recipe.

    Args:
        settings: fields by name, ``model`` among them; those left out take their defaults.

    Raises:
        TrainingError: a value out of range.
    """
    return RECIPES[settings["model"]](**settings)


def _typed(path: Path, name: str, value: Any, kind: Any) -> Any:
    """The value as the field's type; TOML has no tuples, no paths and no literals."""
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        any_length = arguments[-1] is Ellipsis
        fits = isinstance(value, list) and all(type(item) is arguments[0] for item in value)
        if fits and (any_length or len(value) == len(arguments)):
            return tuple(value)
    elif get_origin(kind) is Literal:
        if isinstance(value, str) and value in arguments:
            return value
    elif isinstance(kind, UnionType):  # a path, or None: a field that is left out
        if isinstance(value, str):
            return path.parent / value
    elif type(value) is kind or (
        kind is float and type(value) is int and math.isfinite(_as_float(value))
    ):
        return value
    raise TrainingError(f"{path}: {name}: expected {_words(kind)}, found {value!r}")


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) is tuple:
        item, *others = get_args(kind)
        return (
            f"a list of {item.__name__}"
            if others == [Ellipsis]
            else f"[{item.__name__}, {item.__name__}]"
        )
    return "the path of a file or folder" if isinstance(kind, UnionType) else str(kind.__name__)
