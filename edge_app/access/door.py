"""Who asks: a program with a token, somebody who has logged in on the page, or anybody at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

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
        session: from a request's cookies to the user who has logged in on the page, or None.
        guarded: whether anybody must say who he is.
    """

    def __init__(
        self,
        tokens: TokenFile | None,
        session: Callable[[Mapping[str, str]], str | None],
        *,
        guarded: bool,
    ) -> None:
        self._tokens = tokens
        self._session = session
        self._guarded = guarded

    def enter(self, secret: str | None, cookies: Mapping[str, str]) -> str:
        """The name of who asks; ``""`` where nobody has to say.

        Raises:
            ProblemError: nobody who may.
        """
        if not self._guarded:
            return ""
        name = self._session(cookies) if secret is None else self._holder(secret)
        if name is not None:
            return name
        found = "none" if secret is None else "one that is not known"
        raise ProblemError(
            401,
            f"expected the header 'Authorization: Bearer TOKEN', found {found}; "
            "make one on the box: lineside token FILE add NAME",
            _CHALLENGE,
        )

    def _holder(self, secret: str) -> str | None:
        return None if self._tokens is None else self._tokens.name_of(secret)


async def _who(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    door: Door = request.app.state.door
    return door.enter(None if credentials is None else credentials.credentials, request.cookies)


# In the signature of every route but those that tell whether the box is well.
Who = Annotated[str, Depends(_who)]
