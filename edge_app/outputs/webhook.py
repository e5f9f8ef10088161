"""Verdicts as JSON to an HTTP server: each a POST of its own."""

from __future__ import annotations

from typing import Any

import httpx

from edge_app.outputs.base import Address
from runtime.errors import OutputError, sentence

TIMEOUT_S = 10.0


class Webhook:
    """Posts each message; any status of 2xx says that it has been taken.

    Args:
        address: of the server; a secret goes along as a bearer token.
    """

    def __init__(self, address: Address) -> None:
        self._url = address.url
        headers = {"Authorization": f"Bearer {address.secret}"} if address.secret else {}
        # The plant's proxy is for the internet.
        self._client = httpx.Client(timeout=TIMEOUT_S, headers=headers, trust_env=False)

    def send(self, message: dict[str, Any]) -> None:
        """See :class:`edge_app.outputs.base.Sender`."""
        try:
            # Who gets a message twice knows it by its number.
            headers = {"Idempotency-Key": str(message["number"])}
            answer = self._client.post(self._url, json=message, headers=headers)
        except httpx.HTTPError as error:
            raise OutputError(f"expected an answer, found {sentence(error)}") from error
        if not answer.is_success:
            raise OutputError(f"expected a status of 2xx, found {answer.status_code}")

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()
