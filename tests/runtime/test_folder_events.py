"""Folders that fill up, as the system tells it: files that are gone at once, and slow writers."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import ImageError
from runtime.images.preprocess import decoded
from runtime.sources import Arrival, arrivals, events
from runtime.sources.events import FolderEvents
from runtime.sources.inotify import Inotify, share_of
from tests.runtime.test_sources import PATIENCE_S, watching
from tests.runtime.tiny import random_image


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


@pytest.fixture
def told(incoming: Path) -> Iterator[FolderEvents]:
    with closing(FolderEvents()) as found:
        found.watch([str(incoming)])
        yield found


def content_of(seed: int, suffix: str = ".png") -> bytes:
    return bytes(cv2.imencode(suffix, random_image(seed)[:, :, ::-1])[1].tobytes())


def the_events() -> FolderEvents:
    """Those of the one source that is open."""
    (thread,) = (one for one in threading.enumerate() if one.name == "lineside-events")
    return thread._target.__self__  # type: ignore[attr-defined,no-any-return]


def wait_until_read(told: FolderEvents, count: int) -> None:
    """As long as a busy machine needs for it, so many pictures wait."""
    until = time.monotonic() + PATIENCE_S
    while len(told._settling) + len(told._ready) < count:
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize("how", ["removed", "moved on"])
def test_a_file_that_is_gone_at_once_is_a_part_like_any_other(
    incoming: Path, tmp_path: Path, how: str
) -> None:
    """Nobody takes the parts meanwhile: what waits is what was written."""
    stop = threading.Event()
    parts = arrivals(str(incoming), stop)
    for number in range(20):
        path = incoming / f"{number:02}.png"
        path.write_bytes(content_of(number))
        wait_until_read(the_events(), number + 1)
        path.unlink() if how == "removed" else path.rename(tmp_path / path.name)
    found = [next(parts) for _ in range(20)]
    stop.set()
    assert next(parts, None) is None
    assert [Path(part.name).name for part in found] == [f"{number:02}.png" for number in range(20)]
    for number, part in enumerate(found):
        np.testing.assert_array_equal(decoded(part.checked()), random_image(number))


def test_who_stops_to_write_in_the_middle_is_waited_for(incoming: Path) -> None:
    content = content_of(1, ".bmp")
    path = incoming / "part.bmp"
    with watching(incoming) as found:
        with path.open("wb") as file:
            file.truncate(len(content))
            file.write(content[:1000])
            file.flush()
            time.sleep(1.0)
            assert found.parts == []
            file.write(content[1000:])
        found.wait_for(1)
        with path.open("r+b") as file:
            file.write(content_of(2, ".bmp")[:1000])
            file.flush()
            time.sleep(1.0)
            assert len(found.parts) == 1
            file.write(content_of(2, ".bmp")[1000:])
        found.wait_for(2)
        time.sleep(0.5)
    pictures = [decoded(part.checked()) for part in found.parts]
    np.testing.assert_array_equal(pictures, [random_image(1), random_image(2)])


def test_what_is_written_under_another_name_or_given_its_time_later_is_one_part(
    incoming: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source.png"
    source.write_bytes(content_of(0))
    os.utime(source, (1e9, 1e9))
    with watching(incoming) as found:
        shutil.copy2(source, incoming / "copied.png")
        (incoming / "upload.png").write_bytes(content_of(1))
        (incoming / "upload.png").rename(incoming / "renamed.png")
        found.wait_for(2)
        os.link(source, incoming / "linked.png")
        (incoming / "pointed-at.png").symlink_to(source)
        found.wait_for(4)
        time.sleep(0.5)
    assert sorted(found.names) == ["copied.png", "linked.png", "pointed-at.png", "renamed.png"]


def test_a_folder_that_was_just_made_is_followed(incoming: Path) -> None:
    stop = threading.Event()
    parts = arrivals(str(incoming), stop)
    deep = incoming / "tuesday" / "early"
    deep.mkdir(parents=True)
    until = time.monotonic() + PATIENCE_S
    while str(deep) not in the_events()._folders.values():
        assert time.monotonic() < until
        time.sleep(0.005)
    for name, waiting in ((".hidden.png", 0), ("1.png", 1), ("notes.txt", 1), ("2.png", 2)):
        (deep / name).write_bytes(content_of(1))
        wait_until_read(the_events(), waiting)
        (deep / name).unlink()
    assert [next(parts).name, next(parts).name] == [str(deep / "1.png"), str(deep / "2.png")]
    stop.set()
    assert next(parts, None) is None


def test_each_version_of_a_picture_that_waits_is_kept(incoming: Path, told: FolderEvents) -> None:
    for number in range(3):
        (incoming / "latest.png").write_bytes(content_of(number))
        wait_until_read(told, number + 1)
        time.sleep(3 * events.SETTLE_S)
    found = [told.take(5.0) for _ in range(3)]
    assert [one and one.content for one in found] == [content_of(number) for number in range(3)]
    assert told.take(0.0) is None


def test_one_that_nobody_could_read_in_time_is_told(incoming: Path) -> None:
    stop = threading.Event()
    parts = arrivals(str(incoming), stop)
    # The thread cannot go on before the file is gone.
    with the_events()._news:
        (incoming / "part.png").write_bytes(content_of(0))
        (incoming / "part.png").unlink()
    part = next(parts)
    stop.set()
    assert next(parts, None) is None
    with pytest.raises(ImageError, match=r"part\.png: expected a picture, found it gone before"):
        part.checked()


def test_of_what_takes_too_much_room_the_name_is_kept(
    incoming: Path, told: FolderEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_BYTES", len(content_of(0)) + 10)
    for number in range(2):
        (incoming / f"{number}.png").write_bytes(content_of(number))
    first, second = told.take(5.0), told.take(5.0)
    assert first is not None
    assert second is not None
    assert (first.content, second.content) == (content_of(0), None)
    assert second.stamp[0] == len(content_of(1))
    # The first has been taken, so there is room again.
    (incoming / "2.png").write_bytes(content_of(2))
    third = told.take(5.0)
    assert third is not None
    assert third.content == content_of(2)


def test_what_is_wrong_with_a_file_that_is_gone_has_its_name() -> None:
    part = Arrival("incoming/part.png", Path("incoming/part.png"), content=b"no picture")
    with pytest.raises(ImageError) as caught:
        decoded(part.checked())
    assert str(part.named(caught.value)).startswith("incoming/part.png: expected a picture")


def test_events_end_with_the_watching(incoming: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with watching(incoming):
        time.sleep(0.3)
        assert len(list(Path("/proc/self/fd").iterdir())) > before
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert "lineside-events" not in {one.name for one in threading.enumerate()}


def test_folders_beyond_the_system_s_limit_are_told_once(
    incoming: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are asked for at every look, five times a second."""
    add = Inotify.add

    def limited(system: Inotify, folder: str) -> int:
        if folder != str(incoming):
            raise OSError(errno.ENOSPC, "No space left on device")
        return add(system, folder)

    monkeypatch.setattr(Inotify, "add", limited)
    with closing(FolderEvents()) as told:
        for number in range(3):
            told.watch([str(incoming), str(tmp_path / "beyond")])
            (incoming / f"{number}.png").write_bytes(content_of(number))
            assert told.take(PATIENCE_S) is not None
    assert caplog.text.count("follows no more folders") == 1


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv/line/today", ""),
        ("/srv/line 3/today", "cifs"),
        ("/srv/line 3x", ""),
        ("/mnt/plant", "nfs4"),
        ("/mnt/far", "fuse.sshfs"),
    ],
)
def test_a_share_is_known_by_its_mount(tmp_path: Path, folder: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        "40 22 0:50 / /srv/line\\0403 rw,relatime - cifs //plant/line rw\n"
        "41 22 0:51 / /mnt/plant rw shared:7 master:2 - ext4 /dev/vdb rw\n"
        "42 22 0:52 / /mnt/plant rw shared:7 master:2 - nfs4 plant:/ rw\n"
        "43 22 0:53 / /mnt/far rw - fuse.sshfs line@plant: rw\n"
    )
    assert share_of(Path(folder), mounts) == kind
