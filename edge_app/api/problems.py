"""Errors as RFC 9457 wants them: ``application/problem+json``, each with a sentence to act on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from runtime.errors import ImageError, LinesideError, StoreError
from runtime.progress import about

log = logging.getLogger("lineside")

MEDIA_TYPE = "application/problem+json"
# Seconds after which a client may try again what was refused for lack of room, or of a store.
RETRY_S = 1
RETRY_STORE_S = 5
_DOCUMENT = "see /v1/openapi.json"
# What a request is called in its answer, and in its scope.
REQUEST_ID = "X-Request-ID"
REQUEST_ID_KEY = "lineside.request"


@dataclass(frozen=True)
class Problem:
    """Why a request was refused.

    Attributes:
        title: the status in words.
        status: of HTTP.
        detail: what was expected, what was found, what to do next.
        type: RFC 9457's name of the kind of problem; the status says it all here.
    """

    title: str
    status: int
    detail: str
    type: str = "about:blank"


class ProblemError(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        detail: what was expected, what was found, what to do next.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})


def problem(status: int, detail: str) -> Problem:
    """A problem with its title."""
    return Problem(HTTPStatus(status).phrase, status, detail)


def problem_of(error: LinesideError) -> Problem:
    """What an error of ours is to a client."""
    if isinstance(error, ImageError):
        return problem(422, str(error))
    if isinstance(error, StoreError):
        return problem(503, str(error))
    return problem(500, str(error))


def answer(found: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem as it is sent."""
    return JSONResponse(asdict(found), found.status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of an application with a problem."""
    app.add_exception_handler(ProblemError, _refused)
    app.add_exception_handler(LinesideError, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    status = error.status if isinstance(error, ProblemError) else 500
    return answer(problem(status, str(error)), getattr(error, "headers", None))


async def _failed(_: Request, error: Exception) -> JSONResponse:
    found = problem_of(error if isinstance(error, LinesideError) else LinesideError(str(error)))
    return answer(found, {"Retry-After": str(RETRY_STORE_S)} if found.status == 503 else None)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    wrong = error.errors() if isinstance(error, RequestValidationError) else []
    return answer(problem(422, "; ".join([*map(_sentence, wrong[:5]), _DOCUMENT])))


async def _http(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = getattr(error, "headers", None) or {}
    asked = f"{request.method} {request.url.path}"[:200]
    given = str(getattr(error, "detail", ""))
    said = {
        400: f"expected a body that can be read, found another ({given}); {_DOCUMENT}",
        404: f"expected an address of the API, found {asked}; {_DOCUMENT}",
        405: f"expected one of {headers.get('Allow', 'other methods')}, found {asked}",
    }
    return answer(problem(status, said.get(status, f"{asked}: {given}; {_DOCUMENT}")), headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # The server logs it with its traceback, too; a client learns no more than that it is ours.
    known = str(request.scope.get(REQUEST_ID_KEY, ""))
    with about(request=known):
        log.error(f"the API failed: {type(error).__name__}: {error}")
    return answer(
        problem(500, "expected an answer, found a fault of the box; the box's log says more"),
        {REQUEST_ID: known} if known else None,
    )


def _sentence(wrong: Mapping[str, Any]) -> str:
    """Where, expected, found: from pydantic's "Input should be less than or equal to 200"."""
    where = ".".join(map(str, wrong.get("loc", ())))
    told = str(wrong.get("msg", "")).removeprefix("Input should be ").removeprefix("Value error, ")
    if wrong.get("type") == "missing":
        return f"{where}: expected a value, found none"
    found = repr(wrong.get("input"))
    return f"{where}: expected {told}, found {found if len(found) <= 60 else found[:57] + '...'}"
