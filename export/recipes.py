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
from typing import Any

from export.models import families, family_of
from export.models.settings import Recipe
from runtime.decode import convert
from runtime.errors import TrainingError


def read_recipe_file(path: Path) -> dict[str, Any]:
    """The fields that a recipe file sets, ``model`` among them, as TOML gives them.

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
    model, names = found.get("model"), model_names()
    if model not in names:
        raise TrainingError(
            f"{path}: expected model = {' or '.join(map(repr, names))}, found {model!r}"
        )
    known = field_names(model)
    for name in found:
        if name not in known:
            raise TrainingError(
                f"{path}: expected fields of {model}: {', '.join(known)}; found {name!r}"
            )
    return found


def make_recipe(settings: Mapping[str, Any], file: Path | None = None) -> Recipe:
    """A typed recipe.

    Args:
        settings: fields by name, ``model`` among them; those left out take their defaults.
        file: where they come from: its folder is what paths given as text are relative to.

    Raises:
        TrainingError: a value of the wrong type, or out of range.
    """
    folder = Path() if file is None else file.parent

    def to_path(_kind: type, value: Any) -> Path:
        if not isinstance(value, str | Path):
            raise TypeError(f"Expected the path of a file or folder, got {value!r}")
        # A flag's is a path already, relative to the working directory.
        return folder / value if isinstance(value, str) else value

    return convert(
        settings,
        family_of(settings["model"]).recipe,
        where="recipe" if file is None else str(file),
        error=TrainingError,
        advice="see docs/recipes.md",
        dec_hook=to_path,
    )


def model_names() -> list[str]:
    """Names of all models."""
    return [family.name for family in families()]


def field_names(model: str) -> list[str]:
    """Settings of a model."""
    return [one.name for one in fields(family_of(model).recipe)]
