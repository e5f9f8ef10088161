"""An engine in a process of its own: real workers, really killed."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.engines.isolated import frames
from runtime.engines.isolated.engine import IsolatedEngine
from runtime.errors import EngineError
from runtime.inspector import Inspector
from tests.cli import lineside
from tests.runtime.faults import pictures
from tests.runtime.tiny import random_image, write_bundle

WITHIN_S = 5.0


@settings(max_examples=40)
@given(
    st.dictionaries(st.text(max_size=8), st.integers(-(2**31), 2**31), max_size=3),
    st.lists(
        st.tuples(
            st.sampled_from(["<f4", "|u1", "<i8", "|b1"]),
            st.lists(st.integers(0, 5), max_size=4),
        ),
        max_size=3,
    ),
)
def test_a_message_arrives_as_it_was_sent(
    message: dict[str, int], told: list[tuple[str, list[int]]]
) -> None:
    message.pop("arrays", None)
    arrays = {
        str(number): np.random.default_rng(number).integers(0, 2, shape).astype(kind)
        for number, (kind, shape) in enumerate(told)
    }
    stream = io.BytesIO()
    frames.send(stream, message, arrays)
    stream.seek(0)
    found, other = frames.receive(stream)
    assert found == message
    assert list(other) == list(arrays)
    for name, value in arrays.items():
        assert other[name].dtype == value.dtype
        np.testing.assert_array_equal(other[name], value)
    with pytest.raises(EOFError):
        frames.receive(stream)


@pytest.mark.parametrize(
    "header",
    [
        b'{"arrays": [["x", "|O", [1]]]}',
        b'{"arrays": [["x", "<f4", [1000000000]]]}',
        b'{"arrays": [["x", "<f4", [-1]]]}',
        b"{",
    ],
)
def test_what_is_no_message_is_refused(header: bytes) -> None:
    """Objects above all: they would be a pickle."""
    stream = io.BytesIO(len(header).to_bytes(4, "little") + header + bytes(64))
    with pytest.raises(ValueError, match=r"expected|truncated"):
        frames.receive(stream)
    with pytest.raises(ValueError, match="header"):
        frames.receive(io.BytesIO(b"\xff" * 64))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="module")
def isolated(bundle: Path) -> Iterator[Inspector]:
    with Inspector(bundle, isolate=True, deadline_s=WITHIN_S) as found:
        yield found


def worker(inspector: Inspector) -> IsolatedEngine:
    found = inspector._engine._engine
    assert isinstance(found, IsolatedEngine)
    return found


@pytest.mark.slow
def test_it_says_what_it_says_in_this_process(bundle: Path, isolated: Inspector) -> None:
    with Inspector(bundle) as inside:
        for seed in range(3):
            here, there = (
                one.inspect(random_image(seed, 110), strict=True) for one in (inside, isolated)
            )
            assert here.pred_score == there.pred_score
            np.testing.assert_array_equal(here.anomaly_map, there.anomaly_map)
            np.testing.assert_array_equal(here.embedding, there.embedding)


def judged_again(inspector: Inspector) -> None:
    """Until then nothing is judged: before a second attempt there is a pause."""
    end = time.monotonic() + 2 * WITHIN_S
    while (found := inspector.inspect(random_image(3, 110))).verdict == "cannot_judge":
        assert time.monotonic() < end, found.reason
        time.sleep(0.05)
    assert found.verdict == "anomalous"


def starve(pid: int) -> None:
    """As a container's limit does: not one more page than it has."""
    has = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (has, has))


FAULTS: dict[str, tuple[Callable[[int], None], str]] = {
    "crash": (lambda pid: os.kill(pid, signal.SIGSEGV), "the engine's process ended (SIGSEGV)"),
    # By the kernel, which ends the largest process.
    "no memory": (lambda pid: os.kill(pid, signal.SIGKILL), "the engine's process ended (SIGKILL)"),
    "hang": (lambda pid: os.kill(pid, signal.SIGSTOP), "no answer within 0.5 s"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_what_ends_the_worker_costs_one_verdict(
    isolated: Inspector, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    strike, reason = FAULTS[kind]
    # As one that has been steady for long: the first attempt comes at once.
    monkeypatch.setattr(isolated._engine, "_attempts", 0)
    assert isolated.inspect(random_image(1, 110)).verdict == "anomalous"
    pid = worker(isolated).pid
    if kind == "hang":
        monkeypatch.setattr(isolated._engine, "_deadline_s", 0.5)
    strike(pid)
    begin = time.monotonic()
    found = isolated.inspect(random_image(2, 110))
    assert found.verdict == "cannot_judge"
    assert found.is_fault
    assert found.reason == f"the engine failed: {reason}"
    monkeypatch.setattr(isolated._engine, "_deadline_s", WITHIN_S)
    judged_again(isolated)
    assert time.monotonic() - begin < WITHIN_S
    assert worker(isolated).pid != pid
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_a_worker_without_memory_costs_verdicts_and_never_a_wrong_one(isolated: Inspector) -> None:
    """A limit is not a kill: what cannot be allocated is an exception, or the end of the worker."""
    starve(worker(isolated).pid)
    found = [isolated.inspect(random_image(seed, 110)) for seed in range(4)]
    assert {one.verdict for one in found} <= {"anomalous", "cannot_judge"}
    os.kill(worker(isolated).pid, signal.SIGKILL)
    judged_again(isolated)


@pytest.mark.slow
def test_every_part_of_a_command_has_a_verdict_when_the_engine_crashes(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, run = [0], IsolatedEngine.run

    def crashing(self: IsolatedEngine, inputs: dict) -> dict:
        calls[0] += 1
        if calls[0] == 2:
            os.kill(self.pid, signal.SIGSEGV)
        return run(self, inputs)

    monkeypatch.setattr(IsolatedEngine, "run", crashing)
    pictures(tmp_path / "in", 4)
    done = lineside("inspect", bundle, tmp_path / "in", "--isolate", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    verdicts = [row["verdict"] for row in rows]
    assert verdicts == ["anomalous", "cannot_judge", "anomalous", "anomalous"]
    assert "SIGSEGV" in rows[1]["reason"]
    assert done.returncode == 1


@pytest.mark.slow
def test_a_model_that_cannot_be_opened_is_said_by_the_worker(bundle: Path) -> None:
    with pytest.raises(EngineError, match="expected one that this machine has, found CPU"):
        IsolatedEngine("openvino", bundle / "openvino/fp32/model.xml", "GPU.7")
    with pytest.raises(EngineError, match="OpenVINO could not compile"):
        IsolatedEngine("openvino", bundle / "missing.xml")
