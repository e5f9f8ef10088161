"""lineside bench: figures against an independent reckoning, the takt's verdict, a sustained run and its drift."""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import time
from array import array
from pathlib import Path
from xml.etree import ElementTree

import pytest
from runtime.bench.plot import latency_plot

from runtime.bench.stages import StageTimes, against_takt, summarize, time_stages
from runtime.bench.sustained import (
    Interval,
    Sustained,
    clock_mhz,
    drift_of,
    run_sustained,
    throttle_events,
)
from runtime.inspector import Inspector
from tests.runtime.tiny import write_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


def command(bundle: Path, *options: object) -> list[str]:
    return [sys.executable, "-P", "-m", "lineside", "bench", str(bundle), *map(str, options)]


def run(bundle: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(bundle, *options), capture_output=True, text=True, check=False, timeout=120
    )


def times_of(total: list[float]) -> StageTimes:
    ones = [array("d", [1.0] * len(total)) for _ in range(4)]
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


def test_the_stages_make_up_the_whole_and_the_heat_map_stands_apart(bundle: Path) -> None:
    with Inspector(bundle) as inspector:
        times = time_stages(inspector, bundle / "golden" / "0.png", 15)
    assert len(times.total) == len(times.post) == 15
    for index, total in enumerate(times.total):
        parts = times.decode[index] + times.resize[index] + times.infer[index]
        assert total == pytest.approx(parts, abs=1e-6)
        assert times.post[index] > 0


def test_the_takt_is_judged_by_the_99th_percentile() -> None:
    quick, slow = [10.0] * 995, [60.0] * 5
    assert against_takt(quick + slow, 50.0) == {
        "takt_ms": 50.0,
        "keeps_takt": True,
        "late_share": 0.005,
    }
    found = against_takt(quick + 4 * slow, 50.0)
    assert found["keeps_takt"] is False
    assert found["late_share"] == pytest.approx(20 / 1015)


def test_a_takt_that_is_not_kept_fails_and_is_said(bundle: Path) -> None:
    kept = run(bundle, "--repetitions", 20, "--takt-ms", 5000)
    assert kept.returncode == 0, kept.stderr
    assert "takt 5000 ms: PASS" in kept.stdout
    missed = run(bundle, "--repetitions", 20, "--takt-ms", 0.001)
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
    """An inspector whose box gets hot: real inferences, each followed by a longer and longer pause."""

    def __init__(self, inspector: Inspector, per_call_s: float) -> None:
        self.inner, self.step, self.calls = inspector, per_call_s, 0
        self.size_hw, self.bundle = inspector.size_hw, inspector.bundle

    def infer(self, image: object) -> object:
        self.calls += 1
        time.sleep(0.002 + self.step * self.calls)
        return self.inner.infer(image)  # type: ignore[arg-type]


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
def test_a_sustained_run_and_its_plot(bundle: Path, tmp_path: Path) -> None:
    plot = tmp_path / "latency.svg"
    done = run(
        bundle, "--repetitions", 20, "--minutes", 0.05, "--takt-ms", 5000, "--plot", plot, "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    sustained = found["sustained"]
    assert sustained["seconds"] >= 3
    assert sustained["images"] == sum(interval["images"] for interval in sustained["intervals"])
    assert sustained["interrupted"] is False
    assert {"drift", "throttled", "throttle_events"} <= sustained.keys()
    text = "".join(ElementTree.parse(plot).getroot().itertext())
    assert "tile-tiny" in text
    drawn = re.search(r"p50 (\d+\.\d\d) ms", text)
    # JSON keeps three decimals: rounding those once more need not give the two drawn here.
    assert drawn is not None and float(drawn[1]) == pytest.approx(found["p50_ms"], abs=0.0056)
    assert "takt 5000 ms" in text
    assert f"{sustained['images']} parts" in text


@pytest.mark.slow
def test_ctrl_c_ends_a_sustained_run_with_what_was_measured(bundle: Path) -> None:
    process = subprocess.Popen(
        command(bundle, "--repetitions", 5, "--minutes", 10, "--json"),
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
    ("name", "message"), [("latency.png", "ends in .svg"), ("nowhere/latency.svg", "mkdir -p")]
)
def test_a_plot_that_cannot_be_written_is_said_before_measuring(
    bundle: Path, tmp_path: Path, name: str, message: str
) -> None:
    done = run(bundle, "--plot", tmp_path / name)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stdout == ""


def test_a_run_of_one_interval_can_be_drawn() -> None:
    times = times_of([4.0, 5.0])
    drawn = latency_plot(
        "one", times, None, Sustained([Interval(1.0, 2, 4.5, 5.0, None)], times, None, True)
    )
    assert ElementTree.fromstring(drawn).tag.endswith("svg")


@pytest.mark.parametrize(
    "options", [("--takt-ms", "inf"), ("--takt-ms", "nan"), ("--minutes", "nan")]
)
def test_what_is_no_finite_number_is_refused_before_measuring(
    bundle: Path, options: tuple[str, str]
) -> None:
    done = run(bundle, *options, "--json")
    assert done.returncode == 2
    assert "expected a finite number" in done.stderr
