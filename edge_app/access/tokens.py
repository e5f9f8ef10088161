"""Bearer tokens of programs: made once, shown once, kept as hashes in a file.

A token has 256 random bits, so that its plain SHA-256 cannot be turned back by trying.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edge_app.access.credentials import KnownEntries, check_name, without
from edge_app.access.users import Role
from runtime import atomic
from runtime.decode import read_json
from runtime.errors import PageError

PREFIX = "lineside_"
_BYTES = 32
_ADVICE = "type: lineside token FILE add NAME"


@dataclass(frozen=True)
class Token:
    """One token, as it is kept.

    Attributes:
        name: who has it; the records name it with every word that it gives.
        sha256: of the token, in hex.
        made: UTC, ISO 8601.
        role: ``operator``, or ``engineer`` for a program that changes thresholds.
    """

    name: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    made: str = ""
    role: Role = "operator"


@dataclass(frozen=True)
class Tokens:
    """The file."""

    api_tokens_version: Literal[1]
    tokens: list[Token]


def read_tokens(path: Path) -> list[Token]:
    """The tokens of a file.

    Raises:
        PageError: it is missing, or no such file.
    """
    return read_json(path, Tokens, error=PageError, advice=_ADVICE, known_only=True).tokens


def add_token(path: Path, name: str, role: Role = "operator") -> str:
    """Make a token; the file is begun where there is none.

    Args:
        path: the file.
        name: who will have it.
        role: what they may do.

    Returns:
        the token: nobody can read it from the file again.

    Raises:
        PageError: the name is taken or unusable, or the file is none of tokens.
        OSError: it cannot be written.
    """
    check_name(name, "the program that will use the token")
    known = read_tokens(path) if path.exists() else []
    if any(token.name == name for token in known):
        raise PageError(
            f"{path}: expected a new name, found a token of '{name}'; choose another, or type: "
            f"lineside token {path} remove {name}"
        )
    secret = PREFIX + secrets.token_urlsafe(_BYTES)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    _write(path, [*known, Token(name, _digest(secret), made, role)])
    return secret


def remove_token(path: Path, name: str) -> None:
    """Take a token back; a running server refuses it from the next request on.

    Raises:
        PageError: there is none of that name, or the file is none of tokens.
        OSError: it cannot be written.
    """
    _write(path, without(path, read_tokens(path), name))


def _write(path: Path, tokens: list[Token]) -> None:
    atomic.write_json(path, asdict(Tokens(1, tokens)))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class TokenFile:
    """The tokens that a server knows; an edit of the file counts at the next request.

    Where the file is gone or damaged nobody gets in with a token, which is said once.

    Args:
        path: the file.

    Raises:
        PageError: it is missing, or no such file.
    """

    def __init__(self, path: Path) -> None:
        self._entries = KnownEntries(path, read_tokens, "no token is accepted")

    def token_of(self, secret: str) -> Token | None:
        """The token of a secret; None for one that the file does not know."""
        digest = _digest(secret)
        found = None
        for token in self._entries.now():
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return found
