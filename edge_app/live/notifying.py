"""A station as a service of systemd: it says when it is ready, and then that it is alive.

The protocol is that of sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names.
"""

from __future__ import annotations

import http.client
import logging
import os
import socket
from collections.abc import Mapping
from threading import Event
from urllib.parse import urlsplit

log = logging.getLogger("lineside")

# Signs of life in the time after which systemd starts the station again.
_SIGNS = 3
_ANSWER_S = 5.0


def stay(url: str, stop: Event, environ: Mapping[str, str] = os.environ) -> None:
    """Wait until ``stop`` is set; a service manager is told meanwhile how the station is.

    Alive is a station whose own server answers. Where it does not, no sign is given, and systemd
    starts the station again after its ``WatchdogSec``.

    Args:
        url: the station's on this machine.
        stop: ends the waiting.
        environ: NOTIFY_SOCKET names the manager, if there is one; WATCHDOG_USEC is the time in
            microseconds in which it expects a sign of life.
    """
    place = environ.get("NOTIFY_SOCKET", "")
    if not place:
        stop.wait()
        return
    watchdog_s = int(environ.get("WATCHDOG_USEC", "0")) / 1e6
    every_s = watchdog_s / _SIGNS if watchdog_s else None
    _tell(place, f"READY=1\nSTATUS=at {url}line")
    try:
        while not stop.wait(every_s):
            if _is_alive(url, min(_ANSWER_S, watchdog_s)):
                _tell(place, "WATCHDOG=1")
            else:
                log.warning(f"warning: {url}: expected an answer of the station's own server")
    finally:
        _tell(place, "STOPPING=1")


def _tell(place: str, said: str) -> None:
    # An "@" stands for the NUL of a name that is in no folder.
    address = f"\0{place[1:]}" if place.startswith("@") else place
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(said.encode(), address)
    except OSError as error:
        # Parts go on being judged, whoever has gone.
        log.warning(f"warning: {place}: the service manager cannot be told ({error})")


def _is_alive(url: str, timeout_s: float) -> bool:
    parts = urlsplit(url)
    # Not urllib: a proxy of the plant's network must not answer for the station.
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
