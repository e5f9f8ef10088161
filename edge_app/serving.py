"""One server for people and programs: the page and ``/v1``, while a block runs."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from edge_app.access.origin import LOOPBACK, check_access
from edge_app.access.tokens import TokenFile
from edge_app.access.users import UserFile
from edge_app.api.application import Access, build_application, build_service
from edge_app.api.named import add_endpoints
from edge_app.api.service import Service
from edge_app.live.board import Board
from edge_app.page.choice import open_station
from edge_app.page.layout import LOOKS, build_page, uploads_folder
from edge_app.screens.gauges import StationGauges
from edge_app.store.location import is_folder
from edge_app.teaching.replaced import taking_over_copies
from edge_app.teaching.teacher import Teacher
from runtime.errors import PageError

_PATIENCE_S = 30.0
# What open pages may have asked and not been answered.
_MOST_ASKED = 64
# What is under way when the server ends is given so long: open pages listen for ever.
_LAST_ANSWERS_S = 2


@contextmanager
def serving(
    bundles: Sequence[Path],
    location: str,
    *,
    samples: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    root_path: str = "",
    password: str | None = None,
    open_to_all: bool = False,
    api_token_file: Path | None = None,
    users_file: Path | None = None,
    trusted_proxies: Sequence[str] = (),
    watching: Callable[[Service], AbstractContextManager[Board]] | None = None,
    **engine: Any,
) -> Iterator[str]:
    """Serve page and API while the block runs; then the stores are flushed and closed.

    Args:
        bundles: paths of bundles.
        location: of the neighbour store.
        samples: folder of pictures to click on.
        host: address to listen on.
        port: TCP port; 0 for any that is free.
        root_path: path below which a proxy shows the page, e.g. ``/line3``.
        password: asked of the user ``operator``, or None for nobody.
        open_to_all: serve a network without a password, and this machine under any name.
        api_token_file: tokens of programs, see :mod:`edge_app.access.tokens`.
        users_file: people with passwords and roles, see :mod:`edge_app.access.users`.
        trusted_proxies: addresses or networks whose ``X-Forwarded-For`` is believed.
        watching: watches sources with the open lines meanwhile, for a station; their state is what
            the screen ``/line`` shows.
        **engine: as of :class:`runtime.inspector.Inspector`.

    Yields:
        the page's URL on this machine.

    Raises:
        PageError: the page cannot be served.
        BundleError: a bundle is unusable.
        StoreError: the store cannot be opened.
        DataError: the folder of samples is missing or empty.
    """
    check_access(host, password, open_to_all=open_to_all, has_users=users_file is not None)
    _check_places(host, root_path, trusted_proxies)
    tokens = None if api_token_file is None else TokenFile(api_token_file)
    users = None if users_file is None else UserFile(users_file)
    # Gradio asks its own server whether it is up: no proxy of the plant's network can tell it.
    for variable in ("NO_PROXY", "no_proxy"):
        known = os.environ.get(variable, "")
        os.environ[variable] = f"{known},{host},localhost,127.0.0.1".lstrip(",")
    loopback_only = host in LOOPBACK and not (password or users or open_to_all)
    with ExitStack() as stack:
        taken = stack.enter_context(listening(host, port))
        station = stack.enter_context(open_station(bundles, location, samples, **engine))
        stack.enter_context(uploads_folder())
        below = root_path.rstrip("/")
        service = build_service(station, below)
        stack.enter_context(taking_over_copies(station))
        if is_folder(location):
            service.teacher = stack.enter_context(closing(Teacher(station, Path(location))))
            service.teacher.resume()
        page = build_page(station).queue(default_concurrency_limit=4, max_size=_MOST_ASKED)
        with page:
            add_endpoints(service)
        access = Access(password, tokens, loopback_only, users)
        board = None if watching is None else stack.enter_context(watching(service))
        service.watches(board, samples)
        if board is not None:
            service.metrics.registry.register(StationGauges(board))
        application = build_application(service, access, page=page, root_path=below, **LOOKS)
        stack.enter_context(running(application, taken, trusted_proxies))
        shown = "127.0.0.1" if host == "0.0.0.0" else host
        yield f"http://{shown}:{taken.getsockname()[1]}/"


@contextmanager
def running(
    application: FastAPI, taken: socket.socket, trusted_proxies: Sequence[str] = ()
) -> Iterator[None]:
    """Serve an application in a thread of its own while the block runs.

    Args:
        application: from :func:`edge_app.api.application.build_application`.
        taken: the port, from :func:`listening`.
        trusted_proxies: addresses or networks whose ``X-Forwarded-For`` is believed.

    Raises:
        PageError: it does not start.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            log_config=None,
            # Pages that are open at the end are no errors; a fault of ours is logged as lineside's.
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            timeout_graceful_shutdown=_LAST_ANSWERS_S,
        )
    )
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [taken]}, name="lineside-server", daemon=True
    )
    thread.start()
    until = time.monotonic() + _PATIENCE_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            server.should_exit = True
            raise PageError(
                "expected the page's server to start, found that it did not; see the log, and try "
                "again with -v"
            )
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_PATIENCE_S)


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A port, taken before anything is opened; 0 for any that is free.

    Raises:
        PageError: it is another's.
    """
    # asyncio switches Nagle's algorithm off where a socket says that it is TCP's, and every answer
    # would be 40 ms late with it.
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(128)
    except OSError as error:
        found.close()
        raise PageError(
            f"{host}:{port}: expected a free port on this machine, found {error}; choose "
            f"another: --port {port + 1}"
        ) from error
    with found:
        yield found


def _check_places(host: str, root_path: str, trusted_proxies: Sequence[str]) -> None:
    if ":" in host:
        raise PageError(
            f"--host {host}: expected a name or an IPv4 address, found an IPv6 one; try --host "
            "localhost"
        )
    if root_path and not root_path.startswith("/"):
        raise PageError(
            f"--root-path {root_path}: expected a path such as /line3, found one without its "
            f"slash; try --root-path /{root_path}"
        )
    for proxy in trusted_proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise PageError(
                f"--trusted-proxy {proxy}: expected an address or a network such as 10.0.0.5 or "
                f"10.0.0.0/24, found neither ({error}); name the proxy's own address"
            ) from error
