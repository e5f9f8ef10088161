"""An archive of pictures: each in the results once, whatever dies in the middle."""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime import progress
from runtime.archive.on_ray import Worker
from runtime.archive.run import inspect_archive
from runtime.errors import DataError
from runtime.inspector import Inspector
from tests.cli import lineside
from tests.runtime.tiny import edit_thresholds, random_image, write_bundle

pa = pytest.importorskip("pyarrow", reason="pyarrow comes with the extra ray")
pq = pytest.importorskip("pyarrow.parquet")

MANY = 240
DEADLY = "deadly.png"


class Deadly(Worker):
    """A worker that one picture kills, as a decoder that crashes does."""

    def inspect(self, packed, paths):
        if any(path.endswith(DEADLY) for path in paths):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().inspect(packed, paths)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tile")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(MANY):
        image = random_image(index, strength=(30, 60, 100, 128)[index % 4])
        cv2.imwrite(str(folder / f"{index:04d}.png"), image[:, :, ::-1])
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    return folder


def rows(out: Path) -> dict[str, dict]:
    """Results by path; fails where a picture has two."""
    found = pa.concat_tables([pq.read_table(path) for path in out.glob("part-*.parquet")])
    by_path = {row["path"]: row for row in found.to_pylist()}
    assert len(by_path) == found.num_rows
    return by_path


def test_every_picture_has_the_row_that_the_inspector_gives(bundle, pictures, tmp_path):
    report = inspect_archive(bundle, pictures, tmp_path / "out", engine={}, batch=50)
    assert (report.total, report.done, report.unreadable) == (MANY + 1, MANY + 1, 1)
    found = rows(tmp_path / "out")
    assert sorted(found) == sorted(map(str, pictures.iterdir()))
    with Inspector(bundle) as inspector:
        for path in sorted(pictures.iterdir())[:8]:
            expected, row = inspector.inspect(path), found[str(path)]
            assert (row["verdict"], row["pred_score"]) == (expected.verdict, expected.pred_score)
            assert row["threshold"] == expected.threshold.image_threshold
            np.testing.assert_array_equal(np.float32(row["embedding"]), expected.embedding)
    torn = found[str(pictures / "torn.png")]
    assert (torn["verdict"], torn["unreadable"], torn["pred_score"]) == ("cannot_judge", True, None)
    assert "torn.png: expected" in torn["reason"]


def test_what_was_interrupted_goes_on_from_the_last_file(bundle, pictures, tmp_path):
    out = tmp_path / "out"

    def interrupt(step: progress.Step) -> None:
        if step.what == "inspecting" and step.done >= 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress.listening(interrupt):
        inspect_archive(bundle, pictures, out, engine={}, batch=30)
    assert len(rows(out)) == 60
    (out / ".part-000009.parquet.xyz").write_bytes(b"half")
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    report = inspect_archive(bundle, pictures, out, engine={}, batch=30)
    assert (report.before, report.done) == (60, MANY - 59)
    assert len(rows(out)) == MANY + 1
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert {path.name for path in out.iterdir() if not path.name.startswith("part-")} == {
        "_archive.json"
    }


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_list_names_pictures_from_its_own_folder_each_once(bundle, pictures, tmp_path, kind):
    names = [f"{pictures.name}/0001.png", str(pictures / "0002.png"), "./x/../0003.png"]
    source = pictures.parent / f"{tmp_path.name}.{kind}"
    table = pa.table({"file": [*names, names[0]], "line": [1, 2, 3, 1]})
    if kind == "csv":
        source.write_text("file,line\n" + "".join(f"{name},1\n" for name in [*names, names[0]]))
    else:
        pq.write_table(table, source)
    done = lineside("archive", bundle, source, "--out", tmp_path / "out", "--column", "file")
    assert done.returncode == 1  # 0003.png is not beside the list
    found = rows(tmp_path / "out")
    assert sorted(found) == sorted(
        [*(str(pictures / f"000{one}.png") for one in (1, 2)), str(pictures.parent / "0003.png")]
    )
    assert found[str(pictures.parent / "0003.png")]["unreadable"]
    line = lineside("archive", bundle, source, "--out", tmp_path / "none").line()
    assert "expected the column 'path', found file, line; say which with --column" in line


def test_other_thresholds_do_not_join_the_results(pictures, tmp_path):
    own, out = write_bundle(tmp_path / "own"), tmp_path / "out"
    inspect_archive(own, pictures, out, engine={})
    edit_thresholds(own, image_threshold=50.0)
    with pytest.raises(DataError, match="with other thresholds or limits; choose another --out"):
        inspect_archive(own, pictures, out, engine={})
    with pytest.raises(DataError, match=r"found other things; choose another --out"):
        inspect_archive(own, pictures, pictures, engine={})


def test_what_could_not_be_read_is_done_again_when_asked(bundle, pictures, tmp_path):
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for name in ("0001.png", "torn.png"):
        (folder / name).write_bytes((pictures / name).read_bytes())
    assert lineside("archive", bundle, folder, "--out", out).returncode == 1
    (folder / "torn.png").write_bytes((pictures / "0002.png").read_bytes())
    assert lineside("archive", bundle, folder, "--out", out).returncode == 0
    assert rows(out)[str(folder / "torn.png")]["unreadable"]
    assert lineside("archive", bundle, folder, "--out", out, "--again").returncode == 0
    assert not rows(out)[str(folder / "torn.png")]["unreadable"]
    assert len(rows(out)) == 2


def test_pandas_polars_and_duckdb_read_the_results(bundle, pictures, tmp_path):
    out = tmp_path / "out"
    inspect_archive(bundle, pictures, out, engine={}, batch=100)
    read, anomalous = [], [row["verdict"] for row in rows(out).values()].count("anomalous")
    for name in ("pandas", "polars", "duckdb"):
        try:
            library = __import__(name)
        except ImportError:
            continue
        if name == "duckdb":
            query = f"select count(*) from '{out}/*.parquet' where verdict = 'anomalous'"
            ((found,),) = library.sql(query).fetchall()
        else:
            frame = library.read_parquet(out if name == "pandas" else f"{out}/*.parquet")
            found = int((frame["verdict"] == "anomalous").sum())
        assert found == anomalous, name
        read.append(name)
    if not read:
        pytest.skip("none of pandas, polars and duckdb is installed")


@pytest.mark.slow
def test_killed_workers_cost_no_picture_and_double_none(
    bundle, pictures, tmp_path, caplog, monkeypatch
):
    pytest.importorskip("ray", reason="Ray comes with the extra ray")
    monkeypatch.setattr("runtime.archive.on_ray.Worker", Deadly)
    caplog.set_level(logging.DEBUG, "lineside")
    listed = tmp_path / "list.csv"
    deadly = tmp_path / DEADLY
    deadly.write_bytes((pictures / "0001.png").read_bytes())
    paths = [*sorted(map(str, pictures.iterdir())), str(deadly)]
    listed.write_text("path\n" + "".join(f"{path}\n" for path in paths))
    killed: list[int] = []

    def kill(step: progress.Step) -> None:
        if step.what == "inspecting" and 0 < step.done < MANY / 2 and not killed:
            (said,) = re.findall(r"ray: workers ([\d, ]+)", caplog.text)
            killed.append(int(said.split(", ")[0]))
            os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.2)

    with progress.listening(kill):
        report = inspect_archive(
            bundle, listed, tmp_path / "ray", engine={}, batch=20, ray="local", workers=2
        )
    assert killed and not Path(f"/proc/{killed[0]}").exists()
    assert (report.total, report.done, report.faults) == (MANY + 2, MANY + 2, 1)
    found = rows(tmp_path / "ray")
    lost = found.pop(str(deadly))
    assert (lost["verdict"], lost["fault"]) == ("cannot_judge", True)
    assert "its worker died of it, 2 times" in lost["reason"]
    inspect_archive(bundle, pictures, tmp_path / "here", engine={})
    expected = rows(tmp_path / "here")
    assert found.keys() == expected.keys()
    for path, row in expected.items():
        assert found[path] == row, path
