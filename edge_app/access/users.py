"""People who may log in: name, role and a password's hash, in a file that may be edited."""

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
from runtime import atomic
from runtime.decode import read_json
from runtime.errors import PageError

Role = Literal["operator", "engineer"]
_ADVICE = "type: lineside user FILE add NAME --role operator"
FEWEST_LETTERS = 8
# scrypt's cost, as RFC 7914 recommends for logins: 16 MiB and tens of milliseconds.
_N, _R, _P, _BYTES = 1 << 14, 8, 1, 32
_Hex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32,128}$")]


@dataclass(frozen=True)
class User:
    """One person, as it is kept.

    Attributes:
        name: the records name it with every word.
        role: ``operator`` judges; ``engineer`` also changes thresholds and bundles.
        salt: random bytes, in hex.
        scrypt: of the password, in hex.
        made: UTC, ISO 8601.
    """

    name: str
    role: Role
    salt: _Hex
    scrypt: _Hex
    made: str = ""


@dataclass(frozen=True)
class Users:
    """The file."""

    users_version: Literal[1]
    users: list[User]


def read_users(path: Path) -> list[User]:
    """The users of a file.

    Raises:
        PageError: it is missing, or no such file.
    """
    return read_json(path, Users, error=PageError, advice=_ADVICE, known_only=True).users


def put_user(path: Path, name: str, role: Role, password: str) -> bool:
    """Add a person, or give one that is there another password and role.

    Args:
        path: the file, begun where there is none.
        name: of letters, digits, ``.``, ``_`` and ``-``.
        role: what they may do.
        password: at least eight letters.

    Returns:
        whether they are new.

    Raises:
        PageError: name or password cannot be used, or the file is none of users.
        OSError: it cannot be written.
    """
    check_name(name, "the person")
    if len(password) < FEWEST_LETTERS:
        raise PageError(
            f"expected a password of at least {FEWEST_LETTERS} letters, found {len(password)}; "
            "choose a longer one"
        )
    known = read_users(path) if path.exists() else []
    left = [user for user in known if user.name != name]
    salt = secrets.token_bytes(16)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    user = User(name, role, salt.hex(), _hashed(password, salt), made)
    _write(path, [*left, user])
    return len(left) == len(known)


def remove_user(path: Path, name: str) -> None:
    """Let a person in no more.

    Raises:
        PageError: there is none of that name.
        OSError: the file cannot be written.
    """
    _write(path, without(path, read_users(path), name))


def _write(path: Path, users: list[User]) -> None:
    atomic.write_json(path, asdict(Users(1, users)))


def _hashed(password: str, salt: bytes) -> str:
    secret = password.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(secret, salt=salt, n=_N, r=_R, p=_P, dklen=_BYTES).hex()


class UserFile:
    """The people whom a server knows; an edit of the file counts at the next request.

    Where the file is gone or damaged nobody can log in, and nobody stays logged in.

    Args:
        path: the file.

    Raises:
        PageError: it is missing, or no such file.
    """

    def __init__(self, path: Path) -> None:
        self._entries = KnownEntries(path, read_users, "nobody can log in")

    def known(self, name: str, password: str) -> User | None:
        """Who has this name and password, or None; an unknown name takes as long as a wrong one."""
        user = self._find(name)
        salt = bytes.fromhex(user.salt) if user else bytes(16)
        found = _hashed(password, salt)
        right = hmac.compare_digest(found, user.scrypt if user else "")
        return user if user is not None and right else None

    def current(self, name: str, scrypt: str) -> User | None:
        """A person as they are now; None once they are removed or have another password."""
        user = self._find(name)
        return user if user is not None and user.scrypt == scrypt else None

    def _find(self, name: str) -> User | None:
        return next((user for user in self._entries.now() if user.name == name), None)
