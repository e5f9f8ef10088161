"""Short pieces of the campaigns in scripts/: whole ones are run before a release."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.soak import soak
from tests.runtime.tiny import write_bundle

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_under_injected_faults() -> None:
    """In a process of its own, for it forks."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.chaos", "--share", "0.06", "--seed", "3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.search(r"(\d+) faults.* (\d+) acknowledged, 0 lost or doubled", done.stdout)
    assert said is not None, done.stdout
    assert int(said[1]) > 25
    assert int(said[2]) > 100


@pytest.mark.slow
def test_a_short_soak_opens_nothing_that_it_does_not_close(tmp_path: Path) -> None:
    found = soak(write_bundle(tmp_path / "bundle"), 30.0, parts=800)
    assert found.parts == 800
    assert found.descriptors <= 0
    # Of a process so young, libraries still take their first memory.
    assert found.growth < 0.2
