"""Who has logged in, in this browser, and for how long: sessions in memory, by a random cookie."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edge_app.access.origin import USER
from edge_app.access.tokens import TokenFile
from edge_app.access.users import Role, UserFile

# A shift, and what is left of it when somebody stays longer.
IDLE_S = 12 * 3600
LONGEST_S = 7 * 24 * 3600
_MOST = 10_000


@dataclass(frozen=True)
class Visitor:
    """Who asks.

    Attributes:
        name: stands in the records with every word; ``""`` where nobody has to say.
        role: what they may do.
    """

    name: str
    role: Role


@dataclass(frozen=True)
class _Session:
    visitor: Visitor
    began: float
    used: float
    # Of a user of the file: with another password it ends.
    scrypt: str = ""


class Sessions:
    """Logs people in, with the password of the user ``operator`` or of a user of the file.

    Where there are tokens and neither of the two, a token is taken as a password: else nobody
    could see the screens. Safe in threads.

    Args:
        password: of the user ``operator``, or None.
        users: of a file, or None.
        tokens: of programs, or None.
        clock: seconds.
    """

    def __init__(
        self,
        password: str | None = None,
        users: UserFile | None = None,
        tokens: TokenFile | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._password, self._users, self._tokens = password, users, tokens
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        # Several boxes may be behind one name, each with a cookie of its own.
        self.cookie = f"lineside-{secrets.token_hex(6)}"

    @property
    def asks(self) -> str:
        """What one logs in with: ``token``, ``users`` of the file, or the one ``password``."""
        if self.by_token:
            return "token"
        return "password" if self._users is None else "users"

    @property
    def by_token(self) -> bool:
        """Whether a token is what one logs in with."""
        return self._password is None and self._users is None and self._tokens is not None

    def log_in(self, name: str, password: str) -> str | None:
        """The secret of a new session; None for a name or password that is wrong."""
        visitor, scrypt = self._admitted(name.strip(), password)
        if visitor is None:
            return None
        secret, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._sessions[secret] = _Session(visitor, now, now, scrypt)
            while len(self._sessions) > _MOST:
                self._sessions.popitem(last=False)
        return secret

    def log_out(self, cookies: Mapping[str, str]) -> None:
        """End the session of a request's cookies."""
        with self._lock:
            self._sessions.pop(cookies.get(self.cookie, ""), None)

    def visitor(self, cookies: Mapping[str, str]) -> Visitor | None:
        """Who has logged in, by a request's cookies; None for nobody, or no longer."""
        secret, now = cookies.get(self.cookie, ""), self._clock()
        with self._lock:
            found = self._sessions.get(secret)
            if found is None:
                return None
            if now - found.used > IDLE_S or now - found.began > LONGEST_S:
                del self._sessions[secret]
                return None
            self._sessions[secret] = replace(found, used=now)
        if not found.scrypt:
            return found.visitor
        user = (
            None if self._users is None else self._users.current(found.visitor.name, found.scrypt)
        )
        return None if user is None else Visitor(user.name, user.role)

    def _admitted(self, name: str, password: str) -> tuple[Visitor | None, str]:
        if self._users is not None:
            user = self._users.known(name, password)
            if user is not None:
                return Visitor(user.name, user.role), user.scrypt
        if self._password is not None and name == USER:
            given, known = password.encode(), self._password.encode()
            if hmac.compare_digest(given, known):
                return Visitor(USER, "operator"), ""
        if self.by_token and self._tokens is not None:
            token = self._tokens.token_of(password)
            if token is not None:
                return Visitor(token.name, token.role), ""
        return None, ""
