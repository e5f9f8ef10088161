"""What an output is, and how one is opened by the scheme of its address."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol
from urllib.parse import urlsplit

from runtime.errors import ConfigError, OutputError, require_extra

# Outputs of other packages, by scheme: a class that is called with an Address.
GROUP = "lineside.outputs"
_OURS = ("http", "https", "mqtt", "mqtts", "csv", "folder")
# Those that name a folder of the box, csv:///var/verdicts.
FOLDERS = ("csv", "folder")
# From a part's id to its picture, that file's ending, and the part under its heat map as PNG.
Show = Callable[[str], tuple[bytes, str, bytes] | None]


@dataclass(frozen=True)
class Address:
    """Where an output delivers to.

    Attributes:
        name: of the output.
        url: without a password.
        topic: of MQTT; ``{source}`` and ``{verdict}`` stand for the part's.
        secret: token or password, or ``""``.
        show: how a part looks, or None where nothing is left of it.
    """

    name: str
    url: str
    topic: str = ""
    secret: str = field(default="", repr=False)
    show: Show = field(default=lambda part_id: None, repr=False)


class Sender(Protocol):
    """One connection to whoever takes verdicts. Used in one thread."""

    def send(self, message: dict[str, Any]) -> None:
        """Deliver a message and wait until it has been taken.

        Raises:
            OutputError: it has not.
        """

    def close(self) -> None:
        """Let go of the connection."""


def open_sender(address: Address) -> Sender:
    """Connect to an output.

    Raises:
        OutputError: it cannot be reached.
        MissingExtraError: its package is not installed.
    """
    scheme = urlsplit(address.url).scheme
    if scheme in ("http", "https"):
        from edge_app.outputs.webhook import Webhook

        return Webhook(address)
    if scheme in ("mqtt", "mqtts"):
        require_extra("mqtt", "paho")
        from edge_app.outputs.mqtt import Mqtt

        return Mqtt(address)
    if scheme == "csv":
        from edge_app.outputs.shifts import Shifts

        return Shifts(address)
    if scheme == "folder":
        from edge_app.outputs.rejects import Rejects

        return Rejects(address)
    for entry in entry_points(group=GROUP, name=scheme):
        made: Sender = entry.load()(address)
        return made
    raise OutputError(f"{address.url}: expected a scheme of {', '.join(schemes())}, found {scheme}")


def schemes() -> list[str]:
    """Those that an address may have, with those of other packages."""
    return [*_OURS, *sorted(one.name for one in entry_points(group=GROUP))]


def secret_of(variable: str, url: str) -> str:
    """A token or password from the environment.

    Raises:
        ConfigError: the variable is not set.
    """
    if not variable:
        return ""
    found = os.environ.get(variable)
    if not found:
        raise ConfigError(
            f"{url}: expected its secret in the environment variable {variable}, found none; set it"
        )
    return found
