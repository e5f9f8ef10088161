"""An engine that raises, hangs or goes away: every part gets a verdict, and the line goes on."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lineside import FakeEngine
from runtime.engines import supervision
from runtime.engines.supervision import PAUSES_S
from runtime.engines.watchdog import Watchdog
from runtime.errors import EngineError
from runtime.inspector import Inspector
from tests.cli import lineside
from tests.runtime.faults import After, hanging, opens, pictures, raising, without
from tests.runtime.tiny import computed, random_image, write_bundle

LOST = RuntimeError("device lost")
FAULTS = {
    "device lost": (raising(LOST), "RuntimeError: device lost"),
    "out of memory": (raising(MemoryError()), "MemoryError"),
    "many lines": (raising(ValueError("first\nsecond")), "ValueError: first"),
    "missing output": (without("pred_score"), "pred_score: expected this output, found none"),
    "no dictionary": (lambda _: None, "TypeError"),
    "hang": (hanging, "no answer within 0.5 s"),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_costs_one_part_its_verdict_and_the_engine_is_opened_again(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    handler, reason = FAULTS[kind]
    opened = opens(monkeypatch, After(2, handler), computed)
    with Inspector(bundle, deadline_s=0.5) as inspector:
        found = [inspector.inspect(random_image(seed, 110)) for seed in range(5)]
    assert [one.verdict for one in found] == [
        "anomalous",
        "anomalous",
        "cannot_judge",
        "anomalous",
        "anomalous",
    ]
    assert f"the engine failed: {reason}" in found[2].reason
    assert "\n" not in found[2].reason
    assert found[2].to_json()["pred_score"] is None
    assert opened.count == 2


def test_a_fault_is_raised_where_scores_are_counted(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, raising(LOST))
    with Inspector(bundle) as inspector, pytest.raises(EngineError, match="device lost"):
        inspector.inspect(random_image(0), strict=True)
    with Inspector(bundle, scores_only=True) as inspector, pytest.raises(EngineError):
        inspector.inspect(random_image(0))


def test_an_engine_that_was_handed_over_is_tried_again_as_it_is(bundle: Path) -> None:
    calls = 0

    def flaky(inputs: dict) -> dict:
        nonlocal calls
        calls += 1
        return computed(inputs) if calls != 2 else raising(LOST)(inputs)

    with Inspector(bundle, engine=FakeEngine(flaky)) as inspector:
        found = [inspector.inspect(random_image(seed, 110)).verdict for seed in range(4)]
    assert found == ["anomalous", "cannot_judge", "anomalous", "anomalous"]


def test_the_attempts_are_bounded_and_further_and_further_apart(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(supervision.time, "monotonic", lambda: now)
    opened = opens(monkeypatch, raising(LOST), EngineError("no such device"))
    at = []
    with Inspector(bundle) as inspector:
        for _ in range(4000):
            before = opened.count
            found = inspector.inspect(random_image(0))
            assert found.verdict == "cannot_judge"
            if opened.count > before:
                at.append(now)
            now += 0.5
    assert len(at) == len(PAUSES_S)
    assert np.diff(at).tolist() == sorted(np.diff(at).tolist())
    assert at[-1] <= sum(PAUSES_S) + len(PAUSES_S)
    assert "opened again 10 times in vain" in found.reason


def test_it_says_when_it_tries_again_and_recovers(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    caplog.set_level("INFO", "lineside")
    monkeypatch.setattr(supervision.time, "monotonic", lambda: now)
    opens(monkeypatch, raising(LOST), EngineError("no such device"), computed)
    with Inspector(bundle) as inspector:
        reasons = [inspector.inspect(random_image(0)).reason for _ in range(3)]
        assert reasons[0] == "the engine failed: RuntimeError: device lost"
        assert reasons[1] == "the engine failed and could not be opened again: no such device"
        assert reasons[2] == "the engine failed: no such device; it is opened again in 1 s"
        now = 1.5
        assert inspector.inspect(random_image(0, 110)).verdict == "anomalous"
    assert "no part is judged" in caplog.text
    assert "parts are judged again" in caplog.text


def test_no_part_waits_longer_for_an_engine_that_hangs_while_it_is_opened(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    opened = opens(monkeypatch, raising(LOST), computed)

    def slow(*arguments: object) -> FakeEngine:
        gate.wait(20)
        return opened(*arguments)

    with Inspector(bundle, deadline_s=0.3) as inspector:
        assert "device lost" in inspector.inspect(random_image(0, 110)).reason
        monkeypatch.setattr("runtime.inspector.open_engine", slow)
        for _ in range(3):
            began = time.monotonic()
            found = inspector.inspect(random_image(0, 110))
            assert time.monotonic() - began < 5
            assert found.verdict == "cannot_judge"
            assert "it is being opened again" in found.reason
        gate.set()
        end = time.monotonic() + 20
        while found.verdict == "cannot_judge" and time.monotonic() < end:
            found = inspector.inspect(random_image(0, 110))
    assert found.verdict == "anomalous"
    assert opened.count == 2, "one attempt, however many parts came meanwhile"


def test_a_hang_while_it_is_closed_holds_nothing_up(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, computed)
    with Inspector(bundle, deadline_s=0.3) as inspector:
        inspector.inspect(random_image(0))
        monkeypatch.setattr(FakeEngine, "close", lambda _: threading.Event().wait(20))
        began = time.monotonic()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", ["device lost", "missing output", "hang"])
@pytest.mark.parametrize("command", ["inspect", "watch"])
@pytest.mark.parametrize("count", [5, 20], ids=["one stream", "many streams"])
def test_every_part_of_a_command_gets_a_verdict(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    command: str,
    count: int,
) -> None:
    handler, reason = FAULTS[kind]
    paths = pictures(tmp_path / "in", count)
    opens(monkeypatch, After(3, handler), EngineError("no such device"))
    options = ["--json", "--deadline", "0.5", *(["--once"] if command == "watch" else [])]
    done = lineside(command, bundle, tmp_path / "in", *options)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    failed = [row for row in rows if row["verdict"] == "cannot_judge"]
    assert {row["verdict"] for row in rows if row not in failed} <= {"anomalous"}
    # The canary of watch, on each stream, is among the three that went well.
    assert count - 3 <= len(failed) <= count - (3 if command == "inspect" else 0)
    assert all(row["pred_score"] is None and "the engine failed" in row["reason"] for row in failed)
    assert any(reason in row["reason"] for row in failed)


def test_streams_that_fail_at_once_open_the_engine_once(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = opens(monkeypatch, raising(LOST), computed)
    with Inspector(bundle, streams=4) as inspector:
        threads = [
            threading.Thread(target=inspector.inspect, args=(random_image(seed, 110),))
            for seed in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert inspector.inspect(random_image(9, 110)).verdict == "anomalous"
    assert opened.count == 2


def test_the_watchdog_hands_results_and_errors_on_and_leaves_a_hang_behind() -> None:
    before = set(threading.enumerate())
    dog = Watchdog()
    assert dog.call(lambda: 7, 1.0) == 7
    with pytest.raises(ZeroDivisionError):
        dog.call(lambda: 1 // 0, 1.0)
    gate = threading.Event()
    with pytest.raises(EngineError, match=r"no answer within 0\.1 s"):
        dog.call(gate.wait, 0.1)
    assert dog.call(lambda: 8, 1.0) == 8, "not the late result of the call before"
    gate.set()
    dog.close()
    time.sleep(0.2)
    assert set(threading.enumerate()) <= before


def test_the_watchdog_costs_microseconds() -> None:
    dog = Watchdog()
    took = []
    for _ in range(2000):
        began = time.perf_counter()
        dog.call(lambda: None, 10.0)
        took.append(time.perf_counter() - began)
    dog.close()
    # A shared machine may be busy: the median alone says something.
    assert float(np.median(took)) < 500e-6
