"""``lineside doctor``: what is well says ok, and each thing that is not says what to do."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.checkup import station_findings, store_findings
from edge_app.live.config import Config, read_config
from edge_app.records import RECORDS_FILE
from edge_app.records.tables import MIGRATIONS
from edge_app.store import open_store
from runtime.doctor import Finding, bundle_findings, guarded, source_findings
from runtime.doctor.installed import requirements
from runtime.doctor.machine import clock_findings, room_finding, unused_findings
from runtime.errors import BundleError
from tests.cli import lineside
from tests.edge_app.points import BUNDLE, LENGTH, make_points
from tests.edge_app.qdrant_stand_in import qdrant
from tests.runtime.tiny import write_bundle


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("doctor") / "tiny")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor") / "store"
    with open_store(str(folder), bundle=BUNDLE, embedding_length=LENGTH) as store:
        store.upsert(make_points(12))
        store.optimize(wait=True)
    return folder


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Path:
    # The index is made from the records, and is large.
    ignored = shutil.ignore_patterns("index")
    return Path(shutil.copytree(filled, tmp_path / "store", ignore=ignored))


def states(findings: list[Finding]) -> list[str]:
    return [one.state for one in findings]


def fault(findings: list[Finding]) -> Finding:
    (found,) = [one for one in findings if one.state == "fault"]
    assert found.next
    return found


def test_a_sound_machine_bundle_and_store_end_with_0(sound: Path, filled: Path) -> None:
    done = lineside("doctor", sound, "--store", filled, "--json")
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    faults = [one for one in findings if one["state"] == "fault"]
    assert (done.returncode, faults) == (0, []), done.stdout
    checks = {one["check"] for one in findings}
    assert checks == {"versions", "extras", "devices", "disk", "clock", "bundle", "store"}
    (versions,) = [one["found"] for one in findings if one["check"] == "versions"]
    assert f"numpy {np.__version__}" in versions
    assert any("12 of bundle 01234567" in one["found"] for one in findings)
    assert any("lacks 0 of" in one["found"] for one in findings)


def test_a_fault_ends_with_1_and_says_what_is_next(tmp_path: Path) -> None:
    done = lineside("doctor", "--source", tmp_path / "nowhere")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("fault")]
    assert "nowhere: expected a folder" in lines[at]
    assert lines[at + 1].strip().startswith("next: ")
    assert "1 faults" in done.stderr


def test_a_changed_file_of_a_bundle_is_a_fault(sound: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(sound, tmp_path / "copy"))
    weights = copy / "openvino" / "fp32" / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert "sha256" in fault(list(bundle_findings(copy))).found


def test_a_device_that_is_not_there_is_a_fault(sound: Path) -> None:
    assert "device NPU" in fault(list(bundle_findings(sound, device="NPU"))).found


def test_a_doctor_changes_no_store(store: Path) -> None:
    connection = sqlite3.connect(store / RECORDS_FILE)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    found = list(store_findings(str(store)))
    assert "warning" in states(found)
    assert any("records of version 1" in one.found for one in found)
    connection = sqlite3.connect(store / RECORDS_FILE)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()


def test_a_store_of_a_newer_version_is_a_fault(store: Path) -> None:
    connection = sqlite3.connect(store / RECORDS_FILE)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    assert "--upgrade" in fault(list(store_findings(str(store)))).next


@pytest.mark.parametrize("kept", [100, 5_000])
def test_damaged_records_are_a_fault_and_stay(store: Path, kept: int) -> None:
    path = store / RECORDS_FILE
    for log in store.glob(f"{RECORDS_FILE}-*"):
        log.unlink()
    damaged = path.read_bytes()[:kept] + b"\xff" * 3_000
    path.write_bytes(damaged)
    assert "damaged" in fault(list(store_findings(str(store)))).found
    assert path.read_bytes() == damaged


def test_a_lost_index_lags_and_a_part_of_the_future_is_a_clock_fault(store: Path) -> None:
    connection = sqlite3.connect(store / RECORDS_FILE)
    with connection:
        connection.execute("UPDATE bundles SET seq = 6000")
        connection.execute("UPDATE parts SET time = '2999-01-01T00:00:00+00:00' WHERE part = 1")
    connection.close()
    found = list(store_findings(str(store)))
    assert any(one.state == "warning" and "lacks 6,000 of 6,000" in one.found for one in found)
    assert fault(found).check == "clock"


def test_a_server_answers_or_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with qdrant() as url:
        (found,) = store_findings(url)
    assert found.state == "ok"
    assert "expected a Qdrant server" in fault(list(store_findings("http://127.0.0.1:1"))).found


def test_sources_a_video_a_broken_one_and_no_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, broken = tmp_path / "line.avi", tmp_path / "broken.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    broken.write_bytes(b"no video")
    (found,) = source_findings(str(video), "press")
    assert (found.state, found.found) == ("ok", f"press: {video}: a frame of 64 x 48 pixels")
    assert "whole" in fault(list(source_findings(str(broken)))).next
    assert "/dev/video99" in fault(list(source_findings("99"))).next
    (folder,) = source_findings(str(tmp_path))
    said = f"{tmp_path}: 0 pictures there now; the system tells of new ones"
    assert (folder.state, folder.found) == ("ok", said)
    monkeypatch.setattr("runtime.doctor.source.why_not_told", lambda _: "a share, nfs4")
    (folder,) = source_findings(str(tmp_path))
    assert "looked at every 0.2 s (a share, nfs4)" in folder.found


def test_a_source_that_hangs_is_given_up() -> None:
    # It takes connections and never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}/video"
        found = fault(list(source_findings(url, patience_s=0.2)))
    assert "no frame within 0 s" in found.found
    assert "secret" not in found.found


@pytest.mark.parametrize(
    ("days", "state"), [(-400, "fault"), (-0.5, "ok"), (100, "ok"), (40 * 365, "fault")]
)
def test_the_clock_is_compared_with_the_installation(days: float, state: str) -> None:
    installed = 1_750_000_000.0
    (found,) = clock_findings(installed + days * 86_400, installed)
    # Where nothing keeps the machine's clock right, a plausible time is a warning.
    assert found.state.replace("warning", "ok") == state
    assert bool(found.next) == (found.state != "ok")


@pytest.mark.parametrize(("free_mib", "state"), [(100, "fault"), (500, "warning"), (5_000, "ok")])
def test_a_disk_that_fills_up_is_told_before_it_is_full(
    free_mib: int, state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil._ntuple_diskusage(10_000 << 20, 0, free_mib << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found = room_finding(tmp_path / "not" / "there yet")
    assert (found.state, bool(found.next)) == (state, state != "ok")
    assert f"{free_mib:,} MiB free of 10,000" in found.found


def test_an_intel_device_that_openvino_does_not_find_is_told(tmp_path: Path) -> None:
    for name, vendor in (("renderD128", "0x10de"), ("renderD129", "0x8086")):
        (tmp_path / name / "device").mkdir(parents=True)
        (tmp_path / name / "device" / "vendor").write_text(f"{vendor}\n")
    (found,) = unused_findings("GPU", sorted(tmp_path.iterdir()))
    assert found.state == "warning"
    assert found.found.startswith("/dev/dri/renderD129 is Intel's, but OpenVINO finds no GPU")


def test_requirements_are_told_by_extra() -> None:
    found = requirements()
    assert {"numpy", "openvino", "msgspec"} <= set(found[""])
    assert found["onnxruntime"] == ["onnxruntime"]
    assert "gradio" in found["app"]
    assert "gradio" not in found[""]


def test_whatever_a_check_raises_is_a_fault() -> None:
    def ours() -> Iterator[Finding]:
        yield Finding("bundle", "ok", "so far")
        raise BundleError("x: expected a, found b; type: c; or d")

    found = fault(list(guarded("bundle", ours())))
    assert (found.found, found.next) == ("x: expected a, found b", "type: c; or d")

    (broken,) = guarded("devices", (1 / 0 for _ in range(1)))  # type: ignore[misc]
    assert (broken.state, broken.found) == ("fault", "ZeroDivisionError: division by zero")


@pytest.fixture
def config(sound: Path, tmp_path: Path) -> Config:
    path = tmp_path / "station.toml"
    path.write_text(
        f'bundles = ["{sound}"]\nstore = "store"\n[[sources]]\nname = "press"\nwatch = "in"\n'
        '[[outputs]]\nname = "mes"\nurl = "http://127.0.0.1:1/verdicts"\n'
    )
    (tmp_path / "in").mkdir()
    return read_config(path)


def test_a_station_is_checked_as_a_whole(config: Config) -> None:
    found = list(station_findings(config))
    assert fault(found).found.startswith("mes: expected 127.0.0.1:1 to answer")
    with socket.create_server(("127.0.0.1", 0)) as taker:
        url = f"http://127.0.0.1:{taker.getsockname()[1]}/verdicts"
        (output,) = config.outputs
        reachable = dataclasses.replace(config, outputs=(dataclasses.replace(output, url=url),))
        found = list(station_findings(reachable))
    assert set(states(found)) == {"ok"}, found
    assert {"station", "bundle", "store", "source", "output"} == {one.check for one in found}


def test_a_secret_and_tokens_that_are_missing_are_faults(config: Config, tmp_path: Path) -> None:
    (output,) = config.outputs
    asked = dataclasses.replace(
        config,
        page=dataclasses.replace(config.page, api_token_file=str(tmp_path / "tokens.json")),
        outputs=(dataclasses.replace(output, secret_variable="LINESIDE_TEST_NO_SECRET"),),
    )
    faults = [one for one in station_findings(asked) if one.state == "fault"]
    assert [one.check for one in faults] == ["station", "output"]
    assert "lineside token" in faults[0].next
    assert "LINESIDE_TEST_NO_SECRET" in faults[1].found
