"""Versions of a bundle and the draft of a part: on disk, after whatever went wrong."""

from __future__ import annotations

import shutil
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_app.line import Line, open_memory
from edge_app.page.choice import open_station
from edge_app.store import SearchFilter
from edge_app.teaching.draft import Drafts
from edge_app.teaching.teacher import Teacher
from edge_app.teaching.versions import POINTER, Versions, opened_at_work
from runtime.bundle.folder import Bundle, seal
from runtime.bundle.manifest import parse_manifest
from runtime.errors import BundleError, LinesideError, StoreError
from runtime.inspector import Inspector
from tests.edge_app.served import picture
from tests.edge_app.tiny_bundle import write_tiny_bundle
from tests.runtime.tiny import write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tile-tiny")


def add_version(bundle: Path, gain: float) -> str:
    """A version as teaching leaves it."""
    versions = Versions(bundle)
    name = versions.next()
    write_tiny_bundle(versions.path(name), gain=gain)
    versions.made(name, "screw", "anna", 20)
    return name


def at_work(bundle: Path) -> Path:
    """What would judge."""

    def opening(path: Path) -> Path:
        Bundle.open(path).close()
        return path

    return opened_at_work(bundle, opening)


def test_without_a_pointer_the_bundle_itself_judges(bundle: Path) -> None:
    versions = Versions(bundle)
    assert at_work(bundle) == bundle
    assert versions.all() == []
    with pytest.raises(BundleError, match="found none"):
        versions.go_back("anna")
    assert not versions.folder.exists()


def test_versions_go_live_and_back_and_none_is_ever_overwritten(bundle: Path) -> None:
    versions = Versions(bundle)
    names = [add_version(bundle, 2.0), add_version(bundle, 3.0)]
    assert names == ["v0001", "v0002"]
    assert [(name, about.part, about.who) for name, about in versions.all()] == [
        ("v0001", "screw", "anna"),
        ("v0002", "screw", "anna"),
    ]
    for name in (*names, names[1]):
        versions.go_live(name, "anna")
        assert at_work(bundle) == versions.folder / name
    assert versions.pointer().before == ["", "v0001"]
    assert versions.go_back("bert") == "v0001"
    assert (versions.pointer().live, versions.pointer().who) == ("v0001", "bert")
    assert versions.go_back("bert") == ""
    assert at_work(bundle) == bundle
    # A folder that was begun and never finished has its name all the same.
    (versions.folder / "v0007").mkdir()
    assert versions.next() == "v0008"
    assert len(versions.all()) == 2


@pytest.mark.parametrize(
    "content", ["", "{", '{"pointer_format": 1, "live": "../x"}', '{"pointer_format": 2}']
)
def test_a_damaged_pointer_leaves_the_bundle_at_work(
    bundle: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    add_version(bundle, 2.0)
    (Versions(bundle).folder / POINTER).write_text(content)
    assert at_work(bundle) == bundle
    assert POINTER in caplog.text


def test_a_damaged_version_leaves_the_bundle_at_work(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    versions = Versions(bundle)
    name = add_version(bundle, 2.0)
    versions.go_live(name, "")
    (versions.path(name) / "bundle.json").write_text("{")
    assert at_work(bundle) == bundle
    assert "the version v0001 that should judge cannot be used" in caplog.text


def test_what_judged_before_judges_again_and_the_screens_are_told(bundle: Path) -> None:
    versions = Versions(bundle)
    for gain in (2.0, 3.0, 4.0):
        versions.go_live(add_version(bundle, gain), "anna")
    for name in ("v0002", "v0003"):
        (versions.path(name) / "bundle.json").write_text("{")
    assert at_work(bundle) == versions.path("v0001")
    now = versions.pointer()
    assert (now.live, now.before, now.who) == ("v0001", [""], "the station")
    (versions.path("v0001") / "bundle.json").write_text("{")
    assert at_work(bundle) == bundle
    assert (versions.pointer().live, versions.pointer().before) == ("", [])
    (bundle / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match=r"bundle\.json"):
        at_work(bundle)


def golden_of_another(bundle: Path, tmp_path: Path) -> str:
    """A version that is whole, and says something else than when it was made."""
    other, name = write_bundle(tmp_path / "with-golden"), add_version(bundle, 2.0)
    target = Versions(bundle).path(name)
    shutil.copytree(other / "golden", target / "golden")
    seal(target, parse_manifest((target / "bundle.json").read_bytes()))
    return name


def test_a_version_whose_golden_pictures_come_out_otherwise_never_judges(
    bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused when it is to go live, and left for the one before when a station starts with it."""
    name = golden_of_another(bundle, tmp_path)
    with open_station([bundle], str(tmp_path / "store")) as station:
        (line,) = station.lines.values()
        teacher = Teacher(station, tmp_path / "store")
        with pytest.raises(LinesideError, match="golden"):
            teacher.go_live(line, name, "anna")
        teacher.close()
        assert Versions(bundle).pointer().live == ""
        assert line.inspect(picture(28)).prediction.pred_score == pytest.approx(100.0, abs=1.0)
    Versions(bundle).go_live(name, "anna")
    with open_station([bundle], str(tmp_path / "store")) as station:
        (line,) = station.lines.values()
        assert line.inspect(picture(28)).prediction.pred_score == pytest.approx(100.0, abs=1.0)
    assert "the version v0001 that should judge cannot be used" in caplog.text
    assert Versions(bundle).pointer().live == ""


def test_a_part_is_one_bundle_s_from_its_verdict_to_its_record(
    bundle: Path, tmp_path: Path
) -> None:
    other = write_tiny_bundle(tmp_path / "other", gain=2.0)
    content = picture(28)
    with Inspector(bundle) as old, Inspector(other) as new, ExitStack() as stack:
        first, second = (stack.enter_context(open_memory(one, "memory:")) for one in (old, new))
        line = Line(old, first, "tile-tiny")
        gains = {first.bundle: 100.0, second.bundle: 200.0}
        wrong: list[str] = []
        stop = threading.Event()

        def judge() -> None:
            while not stop.is_set():
                part = line.inspect(content)
                line.keep(line.point(part, "x.png"))
                if abs(part.prediction.pred_score - gains[part.bundle]) > 1.0:
                    wrong.append(part.bundle)

        threads = [threading.Thread(target=judge) for _ in range(2)]
        line.keep(line.point(line.inspect(content), "x.png"))
        for thread in threads:
            thread.start()
        for _ in range(20):
            assert line.renew(new, second) is old
            assert line.renew(old, first) is new
        line.renew(new, second)
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        # What was judged before is found still, and may be given a word.
        assert [one.bundle for one in line.stores] == [second.bundle, first.bundle]
        light = first.recent(SearchFilter(), None, 1)[0]
        point = first.get(light.point_id)
        assert point is not None
        line.record(point, "wrong", "anna")
        assert first.words(point.point_id)[0].what == "wrong"


def test_a_station_starts_with_the_version_that_was_live(bundle: Path) -> None:
    add_version(bundle, 2.0)
    Versions(bundle).go_live("v0001", "")
    with open_station([bundle], "memory:") as station:
        line = next(iter(station.lines.values()))
        assert line.name == "tile-tiny"
        assert line.inspect(picture(28)).prediction.pred_score == pytest.approx(200.0, abs=1.0)


def test_what_a_power_cut_has_left_of_a_version_is_taken_away(bundle: Path, tmp_path: Path) -> None:
    add_version(bundle, 2.0)
    half = Versions(bundle).folder / ".v0002.abcd"
    half.mkdir()
    (half / "model.xml").write_text("<")
    with open_station([bundle], "memory:") as station:
        teacher = Teacher(station, tmp_path / "store")
        teacher.resume()
        teacher.close()
    assert sorted(one.name for one in Versions(bundle).folder.iterdir()) == ["v0001", "v0001.json"]


def test_a_draft_keeps_its_pictures_over_a_restart(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path)
    with pytest.raises(StoreError, match="begin with its name"):
        drafts.add([("a.png", picture(0))])
    drafts.begin("tile", "screw", "anna", "one")
    refused = drafts.add(
        [
            ("a.png", picture(0)),
            ("b.jpg", picture(60, ".jpg")),
            ("c.png", b"none"),
            ("d", picture(0)),
        ]
    )
    assert [one.split(":")[0] for one in refused] == ["c.png", "d"]
    assert drafts.take_out(2, out=True)
    assert not drafts.take_out(9, out=True)
    again = Drafts(tmp_path)
    assert again.now == drafts.now
    assert again.now is not None
    assert [(one.file, one.out) for one in again.now.pictures] == [
        ("0001.png", False),
        ("0002.jpg", True),
    ]
    assert [path.name for path in again.good.iterdir()] == ["0001.png"]
    assert again.thumbnail(2) is not None
    assert again.thumbnail(3) is None
    again.take_out(2, out=False)
    assert sorted(path.name for path in again.good.iterdir()) == ["0001.png", "0002.jpg"]


def test_a_draft_after_a_power_cut_is_what_lies_there(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path)
    drafts.begin("tile", "screw", "", "one")
    drafts.add([(f"{at}.png", picture(20 * at)) for at in range(3)])
    # Moved, and not yet written down; copied in, and not yet written down; lost.
    (drafts.good / "0001.png").replace(tmp_path / "teaching" / "out" / "0001.png")
    shutil.copy(drafts.good / "0002.png", drafts.good / "0004.png")
    (drafts.good / "0003.png").unlink()
    found = Drafts(tmp_path).now
    assert found is not None
    assert [(one.number, one.out) for one in found.pictures] == [(1, True), (2, False)]
    assert [path.name for path in drafts.good.iterdir()] == ["0002.png"]
