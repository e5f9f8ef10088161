"""The registry of models: a name in a recipe or a bundle, and the family that it stands for.

Families come from here, from the entry-point group ``lineside.models`` of installed packages (name
= "package.module:family"), and from :func:`register`. Importing one imports no torch.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from export.models.base import ModelFamily

GROUP = "lineside.models"
_OWN = (
    EntryPoint("patchcore", "export.models.patchcore:FAMILY", GROUP),
    EntryPoint("efficientad", "export.models.efficientad:FAMILY", GROUP),
)


@cache
def _families() -> dict[str, ModelFamily]:
    return {entry.name: entry.load() for entry in (*_OWN, *entry_points(group=GROUP))}


def register(family: ModelFamily) -> None:
    """Add a model for this process; one of the same name is replaced."""
    _families()[family.name] = family


def unregister(name: str) -> None:
    """Take a model away again."""
    del _families()[name]


def families() -> tuple[ModelFamily, ...]:
    """All models there are."""
    return tuple(_families().values())


def family_of(name: str) -> ModelFamily:
    """The model of that name.

    Raises:
        KeyError: there is none.
    """
    return _families()[name]
