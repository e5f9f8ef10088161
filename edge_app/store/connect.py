"""Connecting to a Qdrant server, and turning what can go wrong on the way into one line."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import grpc  # type: ignore[import-untyped]
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from runtime.errors import StoreError

log = logging.getLogger("lineside")

# The first that adds a part only where it is missing (update mode insert_only).
LEAST_VERSION = (1, 17)
API_KEY_VARIABLE = "QDRANT_API_KEY"
TIMEOUT_S = 5
_REST_PORT = 6333
_GRPC_PORT = 6334
# Answers of a proxy or a server that is busy or starting.
_PASSING = frozenset({429, 502, 503, 504})
_NOT_FOUND = 404
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def connect(location: str, timeout_s: int = TIMEOUT_S) -> QdrantClient:
    """Make a client; nothing is sent yet.

    Args:
        location: ``http://host:6333``, ``https://host:6333``, either with ``?prefer_grpc=1`` and
            ``&grpc_port=6334``, or ``grpc://host:6334`` and ``grpcs://host:6334`` (TLS).
        timeout_s: seconds to wait for any answer.

    Raises:
        StoreError: the location is no such URL.
    """
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
        options = {
            key: values[-1]
            for key, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()
        }
        grpc_port = int(options.pop("grpc_port", _GRPC_PORT))
        prefer = options.pop("prefer_grpc", "0")
    except ValueError as error:
        raise StoreError(_not_a_location(location, str(error))) from error
    if not host or options or prefer not in ("0", "1") or parts.username or parts.password:
        raise StoreError(_not_a_location(location, "an unknown option, or no host"))
    only_grpc = parts.scheme in ("grpc", "grpcs")
    secure = parts.scheme in ("https", "grpcs")
    api_key = os.environ.get(API_KEY_VARIABLE) or None
    if api_key and not secure and host not in _LOCAL:
        log.info(f"{location}: the API key travels unencrypted; use https:// or grpcs://")
    with warnings.catch_warnings():
        # qdrant-client warns of the key over plain http with a stack trace's worth of text; said
        # above in one line.
        warnings.simplefilter("ignore")
        return QdrantClient(
            host=f"[{host}]" if ":" in host else host,
            port=_REST_PORT if only_grpc else port or _REST_PORT,
            grpc_port=(port or _GRPC_PORT) if only_grpc else grpc_port,
            prefer_grpc=only_grpc or prefer == "1",
            https=secure,
            prefix=parts.path.strip("/") or None,
            api_key=api_key,
            timeout=timeout_s,
            check_compatibility=False,
        )


def check_version(client: QdrantClient, name: str) -> None:
    """Refuse a server that does not know what we ask of it.

    Args:
        client: an open client.
        name: the location, for the message.

    Raises:
        StoreError: it is older than :data:`LEAST_VERSION`.
    """
    found = str(client.info().version)
    numbers = re.match(r"(\d+)\.(\d+)", found)
    if numbers is None or tuple(map(int, numbers.groups())) < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise StoreError(
            f"{name}: expected a Qdrant server of version {least} or newer, found "
            f"{found[:40] or 'none'}; update the server"
        )


class StoreUnreachableError(StoreError):
    """The server did not answer, or something on the way answered in its place; later it may."""


class CollectionMissingError(StoreError):
    """The server has no such collection, any more."""


@contextmanager
def server_errors(name: str, doing: str, timeout_s: int = TIMEOUT_S) -> Iterator[None]:
    """Turn the client's errors into a :class:`StoreError`.

    Args:
        name: the location, for the message.
        doing: what was asked, e.g. ``"search"``.
        timeout_s: seconds that the client waited.

    Raises:
        StoreUnreachableError: asking again later may help.
        StoreError: it will not.
    """
    try:
        yield
    except UnexpectedResponse as error:
        raise _kind(error.status_code)(_refused(name, doing, error)) from error
    except (ResponseHandlingException, ApiException, OSError) as error:
        raise StoreUnreachableError(
            _unreachable(name, doing, _first_line(error), timeout_s)
        ) from error
    except grpc.RpcError as error:
        raise _of_grpc(name, doing, error, timeout_s) from error
    except (ValueError, AssertionError) as error:
        # qdrant-client asserts that answers have their fields.
        raise StoreError(
            f"{name}: expected a Qdrant server to {doing}, found '{_first_line(error)}'; check "
            "the address"
        ) from error


def _kind(status: int | None) -> type[StoreError]:
    if status == _NOT_FOUND:
        return CollectionMissingError
    return StoreUnreachableError if status in _PASSING else StoreError


def _refused(name: str, doing: str, error: UnexpectedResponse) -> str:
    if error.status_code in (401, 403):
        return _wrong_key(name, str(error.status_code))
    content = (
        error.content.decode(errors="replace")
        if isinstance(error.content, bytes)
        else str(error.content)
    )
    return (
        f"{name}: expected to {doing}, but the server answered {error.status_code} "
        f"'{content.strip()[:200]}'; check that this is a Qdrant server and that it is healthy"
    )


def _of_grpc(name: str, doing: str, error: grpc.RpcError, timeout_s: int) -> StoreError:
    code = error.code() if isinstance(error, grpc.Call) else None
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return StoreError(_wrong_key(name, code.name))
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return StoreUnreachableError(_unreachable(name, doing, code.name, timeout_s))
    kind = CollectionMissingError if code is grpc.StatusCode.NOT_FOUND else StoreError
    details = str(error.details()) if isinstance(error, grpc.Call) else _first_line(error)
    return kind(
        f"{name}: expected to {doing}, but the server answered '{details[:200]}'; check that it "
        "is healthy"
    )


def _wrong_key(name: str, found: str) -> str:
    what = "a wrong key" if os.environ.get(API_KEY_VARIABLE) else "no key"
    return (
        f"{name}: expected the server to accept the API key, found {what} ({found}); "
        f"set the environment variable {API_KEY_VARIABLE}"
    )


def _unreachable(name: str, doing: str, found: str, timeout_s: int) -> str:
    return (
        f"{name}: expected a Qdrant server to {doing} within {timeout_s} s, found '{found}'; "
        "check the address, the network and that the server runs, or use a folder: "
        "--store ./neighbours"
    )


def _not_a_location(location: str, found: str) -> str:
    return (
        "store: expected http://HOST:6333, https://HOST:6333?prefer_grpc=1 or grpc://HOST:6334, "
        f"found {location!r} ({found}); the API key goes into the environment variable "
        f"{API_KEY_VARIABLE}"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
