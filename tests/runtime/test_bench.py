"""lineside bench: figures against an independent reckoning, the takt's verdict, a sustained run and
its drift."""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import time
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.bench import measure
from runtime.bench.stages import StageTimes, Takt, against_takt, summarize, time_stages
from runtime.bench.sustained import clock_mhz, drift_of, run_sustained, throttle_events
from runtime.health.baseline import Health
from runtime.inspector import Inspector
from runtime.prediction import Prediction
from tests.cli import COMMAND, lineside
from tests.runtime.tiny import write_bundle
from tests.runtime.unwell import write_healthy_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


def times_of(total: list[float]) -> StageTimes:
    ones = [array("d", [1.0] * len(total)) for _ in range(5)]
    return StageTimes(*ones, array("d", total))


def test_the_summary_is_that_of_the_statistics_module() -> None:
    total = [5.0, 7.0, 6.0, 40.0, 5.5, 6.5, 6.0]
    found = summarize(times_of(total))
    assert found["p50_ms"] == statistics.median(total)
    assert found["max_ms"] == 40.0
    assert found["jitter_ms"] == pytest.approx(statistics.pstdev(total))
    assert found["p95_ms"] == pytest.approx(
        statistics.quantiles(total, n=20, method="inclusive")[-1]
    )
    assert found["images_per_second"] == pytest.approx(1000 / 6.0)


def test_the_stages_are_those_of_the_inspector_and_the_heat_map_stands_apart(bundle: Path) -> None:
    with Inspector(bundle) as inspector:
        times = time_stages(inspector, bundle / "golden" / "0.png", 15)
    assert len(times.total) == len(times.post) == 15
    for index, total in enumerate(times.total):
        parts = [getattr(times, stage)[index] for stage in ("decode", "resize", "infer", "judge")]
        assert total == pytest.approx(sum(parts), abs=1e-6)
        assert min(*parts, times.post[index]) > 0


def test_the_takt_is_that_of_the_real_path_with_the_check_of_pictures_in_it(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    healthy = write_healthy_bundle(tmp_path / "healthy")
    picture = bundle / "golden" / "0.png"

    def slowly(self: Health, *arguments: object) -> str:
        time.sleep(0.02)
        return ""

    monkeypatch.setattr(Health, "reason", slowly)
    with Inspector(healthy) as inspector:
        prediction = inspector.inspect(picture)
        times = time_stages(inspector, picture, 5)
    assert prediction.times.judge >= 20 > prediction.times.infer
    assert prediction.latency_ms >= 20
    assert summarize(times)["judge_p50_ms"] >= 20
    assert not against_takt(times.total, 20.0).keeps_takt


def test_the_takt_is_judged_by_the_99th_percentile() -> None:
    quick, slow = [10.0] * 995, [60.0] * 5
    assert against_takt(quick + slow, 50.0) == Takt(50.0, keeps_takt=True, late_share=0.005)
    found = against_takt(quick + 4 * slow, 50.0)
    assert found.keeps_takt is False
    assert found.late_share == pytest.approx(20 / 1015)


def test_a_takt_that_is_not_kept_fails_and_is_said(bundle: Path) -> None:
    missed = lineside("bench", bundle, "--repetitions", 20, "--takt-ms", 0.001)
    assert missed.returncode == 1
    assert "takt 0.001 ms: FAIL" in missed.stdout
    assert "100.00% of the parts late" in missed.stdout
    assert "Traceback" not in missed.stderr


@pytest.mark.parametrize(
    ("medians", "drift"),
    [
        ([4.0] * 10, 1.0),
        ([4.0] * 5 + [5.0] * 5, 1.25),
        ([4.0], 1.0),
        ([4.0, 4.0, 9.0, 4.0, 4.4], 1.1),
    ],
)
def test_drift_compares_the_ends(medians: list[float], drift: float) -> None:
    assert drift_of(medians) == pytest.approx(drift)


class Hot:
    """An inspector whose box gets hot: real inferences, each followed by a longer and longer
    pause."""

    def __init__(self, inspector: Inspector, per_call_s: float) -> None:
        self.inner, self.step, self.calls = inspector, per_call_s, 0

    def inspect(self, picture: Path, *, strict: bool = False) -> Prediction:
        self.calls += 1
        pause = 0.002 + self.step * self.calls
        time.sleep(pause)
        found = self.inner.inspect(picture, strict=strict)
        return replace(found, times=replace(found.times, infer=found.times.infer + 1e3 * pause))


@pytest.mark.slow
def test_a_box_that_gets_slower_is_seen_to_throttle(bundle: Path) -> None:
    with Inspector(bundle) as inspector:
        hot = Hot(inspector, 1e-4)
        found = run_sustained(hot, bundle / "golden" / "0.png", 5.0)  # type: ignore[arg-type]
    assert found.drift > 1.5
    assert found.to_json()["throttled"] is True
    assert (
        sum(interval.images for interval in found.intervals) == len(found.times.total) == hot.calls
    )
    assert [interval.at_s for interval in found.intervals] == sorted(
        i.at_s for i in found.intervals
    )


def test_clocks_and_throttle_events_are_read_where_linux_has_them(tmp_path: Path) -> None:
    assert clock_mhz(tmp_path) is None
    assert throttle_events(tmp_path) is None
    for cpu, (khz, events) in enumerate(((2_400_000, 3), (1_200_000, 0))):
        for name, value in (
            ("cpufreq/scaling_cur_freq", khz),
            ("thermal_throttle/core_throttle_count", events),
        ):
            path = tmp_path / f"cpu{cpu}" / name
            path.parent.mkdir(parents=True)
            path.write_text(f"{value}\n")
    (tmp_path / "cpu0" / "cpufreq" / "scaling_cur_freq").write_text("2400000\n")
    assert clock_mhz(tmp_path) == 1800.0
    assert throttle_events(tmp_path) == 3


@pytest.mark.slow
def test_a_sustained_run_is_told_and_decides_about_the_takt(bundle: Path) -> None:
    done = lineside("bench", bundle, "--repetitions", 20, "--minutes", 0.05, "--takt-ms", 5000)
    assert done.returncode == 0, done.stderr
    assert "takt 5000 ms: PASS" in done.stdout
    assert re.search(r"sustained 3 s, \d+ parts: (steady|THROTTLES)", done.stdout)
    report = measure(bundle, repetitions=5, minutes=0.02, takt_ms=1e-6)
    assert report.takt is not None
    assert report.sustained is not None
    assert report.takt.late_share == 1.0
    sustained = report.to_json()["sustained"]
    assert sustained["seconds"] >= 1
    assert sustained["images"] == sum(interval["images"] for interval in sustained["intervals"])
    assert sustained["interrupted"] is False
    assert {"drift", "throttled", "throttle_events"} <= sustained.keys()


@pytest.mark.slow
def test_ctrl_c_ends_a_sustained_run_with_what_was_measured(bundle: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "bench", bundle, "--repetitions", "5", "--minutes", "10", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "Ctrl-C" in process.stderr.readline()
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    found = json.loads(out)["sustained"]
    assert found["interrupted"] is True
    assert found["images"] > 0


@pytest.mark.parametrize(
    "options", [("--takt-ms", "inf"), ("--takt-ms", "nan"), ("--minutes", "nan")]
)
def test_what_is_no_finite_number_is_refused_before_measuring(
    bundle: Path, options: tuple[str, str]
) -> None:
    done = lineside("bench", bundle, *options, "--json")
    assert done.returncode == 2
    assert "expected a finite number" in done.stderr
