"""``lineside doctor``: whether this machine can do the work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.console import emit_json, printable, say
from runtime.options import json_option

if TYPE_CHECKING:
    from runtime.doctor import Finding


@click.command()
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option(
    "--station",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration of a station: its bundles, store, cameras and outputs.",
)
@click.option("--store", "location", help="A folder, http://HOST:6333 or grpc://HOST:6334.")
@click.option("--source", help="A folder, a video, the number of a camera, or a URL.")
@json_option
def command(
    bundle: Path | None,
    config: Path | None,
    location: str | None,
    source: str | None,
    as_json: bool,
) -> None:
    """Check this machine and what it is to work with, and say what to do next.

    Versions, extras, devices, disk and clock; of a BUNDLE its files, seals and golden pictures; of
    a store its records and index; of a source its first frame; of a station all of these, and
    whether its outputs answer. Nothing is judged, written or delivered.

    Each line is ok, warning or fault. Exits with 1 if there is a fault. --json prints one object a
    line.

    \b
    Example:
      lineside doctor
      lineside doctor tile-patchcore --store neighbours
      lineside doctor --station station.toml --json
    """
    count = {"ok": 0, "warning": 0, "fault": 0}
    for finding in _findings(bundle, config, location, source):
        count[finding.state] += 1
        if as_json:
            emit_json(finding.to_json())
        else:
            click.echo(_line(finding))
    say(f"{count['fault']} faults, {count['warning']} warnings, {count['ok']} ok")
    if count["fault"]:
        sys.exit(1)


def _findings(
    bundle: Path | None, config: Path | None, location: str | None, source: str | None
) -> Iterator[Finding]:
    from edge_app.checkup import station_findings, store_findings
    from edge_app.live.config import read_config
    from runtime.doctor import bundle_findings, machine_findings, source_findings

    station = None if config is None else read_config(config)
    places = [] if station is None else [station.store]
    if location is not None and "://" not in location:
        places.append(Path(location))
    yield from machine_findings(places)
    if bundle is not None:
        yield from bundle_findings(bundle)
    if location is not None:
        yield from store_findings(location)
    if source is not None:
        yield from source_findings(source)
    if station is not None:
        yield from station_findings(station)


def _line(finding: Finding) -> str:
    line = f"{finding.state:<8}{finding.check:<9}{printable(finding.found)}"
    return f"{line}\n{'':<17}next: {printable(finding.next)}" if finding.next else line
