"""Fetching a data set through anomalib's downloader, from a server of our own."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from anomalib.data.datasets.image.mvtecad import CATEGORIES
from anomalib.data.utils import DownloadInfo

from export.data.mvtec import fetch
from runtime.errors import DataError

pytestmark = pytest.mark.slow


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "served" / "mvtec.tar.xz"
    path.parent.mkdir()
    with tarfile.open(path, "w:xz") as tar:
        for category in ("tile", "grid"):
            for name in (
                "train/good/000.png",
                "test/good/000.png",
                "test/crack/000.png",
                "ground_truth/crack/000_mask.png",
            ):
                content = f"{category} {name}".encode()
                info = tarfile.TarInfo(f"{category}/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def info(archive: Path) -> Iterator[DownloadInfo]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(archive.parent))
    )
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    yield DownloadInfo(
        name="mvtec", url=f"http://127.0.0.1:{server.server_port}/mvtec.tar.xz", hashsum=digest
    )
    server.shutdown()
    server.server_close()


def test_all_categories_arrive_and_nothing_else(tmp_path: Path, info: DownloadInfo) -> None:
    assert fetch(tmp_path / "data", info=info) == ["grid", "tile"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["grid", "tile"]
    assert (
        tmp_path / "data" / "tile" / "train" / "good" / "000.png"
    ).read_bytes() == b"tile train/good/000.png"


def test_one_category_and_a_second_call_that_fetches_nothing(
    tmp_path: Path, info: DownloadInfo
) -> None:
    assert fetch(tmp_path / "data", ["grid"], info=info) == ["grid"]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["grid"]
    gone = DownloadInfo(name="mvtec", url="http://127.0.0.1:9/mvtec.tar.xz", hashsum=info.hashsum)
    assert fetch(tmp_path / "data", ["grid"], info=gone) == ["grid"]


def test_all_of_it_is_there_and_nothing_is_fetched(tmp_path: Path, info: DownloadInfo) -> None:
    for name in CATEGORIES:
        (tmp_path / "data" / name / "train" / "good").mkdir(parents=True)
    gone = DownloadInfo(name="mvtec", url="http://127.0.0.1:9/mvtec.tar.xz", hashsum=info.hashsum)
    assert fetch(tmp_path / "data", info=gone) == sorted(CATEGORIES)


def test_what_lies_in_a_categorys_place_is_named_before_the_download(
    tmp_path: Path, info: DownloadInfo
) -> None:
    kept = tmp_path / "data" / "tile" / "notes.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    gone = DownloadInfo(name="mvtec", url="http://127.0.0.1:9/mvtec.tar.xz", hashsum=info.hashsum)
    for categories in ([], ["tile"]):
        with pytest.raises(
            DataError, match=r"tile: expected nothing or a category .* move it away"
        ):
            fetch(tmp_path / "data", categories, info=gone)
    assert fetch(tmp_path / "data", ["grid"], info=info) == ["grid"]
    assert kept.read_text() == "mine"


def test_an_archive_at_hand_is_used_and_kept(
    tmp_path: Path, info: DownloadInfo, archive: Path
) -> None:
    gone = DownloadInfo(name="mvtec", url="http://127.0.0.1:9/mvtec.tar.xz", hashsum=info.hashsum)
    assert fetch(tmp_path / "data", archive=archive, info=gone) == ["grid", "tile"]
    assert archive.is_file()


def test_a_category_that_is_not_there_is_named(tmp_path: Path, info: DownloadInfo) -> None:
    with pytest.raises(DataError, match="expected one of grid, tile, found bottel"):
        fetch(tmp_path / "data", ["bottel"], info=info)
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize("fault", ["unreachable", "damaged", "missing archive"])
def test_failure_is_one_line_and_leaves_nothing(
    tmp_path: Path, info: DownloadInfo, archive: Path, fault: str
) -> None:
    given = archive if fault != "unreachable" else None
    if fault == "unreachable":
        info = DownloadInfo(
            name="mvtec", url="http://127.0.0.1:9/mvtec.tar.xz", hashsum=info.hashsum
        )
    elif fault == "damaged":
        archive.write_bytes(archive.read_bytes()[:-100])
    else:
        given = tmp_path / "nowhere.tar.xz"
    with pytest.raises(DataError, match="expected") as caught:
        fetch(tmp_path / "data", archive=given, info=info)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []
