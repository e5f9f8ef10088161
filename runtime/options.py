"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


class FiniteRange(click.FloatRange):
    """As click's, but without infinity and NaN, which compares as within any range."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number, or a usage error."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"expected a finite number, found {value}", param, ctx)
        return number


def engine_options(function: Function) -> Function:
    """Add --engine, --precision, --device, --threads, --deadline and --isolate."""
    options = (
        click.option(
            "--engine",
            type=click.Choice(["openvino", "onnxruntime"]),
            default="openvino",
            show_default=True,
            help="Inference engine.",
        ),
        click.option(
            "--precision",
            default="fp32",
            show_default=True,
            help="Precision variant of the bundle.",
        ),
        click.option("--device", default="CPU", show_default=True, help="CPU, GPU, NPU or AUTO."),
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            help="CPU threads.  [default: the engine's choice]",
        ),
        click.option(
            "--deadline",
            "deadline_s",
            type=FiniteRange(min=0, min_open=True),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="An inference that takes longer is given up, and its part cannot be judged.",
        ),
        isolate_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


def isolate_option(function: Function) -> Function:
    """Add --isolate."""
    return click.option(
        "--isolate",
        is_flag=True,
        help="Run the engine in a process of its own: should it crash, one part cannot be judged.",
    )(function)


def signature_option(function: Function) -> Function:
    """Add --require-signature, as ``signed_by``."""
    return click.option(
        "--require-signature",
        "signed_by",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Refuse a bundle that none of the public keys in FILE has signed; see lineside sign.",
    )(function)


def store_option(function: Function) -> Function:
    """Add --store, as ``location``."""
    return click.option(
        "--store",
        "location",
        required=True,
        help="A folder, http://HOST:6333 or grpc://HOST:6334 "
        "(API key: environment variable QDRANT_API_KEY).",
    )(function)


def json_option(function: Function) -> Function:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(function)


def first_threshold_option(function: Function) -> Function:
    """Add --max-false-rejects of a model's first threshold, as ``max_false_rejects``."""
    option = click.option(
        "--max-false-rejects",
        type=FiniteRange(0.0, 1.0, min_open=True, max_open=True),
        default=0.05,
        show_default=True,
        metavar="RATE",
        help="Share of good parts that the threshold may reject.",
    )
    return option(function)
