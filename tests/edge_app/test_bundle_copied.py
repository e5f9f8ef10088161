"""A bundle that is copied by hand over the one at work."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.line import Line
from edge_app.page.choice import Station, open_station
from edge_app.teaching import replaced
from edge_app.teaching.replaced import Copies, taking_over_copies
from runtime.bundle.folder import pack_archive, seal
from runtime.bundle.manifest import parse_manifest
from runtime.errors import EngineError
from runtime.inspector import Inspector
from tests.edge_app.served import picture
from tests.edge_app.tiny_bundle import write_tiny_bundle
from tests.runtime.faults import raising
from tests.runtime.tiny import write_bundle

# By how much a part of level 28 differs from the grey that is right, and with which limit.
BEFORE, AFTER = (100.0, 64.0), (200.0, 128.0)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tile-tiny")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "other", gain=2.0)


@pytest.fixture
def station(bundle: Path) -> Iterator[Station]:
    with open_station([bundle], "memory:") as found:
        yield found


def line_of(station: Station) -> Line:
    return next(iter(station.lines.values()))


def said(station: Station) -> tuple[float, float]:
    """Raw score and limit, of a part that has a verdict."""
    found = line_of(station).inspect(picture(28)).prediction
    assert found.verdict == "anomalous", found.reason
    return round(found.pred_score), found.threshold.image_threshold


def copy(source: Path, target: Path) -> None:
    """As ``cp -r`` does: into the files that are there."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


def test_a_whole_one_judges_once_it_is_there(station: Station, bundle: Path, other: Path) -> None:
    copies = Copies(station)
    copies.look()
    assert said(station) == BEFORE
    copy(other, bundle)
    copies.look()
    # Still the one before, with its own limit: the copy may be half.
    assert said(station) == BEFORE
    copies.look()
    assert said(station) == AFTER
    assert line_of(station).notice == ""
    copies.look()
    assert said(station) == AFTER


def test_half_a_copy_is_told_and_taken_over_when_it_is_whole(
    station: Station, bundle: Path, other: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copies = Copies(station)
    for name in ("bundle.json", "thresholds.json"):
        shutil.copy(other / name, bundle / name)
    for _ in range(4):
        copies.look()
        assert said(station) == BEFORE
    part = line_of(station).inspect(picture(28))
    assert "is not used, and the one before judges" in part.warning
    assert "copy the bundle again" in part.warning
    # Once, not at every look.
    assert caplog.text.count("is not used") == 1
    copy(other, bundle)
    copies.look()
    copies.look()
    assert said(station) == AFTER
    assert line_of(station).inspect(picture(28)).warning == ""


def test_one_whose_golden_pictures_come_out_otherwise_never_judges(
    station: Station, bundle: Path, other: Path, tmp_path: Path
) -> None:
    shutil.copytree(write_bundle(tmp_path / "with-golden") / "golden", other / "golden")
    seal(other, parse_manifest((other / "bundle.json").read_bytes()))
    was = tmp_path / "was"
    shutil.copytree(bundle, was)
    copy(other, bundle)
    copies = Copies(station)
    for _ in range(3):
        copies.look()
        assert said(station) == BEFORE
    assert "golden" in line_of(station).notice
    shutil.rmtree(bundle)
    copy(was, bundle)
    copies.look()
    assert line_of(station).notice == ""
    assert said(station) == BEFORE


def test_a_copy_of_the_same_changes_nothing(station: Station, bundle: Path) -> None:
    before = line_of(station).inspector
    copies = Copies(station)
    for path in bundle.rglob("*"):
        os.utime(path)
    for _ in range(3):
        copies.look()
    assert line_of(station).inspector is before
    assert said(station) == BEFORE


def test_a_packed_one_is_taken_over_alike(bundle: Path, other: Path, tmp_path: Path) -> None:
    packed, new = tmp_path / "tile.lineside", tmp_path / "new.lineside"
    pack_archive(bundle, packed)
    pack_archive(other, new)
    with open_station([packed], "memory:") as station:
        copies = Copies(station)
        packed.write_bytes(new.read_bytes()[:-100])
        for _ in range(3):
            copies.look()
        assert said(station) == BEFORE
        assert "is not used" in line_of(station).notice
        packed.write_bytes(new.read_bytes())
        for _ in range(3):
            copies.look()
        assert said(station) == AFTER


def test_a_station_looks_by_itself(
    station: Station, bundle: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaced, "LOOK_S", 0.05)
    with taking_over_copies(station):
        copy(other, bundle)
        until = time.monotonic() + 30
        while said(station) == BEFORE:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert said(station) == AFTER


def test_an_engine_that_fails_is_not_opened_from_another_bundles_file(
    bundle: Path, other: Path
) -> None:
    with Inspector(bundle) as inspector:
        assert inspector.inspect(picture(28)).verdict == "anomalous"
        copy(other, bundle)
        inspector._engine._engine.run = raising(EngineError("lost"))  # type: ignore[method-assign]
        assert inspector.inspect(picture(29)).verdict == "cannot_judge"
        found = inspector.inspect(picture(30))
        assert found.verdict == "cannot_judge"
        assert "expected sha256" in found.reason
