"""Short pieces of the campaigns in scripts/: whole ones are run before a release."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_app.api.service import MOST_REQUESTS
from scripts.campaign.load import load
from scripts.soak import soak
from tests.runtime.tiny import write_bundle

ROOT = Path(__file__).parents[2]


def told(script: str, *arguments: str) -> str:
    """What a script prints that ends well, in a process of its own."""
    command = [sys.executable, "-m", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_under_injected_faults() -> None:
    """In a process of its own, for it forks."""
    said = told("scripts.chaos", "--share", "0.06", "--seed", "3")
    counts = re.search(r"(\d+) faults.* (\d+) acknowledged, 0 lost or doubled", said)
    assert counts is not None, said
    assert int(counts[1]) > 25
    assert int(counts[2]) > 100


@pytest.mark.slow
def test_a_short_soak_opens_nothing_that_it_does_not_close(tmp_path: Path) -> None:
    found = soak(write_bundle(tmp_path / "bundle"), 30.0, parts=800)
    assert found.parts == 800
    assert found.descriptors <= 0
    # Of a process so young, libraries still take their first memory.
    assert found.growth < 0.2


@pytest.mark.slow
def test_a_short_fuzz_of_every_parser_finds_nothing() -> None:
    """Bodies of requests and models in workers, too; in a process of its own, for it forks."""
    said = told("scripts.fuzz", "--cases", "200", "--seed", "4")
    assert " 0 faults" in said
    for parser in ("pictures", "manifest", "zip", "configuration", "model", "http"):
        assert re.search(rf"^{parser} +\d+ cases", said, re.MULTILINE), said


@pytest.mark.slow
def test_more_clients_than_there_is_room_for_get_their_own_verdict_or_503(tmp_path: Path) -> None:
    found = load(write_bundle(tmp_path / "bundle"), 1.0, clients=MOST_REQUESTS + 12)
    assert found.wrong == []
    assert found.answered > found.clients
    assert found.overloads > 0
    peak, most = found.queue
    assert 0 < peak <= most == MOST_REQUESTS
