"""Jobs beside each other on Ray; `sample-data` stands for a training that takes a minute."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest

from export.many import Job, run_many, trainings
from runtime.errors import DataError
from runtime.images.dataset import list_images
from tests.cli import lineside
from tests.edge_app.tiny_bundle import write_part, write_tiny_bundle


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for category in ("cap", "nut", "screw"):
        write_part(tmp_path / "data" / category / "train" / "good" / "0.png", 0, "good")
    return tmp_path / "data"


def test_bundles_that_are_there_are_left_as_they_are(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundles"
    write_tiny_bundle(out / "nut")
    jobs, before = trainings(data, out, (), ("--model", "patchcore"))
    assert before == ["nut"]
    assert [job.name for job in jobs] == ["cap", "screw"]
    where = ("train", "--data", str(data), "--category", "cap", "--out", str(out / "cap"))
    assert jobs[0].arguments == (*where, "--model", "patchcore")
    with pytest.raises(DataError, match="expected bolt, found cap, nut, screw; check --data"):
        trainings(data, out, ("bolt",), ())
    done = lineside("train-many", "--data", data, "--out", out, "--category", "nut", "--model", "x")
    assert (done.returncode, done.stdout) == (0, f"nut: there already, {out / 'nut'}\n")


def workers(mark: str) -> list[int]:
    """Processes of Ray that are at work for the process with this mark."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            busy = (path / "cmdline").read_bytes().startswith(b"ray::run")
            if busy and mark.encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_killed_job_is_done_again_and_costs_itself_alone(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("ray", reason="Ray comes with the extra ray")
    mark = uuid.uuid4().hex
    monkeypatch.setenv("LINESIDE_TEST_MARK", mark)
    few = ("--category", "tile", "--train", "2", "--test-good", "1", "--per-defect", "1")
    long = ("--category", "tile", "--train", "40", "--test-good", "1", "--per-defect", "1")
    small = ("--size", "64")
    jobs = [
        Job("short", ("sample-data", str(tmp_path / "short"), *few, *small)),
        Job("long", ("sample-data", str(tmp_path / "long"), *long, "--size", "256")),
        Job("wrong", ("sample-data", str(tmp_path / "wrong"), "--category", "cheese")),
    ]
    done, killed = {}, []
    for one in run_many(jobs, "local", 1):
        done[one.name] = one
        if not killed and "long" not in done:
            killed = workers(mark)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
    assert killed
    assert sorted(done) == ["long", "short", "wrong"]
    assert (done["short"].problem, done["long"].problem) == ("", "")
    assert "'cheese' is not one of" in done["wrong"].problem
    assert len(list_images(tmp_path / "long" / "tile" / "train" / "good")) == 40
