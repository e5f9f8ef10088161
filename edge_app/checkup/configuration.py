"""Whether what a station's configuration names is there: bundles, store, sources, outputs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from edge_app.checkup.store import store_findings
from edge_app.live.config import Config
from edge_app.live.settings import OutputTable
from edge_app.outputs.base import secret_of
from runtime.doctor import Finding, bundle_findings, guarded, source_findings
from runtime.errors import require_extra

PATIENCE_S = 5.0
_PORTS = {"http": 80, "https": 443, "mqtt": 1883, "mqtts": 8883}


def station_findings(config: Config) -> Iterator[Finding]:
    """Check everything that a configuration names; nothing is judged, written or delivered.

    Args:
        config: from :func:`edge_app.live.config.read_config`.
    """
    yield from guarded("station", _extras(config))
    for bundle in config.bundles:
        yield from bundle_findings(bundle, **config.engine)
    yield from store_findings(str(config.store))
    for source in config.sources:
        yield from source_findings(source.watch, source.name)
    for output in config.outputs:
        yield from guarded("output", _output(output))


def _extras(config: Config) -> Iterator[Finding]:
    require_extra("app", "gradio", "qdrant_edge", "prometheus_client")
    if any(urlsplit(one.url).scheme in ("mqtt", "mqtts") for one in config.outputs):
        require_extra("mqtt", "paho")
    page = config.page
    yield Finding("station", "ok", f"listens on {page.host}:{page.port}{page.root_path}")
    tokens = Path(page.api_token_file) if page.api_token_file else None
    if tokens is not None and not tokens.is_file():
        yield Finding(
            "station",
            "fault",
            f"{tokens}: expected the tokens of programs, found none",
            f"type: lineside token {tokens} add NAME",
        )


def _output(output: OutputTable) -> Iterator[Finding]:
    secret_of(output.secret_variable, output.url)
    address = urlsplit(output.url)
    port = address.port or _PORTS.get(address.scheme, 0)
    if not port:
        yield Finding("output", "ok", f"{output.name}: {output.url}, of another package")
        return
    try:
        # No message: whoever takes verdicts would take a trial for one.
        socket.create_connection((address.hostname or "", port), PATIENCE_S).close()
    except OSError as error:
        yield Finding(
            "output",
            "fault",
            f"{output.name}: expected {address.hostname}:{port} to answer, found {error}",
            "check the address and the firewall; verdicts wait meanwhile, none is lost",
        )
        return
    yield Finding("output", "ok", f"{output.name}: {address.hostname}:{port} answers")
