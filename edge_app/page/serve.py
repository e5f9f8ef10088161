"""Serving the page until Ctrl-C."""

from __future__ import annotations

import os
import threading

# Before gradio is imported: a box at the line tells nobody what it does.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from starlette.middleware import Middleware

from edge_app.page.layout import BOX_PATH, CSS_PATH, theme
from edge_app.page.same_origin import LOOPBACK, SameOrigin
from edge_app.page.slow_login import SlowLogin
from runtime.errors import PageError

PASSWORD_VARIABLE = "LINESIDE_PASSWORD"
USER = "operator"
_MAX_UPLOAD = "200mb"


def check_access(host: str, password: str | None, *, open_to_all: bool) -> None:
    """Refuse to show the page to a network without a password.

    Args:
        host: address to listen on.
        password: what the operator types, or None.
        open_to_all: the user said that no password is wanted.

    Raises:
        PageError: the page would be open to everyone who reaches the box.
    """
    if host in LOOPBACK or password or open_to_all:
        return
    raise PageError(
        f"--host {host}: expected a password in the environment variable {PASSWORD_VARIABLE}, "
        "found none, and everyone who "
        f"reaches this machine could open the page; set it (user '{USER}'), or add --no-password "
        "if the network is yours alone"
    )


def serve(
    page: gr.Blocks, host: str, port: int, password: str | None, *, any_name: bool = False
) -> str:
    """Start the page in the background.

    Args:
        page: from :func:`edge_app.page.layout.build_page`.
        host: address to listen on.
        port: TCP port; 0 for any that is free.
        password: asked of the user ``operator``, or None for nobody.
        any_name: also answer to names that do not mean this machine where it listens to itself
            alone and asks nobody.

    Returns:
        the page's URL.

    Raises:
        PageError: the port is taken or the address is not this machine's.
    """
    if ":" in host:
        raise PageError(
            f"--host {host}: expected a name or an IPv4 address, found an IPv6 one; try --host "
            "localhost"
        )
    # Gradio asks its own server whether it is up, which no proxy of the plant's network can tell
    # it.
    for variable in ("NO_PROXY", "no_proxy"):
        os.environ[variable] = ",".join(
            filter(None, [os.environ.get(variable), host, "localhost", "127.0.0.1"])
        )
    loopback_only = host in LOOPBACK and not password and not any_name
    try:
        _, url, _ = page.queue(default_concurrency_limit=4).launch(
            server_name=host,
            server_port=port or None,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            auth=(USER, password) if password else None,
            theme=theme(),
            css_paths=CSS_PATH,
            head_paths=BOX_PATH,
            footer_links=[],
            show_error=True,
            max_file_size=_MAX_UPLOAD,
            ssr_mode=False,
            enable_monitoring=False,
            run_history=False,
            app_kwargs={
                "middleware": [
                    Middleware(SameOrigin, loopback_only=loopback_only),
                    Middleware(SlowLogin),
                ]
            },
        )
    except OSError as error:
        raise PageError(
            f"{host}:{port}: expected a free port on this machine, found {error}; choose another: "
            f"--port {port + 1}"
        ) from error
    return str(url)


def wait_for_interrupt() -> None:
    """Sleep until Ctrl-C."""
    threading.Event().wait()
