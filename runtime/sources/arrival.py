"""One part on its way to the inspector."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.inspector import Source

_LOGIN = re.compile(r"(?<=://)[^/?#]*@")


@dataclass(frozen=True)
class Arrival:
    """One part to inspect.

    Attributes:
        name: the file's path, or ``SOURCE#frame``, without a password.
        source: what :meth:`runtime.inspector.Inspector.inspect` takes.
    """

    name: str
    source: Source


def shown(source: str) -> str:
    """A source as it may be printed and logged: a URL without its user name and password."""
    return _LOGIN.sub("", source)
