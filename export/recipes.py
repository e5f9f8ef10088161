"""From flags and a TOML file to a recipe: flat fields, with ``model`` saying which recipe it is.

    model = "patchcore"
    backbone = "wide_resnet50_2"
    layers = ["layer2", "layer3"]
    size_hw = [320, 320]
    coreset_ratio = 0.05

Paths are relative to the file. A field that the recipe does not have is an error, so that a typing
mistake is not a default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from export.models import families, family_of
from export.models.settings import Recipe
from runtime.errors import TrainingError


def read_recipe_file(path: Path) -> dict[str, Any]:
    """The fields that a recipe file sets, ``model`` among them.

    Raises:
        TrainingError: the file cannot be read, is no TOML, or names a model or field that does not
            exist, or a value of the wrong type.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise TrainingError(
            f"{path}: expected a recipe in TOML, found {error}; see lineside train --help"
        ) from error
    model, names = found.get("model"), model_names()
    if model not in names:
        raise TrainingError(
            f"{path}: expected model = {' or '.join(map(repr, names))}, found {model!r}"
        )
    known = get_type_hints(family_of(model).recipe)
    for name in found:
        if name not in known:
            raise TrainingError(
                f"{path}: expected fields of {model}: {', '.join(known)}; found {name!r}"
            )
    return {name: _typed(path, name, value, known[name]) for name, value in found.items()}


def make_recipe(settings: Mapping[str, Any]) -> Recipe:
    """A recipe.

    Args:
        settings: typed fields by name, ``model`` among them; those left out take their defaults.

    Raises:
        TrainingError: a value out of range.
    """
    return family_of(settings["model"]).recipe(**settings)


def model_names() -> list[str]:
    """Names of all models."""
    return [family.name for family in families()]


def field_names(model: str) -> list[str]:
    """Settings of a model."""
    return [one.name for one in fields(family_of(model).recipe)]


def _typed(path: Path, name: str, value: Any, kind: Any) -> Any:
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    is_path = Path in get_args(kind)
    # NumPy comes with it, and the help needs none.
    from runtime.decode import convert

    typed = convert(
        value,
        str if is_path else kind,
        where=f"{path}: {name}",
        error=TrainingError,
        advice=f"choose {' or '.join(map(repr, choices))}" if choices else "see docs/recipes.md",
    )
    return path.parent / typed if is_path else typed
