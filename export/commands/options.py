"""Options that the commands which train share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def training_options(function: Function) -> Function:
    """Add --data, --category, --out, --name and --seed."""
    options = (
        click.option(
            "--data",
            type=click.Path(path_type=Path),
            required=True,
            help="MVTec-style root, one category's folder, or a plain folder of good parts.",
        ),
        click.option("--category", help="Name of the category below --data."),
        click.option(
            "--out", type=click.Path(path_type=Path), required=True, help="Bundle folder to write."
        ),
        click.option("--name", help="The bundle's name.  [default: CATEGORY-MODEL]"),
        # What NumPy takes.
        click.option(
            "--seed",
            type=click.IntRange(0, 2**32 - 1),
            default=0,
            show_default=True,
            help="Seed of everything random.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function
