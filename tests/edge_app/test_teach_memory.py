"""A version that goes live knows the parts of before: described once more, else as they were."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.fingerprint import bundle_fingerprint
from edge_app.line import Line
from edge_app.live.keeping import Pictures, frame_of
from edge_app.page.choice import open_station
from edge_app.records.feedback import read_parts
from edge_app.review.reading import histogram_of, review_of
from edge_app.store import NeighborStore, PartPoint, SearchFilter
from edge_app.teaching import remembering
from edge_app.teaching.jobs import Job
from edge_app.teaching.remembering import earlier_parts
from edge_app.teaching.teacher import Teacher
from edge_app.teaching.versions import Versions
from runtime.bundle.folder import Bundle, seal
from runtime.bundle.manifest import FROM_FEEDBACK, MODELS
from runtime.errors import StoreError
from runtime.images.dataset import Part
from runtime.inspector import Inspector
from tests.edge_app.served import picture
from tests.edge_app.test_teach_versions import add_version
from tests.edge_app.tiny_bundle import write_tiny_bundle

# Two are darker than a part should be, and their descriptors are alike.
LEVELS = (134, 20, 240, 130, 10)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tile-tiny")


@contextmanager
def box(bundle: Path, store: Path) -> Iterator[tuple[Line, Teacher]]:
    """A line with its teacher, which goes on with what was under way."""
    with (
        open_station([bundle], str(store)) as station,
        closing(Teacher(station, store)) as teacher,
    ):
        teacher.resume()
        yield station.lines[station.names["tile-tiny"]], teacher


def judged(line: Line, folder: Path) -> list[PartPoint]:
    """Parts from files, the darkest of which an operator has called good."""
    folder.mkdir(exist_ok=True)
    found = []
    for at, level in enumerate(LEVELS):
        path = folder / f"{at}.png"
        path.write_bytes(picture(level))
        part = line.inspect(path.read_bytes())
        point = line.point(part, path.name, Part(path, ""), camera="press")
        line.keep(point)
        found.append(point)
        time.sleep(0.002)
    line.record(found[-1], "wrong", "anna", note="only dust")
    return found


def ended(teacher: Teacher) -> Job:
    for _ in range(1000):
        found = teacher.memory.now
        if found.kind and not found.running:
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def all_of(store: NeighborStore) -> dict[str, PartPoint]:
    return {Path(one.path).name: one for page in store.scroll() for one in page}


def test_earlier_parts_are_neighbors_with_the_verdict_and_the_word_that_they_had(
    bundle: Path, tmp_path: Path
) -> None:
    version = add_version(bundle, 2.0)
    with box(bundle, tmp_path / "store") as (line, teacher):
        before = judged(line, tmp_path / "parts")
        (tmp_path / "parts" / "3.png").unlink()
        old = line.store
        teacher.go_live(line, version, "bert")
        found = ended(teacher)
        assert (found.failed, found.lines) == ("", ["4", "1"])
        assert line.store is not old
        again = all_of(line.store)
        assert sorted(again) == ["0.png", "1.png", "2.png", "4.png"]
        with Inspector(Versions(bundle).path(version)) as inspector:
            for point in before:
                name = Path(point.path).name
                if name not in again:
                    continue
                said = inspector.inspect(Path(point.path))
                other = again[name]
                np.testing.assert_allclose(other.embedding, said.embedding, atol=1e-6)
                assert other.raw_score == pytest.approx(point.raw_score)
                assert (other.verdict, other.judged_by) == (point.verdict, point.bundle)
                assert other.time == old.fetch([point.point_id])[0].time
                assert other.thumbnail
            wanted = inspector.inspect(Path(before[1].path)).embedding
        # Both are darker than they should be.
        nearest = {Path(one.point.path).name for one in line.store.search(wanted, 2)}
        assert nearest == {"1.png", "4.png"}
        dusty = again["4.png"]
        assert (dusty.confirmed, dusty.confirmed_by) == ("wrong", "anna")
        assert line.store.words(dusty.point_id)[0].note == "only dust"
        # Each is listed once, and page by page as at once.
        listed = [Path(one.path).name for one in line.recent(SearchFilter(), None, 50)]
        assert listed == ["4.png", "3.png", "2.png", "1.png", "0.png"]
        pages: list[str] = []
        last = None
        while page := line.recent(SearchFilter(), last, 2):
            pages += [Path(one.path).name for one in page]
            last = (page[-1].time, page[-1].point_id)
        assert pages == listed
        # Scores of another bundle say nothing about this one's threshold.
        assert (review_of(line, "/v1", 10.0).newest, sum(histogram_of(line).good)) == (0, 0)
        # Who learns from the words knows which bundle the score is of.
        parts = list(read_parts(str(tmp_path / "store"), [line.store.bundle]))
        assert {one.bundle for one in parts} == {before[0].bundle}


def test_a_version_that_has_grown_keeps_descriptors_of_parts_whose_pictures_are_gone(
    bundle: Path, tmp_path: Path
) -> None:
    version = add_version(bundle, 2.0)
    with Bundle.open(bundle) as opened:
        grown_from = {FROM_FEEDBACK: {MODELS: [bundle_fingerprint(opened)]}}
    path = Versions(bundle).path(version)
    with Bundle.open(path) as opened:
        manifest = opened.manifest
    (path / "bundle.json").unlink()
    seal(path, replace(manifest, provenance=grown_from))
    with box(bundle, tmp_path / "store") as (line, teacher):
        before = {Path(one.path).name: one for one in judged(line, tmp_path / "parts")}
        for name in ("1.png", "4.png"):
            (tmp_path / "parts" / name).unlink()
        for _ in range(2):
            teacher.go_live(line, version, "")
            assert ended(teacher).lines == ["5", "0"]
            again = all_of(line.store)
            assert len(again) == line.store.count() == 5
            for name in ("1.png", "4.png"):
                np.testing.assert_array_equal(again[name].embedding, before[name].embedding)
                assert again[name].judged_by == before[name].bundle
            assert again["4.png"].confirmed == "wrong"
            teacher.go_back(line, "")
            ended(teacher)
            assert line.store.count() == 5


def test_back_at_the_bundle_of_before_it_knows_the_parts_that_came_meanwhile(
    bundle: Path, tmp_path: Path
) -> None:
    version = add_version(bundle, 2.0)
    with box(bundle, tmp_path / "store") as (line, teacher):
        teacher.go_live(line, version, "")
        assert ended(teacher).lines == ["0", "0"]
        came = judged(line, tmp_path / "parts")
        teacher.go_back(line, "")
        assert ended(teacher).lines == ["5", "0"]
        assert {one.judged_by for one in all_of(line.store).values()} == {came[0].bundle}
        teacher.go_live(line, version, "")
        ended(teacher)
        # These are its own, and stay so.
        assert {one.judged_by for one in all_of(line.store).values()} == {""}
        assert line.store.count() == 5


def test_a_camera_s_frame_belongs_to_both_records(bundle: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    version = add_version(bundle, 2.0)
    image = cv2.imdecode(np.frombuffer(picture(40), np.uint8), cv2.IMREAD_COLOR)
    with box(bundle, store) as (line, teacher):
        kept = Pictures(store, "all", 10)
        streamed = picture(60, ".jpg")
        for name, frame in (("pixels", image), ("jpeg", streamed)):
            part = line.inspect(frame)
            point = line.point(part, name, camera="press")
            line.keep(point)
            kept.keep(point.point_id, frame)
        teacher.go_live(line, version, "")
        assert ended(teacher).lines == ["2", "0"]
        for point in all_of(line.store).values():
            found = frame_of(store, point)
            assert found is not None
            assert found[0].stat().st_nlink == 2
    sizes = [path.stat().st_size for path in (store / "pictures").glob("*/*")]
    # The space that they take is counted once.
    assert Pictures(store, "all", 10)._size == pytest.approx(sum(sizes) / 2, abs=4)


def test_what_was_interrupted_goes_on_with_the_next_start(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    version = add_version(bundle, 2.0)
    with monkeypatch.context() as slow:
        # As if the station ended after the second part.
        slow.setattr(remembering, "_BATCH", 1)
        whole = NeighborStore.merge

        def merge(self: NeighborStore, points: list[PartPoint]):
            done = whole(self, points)
            if points and points[0].judged_by and self.count() == 2:
                raise StoreError("expected room on the disk, found none")
            return done

        with box(bundle, store) as (line, teacher):
            judged(line, tmp_path / "parts")
            slow.setattr(NeighborStore, "merge", merge)
            teacher.go_live(line, version, "")
            assert "expected room" in ended(teacher).failed
            # Verdicts go on.
            assert line.inspect(picture(28)).prediction.verdict == "anomalous"
    with box(bundle, store) as (line, teacher):
        assert ended(teacher).lines == ["5", "0"]
        assert line.store.count() == 5
    with box(bundle, store) as (_, teacher):
        # Done is done.
        assert teacher.memory.now == Job()


def test_parts_with_a_word_come_first_and_no_more_than_the_limit(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembering, "MOST", 3)
    with box(bundle, tmp_path / "store") as (line, _):
        before = judged(line, tmp_path / "parts")
        line.record(before[0], "right", "anna")
        with Bundle.open(bundle) as opened:
            known = bundle_fingerprint(opened)
        found = earlier_parts(tmp_path / "store", [known, "0" * 64])
        assert [Path(one.path).name for one in found] == ["4.png", "0.png", "3.png"]
        assert all(one.thumbnail for one in found)
