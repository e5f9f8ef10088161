"""The pictures of a request: one as the body itself, or several as files of a form."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.types import Message

from edge_app.api.answers import file_name
from edge_app.api.problems import ProblemError
from edge_app.api.service import Place
from runtime.atomic import readable

MAX_UPLOAD_MIB = 200
MOST_PICTURES = 64
# Within this time a body has arrived.
PATIENCE_S = 60.0
# How long a body that is too large is read on, so that its sender hears the answer.
_DRAIN_S = 1.0
_LONGEST_NAME = 200
_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_TYPES = (
    "image/jpeg",
    "image/png",
    "image/bmp",
    "image/tiff",
    "image/webp",
    "application/octet-stream",
)
# The body in OpenAPI: the types that are listed are those that the line's own list lets in.
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": MOST_PICTURES,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            },
            **dict.fromkeys(_TYPES, _PICTURE),
        },
    }
}


async def read_pictures(request: Request, name: str, place: Place) -> list[tuple[str, bytes]]:
    """The pictures of a request, by name.

    Args:
        request: whose body nobody has read.
        name: of a picture that is the body itself.
        place: of the request.

    Raises:
        ProblemError: no picture, too many, too large, too slow, or no room for them.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            receive = _counting(request, place)
            declared = request.headers.get("content-length", "")
            if declared.isdigit() and int(declared) > MAX_UPLOAD_MIB << 20:
                raise await _too_large(request)
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "multipart/form-data":
                return await _of_form(Request(request.scope, receive))
            body = await Request(request.scope, receive).body()
    except ClientDisconnect:
        # Nobody hears it.
        raise ProblemError(
            400, "expected a whole body, found its sender gone; send it again"
        ) from None
    except TimeoutError:
        raise ProblemError(
            408,
            f"expected the pictures within {PATIENCE_S:.0f} s, found a part of them; send smaller "
            "ones, or fewer at once",
        ) from None
    if not body:
        raise _nothing()
    return [(picture_name(name), body)]


async def _of_form(request: Request) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    async with request.form(max_files=MOST_PICTURES, max_fields=1) as form:
        for field, value in form.multi_items():
            if not isinstance(value, UploadFile):
                raise ProblemError(
                    422,
                    f"{field[:40]!r}: expected a file, found text; send pictures alone, and "
                    "everything else in the address",
                )
            found.append((picture_name(value.filename or ""), await value.read()))
    if not found:
        raise _nothing()
    return found


def picture_name(name: str) -> str:
    """A file's name that can be stored and shown: no path, no control characters."""
    plain = "".join(sign for sign in readable(file_name(name)) if sign.isprintable())
    return plain[-_LONGEST_NAME:] or "picture"


def _counting(request: Request, place: Place) -> Callable[[], Awaitable[Message]]:
    async def receive() -> Message:
        message = await request.receive()
        place.weigh(len(message.get("body", b"")))
        if place.size > MAX_UPLOAD_MIB << 20:
            raise await _too_large(request)
        return message

    return receive


async def _too_large(request: Request) -> ProblemError:
    try:
        async with asyncio.timeout(_DRAIN_S):
            while (message := await request.receive()).get("more_body"):
                del message
    except TimeoutError:
        pass
    return ProblemError(
        413,
        f"expected at most {MAX_UPLOAD_MIB} MiB, found more; send the pictures one by one, or "
        "cropped to the part",
    )


def _nothing() -> ProblemError:
    return ProblemError(
        400,
        "expected a picture, found an empty body; send one as the body "
        "(curl --data-binary @part.jpg) or several as files (curl -F file=@a.jpg -F file=@b.jpg)",
    )
