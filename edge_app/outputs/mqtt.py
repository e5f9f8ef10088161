"""Verdicts to an MQTT broker, with quality of service 1: the broker says that it has them."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho

from edge_app.outputs.base import Address
from runtime.errors import OutputError, sentence

TIMEOUT_S = 10.0
_PORTS = {"mqtt": 1883, "mqtts": 8883}
# They mean something in a topic that is subscribed to.
_NO_TOPIC = str.maketrans({"#": "_", "+": "_", "/": "_", "\0": "_"})


class Mqtt:
    """One connection, never mended: whoever sends makes another, so that nothing is reordered.

    Args:
        address: ``mqtt://user@host:1883``, its password the secret; ``mqtts`` for TLS.

    Raises:
        OutputError: the broker cannot be reached, or refuses.
    """

    def __init__(self, address: Address) -> None:
        self._topic = address.topic
        parts = urlsplit(address.url)
        self._connected = threading.Event()
        self._refused = ""
        self._client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=f"lineside-{address.name}"
        )
        self._client.on_connect = self._on_connect
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), address.secret or None)
        if parts.scheme == "mqtts":
            self._client.tls_set()
        try:
            self._client.connect(parts.hostname or "localhost", parts.port or _PORTS[parts.scheme])
        except (OSError, ValueError) as error:
            raise OutputError(f"expected a broker that answers, found {sentence(error)}") from error
        self._client.loop_start()
        if not self._connected.wait(TIMEOUT_S) or self._refused:
            self.close()
            raise OutputError(f"expected to be let in, found {self._refused or 'no answer'}")

    def send(self, message: dict[str, Any]) -> None:
        """See :class:`edge_app.outputs.base.Sender`."""
        values = {name: str(message[name]).translate(_NO_TOPIC) for name in ("source", "verdict")}
        topic = self._topic
        for name, value in values.items():
            topic = topic.replace(f"{{{name}}}", value)
        try:
            sent = self._client.publish(topic, json.dumps(message, ensure_ascii=False), qos=1)
            sent.wait_for_publish(TIMEOUT_S)
            taken = sent.is_published()
        except (RuntimeError, ValueError) as error:
            raise OutputError(f"expected the broker to take it, found {sentence(error)}") from error
        if not taken:
            raise OutputError("expected the broker to take it, found no acknowledgement")

    def close(self) -> None:
        """Let go of the connection."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: object, data: object, flags: object, reason: Any, properties: object
    ) -> None:
        self._refused = str(reason) if reason.is_failure else ""
        self._connected.set()
