"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def engine_options(function: Function) -> Function:
    """Add --engine, --precision, --device and --threads."""
    options = (
        click.option("--engine", type=click.Choice(["openvino", "onnxruntime"]), default="openvino",
                     show_default=True, help="Inference engine."),
        click.option("--precision", default="fp32", show_default=True, help="Precision variant of the bundle."),
        click.option("--device", default="CPU", show_default=True, help="CPU, GPU, NPU or AUTO."),
        click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: the engine's choice]"),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def json_option(function: Function) -> Function:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(function)
