"""``/v1/line``: what the operator's screen shows, told as soon as it changes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

import anyio
from fastapi import APIRouter, Query, Request

from edge_app.access.door import Who
from edge_app.api.problems import Problem, ProblemError
from edge_app.api.service import service_of
from edge_app.live.board import Board
from edge_app.records import Arrival, Counts
from edge_app.screens.line_answers import (
    LineOutput,
    LineState,
    LookedAt,
    Rate,
    Span,
    line_counts,
    line_part,
    line_source,
)
from runtime.errors import StoreError

router = APIRouter()
NEWEST = 30
_SPANS = 48
# How long a request waits for a change; less than a server that ends waits for its last answers.
# Who gets no answer for twice as long has lost the box.
HOLD_S = 1.5
# How often the sources are looked at meanwhile, and the records, which others write to as well.
_LOOK_S, _READ_S = 0.05, 0.4
_HIGHEST = 2**63 - 1


@router.get("/line", responses={status: {"model": Problem} for status in (401, 404, 503)})
async def line(
    request: Request,
    who: Who,
    after: Annotated[
        str | None,
        Query(description="`version` of the answer before: wait for another", max_length=100),
    ] = None,
) -> LineState:
    """The line as it is now; with ``after`` once it has changed, or after a moment."""
    board = _board(request)
    end, version = time.monotonic() + HOLD_S, await _version(board)
    while version == after and time.monotonic() < end:
        read_at, before = time.monotonic() + _READ_S, board.version
        while board.version == before and time.monotonic() < read_at:
            await anyio.sleep(_LOOK_S)
        version = await _version(board)
    return await anyio.to_thread.run_sync(state_of, board, version)


@router.get("/line/rate", responses={status: {"model": Problem} for status in (401, 404, 503)})
def rate(
    request: Request,
    who: Who,
    hours: Annotated[int, Query(ge=1, le=24 * 30, description="how far back")] = 8,
) -> Rate:
    """How many parts came and how many were rejected, in 48 spans up to now."""
    minutes = hours * 60 // _SPANS
    since = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    found = _board(request).journal.rates(since, minutes)
    return Rate(
        minutes,
        [
            Span(datetime.fromtimestamp(begin, UTC).isoformat(), seen, rejected)
            for begin, seen, rejected in found
        ],
    )


@router.post("/line/{number}/seen", responses={s: {"model": Problem} for s in (401, 404, 503)})
def seen(
    request: Request, who: Who, number: Annotated[int, "of the part in the journal"]
) -> LookedAt:
    """Somebody has looked at a flagged part, and has nothing to say of it."""
    board = _board(request)
    known = -_HIGHEST <= number <= _HIGHEST and (
        board.look_at(number) if number < 0 else board.journal.look_at(number, who)
    )
    if not known:
        raise ProblemError(
            404, f"expected the number of a part in GET /v1/line, found {number}; ask for it again"
        )
    return LookedAt(number)


def state_of(board: Board, version: str) -> LineState:
    """All of it, read at once; records that cannot be read keep nobody from the verdicts."""
    counts: dict[str, Counts] = {}
    waiting: list[Arrival] = []
    newest: list[Arrival] = []
    trouble = ""
    try:
        counts = board.journal.counts(midnight())
        waiting, newest = board.journal.waiting(), board.journal.newest(NEWEST)
    except StoreError as error:
        trouble = str(error)
    return LineState(
        version=version,
        sources=[line_source(one, counts.get(one.name, Counts())) for one in board.states()],
        waiting=[line_part(one) for one in (*waiting, *board.unwritten())],
        newest=[line_part(one) for one in newest],
        counts=line_counts(list(counts.values())),
        outputs=[LineOutput(**vars(one)) for one in board.outputs()],
        trouble=trouble,
    )


def midnight() -> str:
    """The last one on this box's clock, as UTC."""
    today = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    return today.astimezone(UTC).isoformat()


async def _version(board: Board) -> str:
    try:
        written = await anyio.to_thread.run_sync(board.journal.state)
    except StoreError:
        written = "unread"
    return f"{board.version}.{written}"


def _board(request: Request) -> Board:
    board = service_of(request).board
    if board is None:
        raise ProblemError(
            404, "expected a station, found the page alone; type: lineside station CONFIG.toml"
        )
    return board
