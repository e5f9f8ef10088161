"""Who asks: a program with a token, somebody who has logged in, or anybody at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from edge_app.access.sessions import Sessions, Visitor
from edge_app.access.tokens import TokenFile
from edge_app.api.problems import ProblemError

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="lineside"'}
_bearer = HTTPBearer(
    auto_error=False,
    description="A token from `lineside token FILE add NAME`. "
    "A browser that is logged in on the page needs none.",
)


class Door:
    """Lets in who may use the API.

    Args:
        tokens: of programs, or None.
        sessions: of those who have logged in.
        guarded: whether anybody must say who he is.
    """

    def __init__(self, tokens: TokenFile | None, sessions: Sessions, *, guarded: bool) -> None:
        self._tokens = tokens
        self.sessions = sessions
        self.guarded = guarded

    def enter(self, secret: str | None, cookies: Mapping[str, str]) -> Visitor:
        """Who asks; an engineer without a name where nobody has to say.

        Raises:
            ProblemError: nobody who may.
        """
        if not self.guarded:
            return Visitor("", "engineer")
        found = self.sessions.visitor(cookies) if secret is None else self._holder(secret)
        if found is not None:
            return found
        given = "none" if secret is None else "one that is not known"
        raise ProblemError(
            401,
            f"expected the header 'Authorization: Bearer TOKEN', found {given}; "
            "make one on the box: lineside token FILE add NAME",
            _CHALLENGE,
        )

    def _holder(self, secret: str) -> Visitor | None:
        token = None if self._tokens is None else self._tokens.token_of(secret)
        return None if token is None else Visitor(token.name, token.role)


async def _visitor(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Visitor:
    door: Door = request.app.state.door
    return door.enter(None if credentials is None else credentials.credentials, request.cookies)


async def _who(visitor: Annotated[Visitor, Depends(_visitor)]) -> str:
    return visitor.name


async def _engineer(visitor: Annotated[Visitor, Depends(_visitor)]) -> str:
    """The name of an engineer.

    Raises:
        ProblemError: it is an operator.
    """
    if visitor.role == "engineer":
        return visitor.name
    raise ProblemError(
        403,
        f"expected an engineer, found the operator {visitor.name}; make one on the box: lineside "
        "user users.json add NAME --role engineer, and start with --users-file users.json; for a "
        "program: lineside token FILE add NAME --role engineer",
    )


# One of these is in the signature of every route but those that tell whether the box is well.
Asking = Annotated[Visitor, Depends(_visitor)]
Who = Annotated[str, Depends(_who)]
Engineer = Annotated[str, Depends(_engineer)]
