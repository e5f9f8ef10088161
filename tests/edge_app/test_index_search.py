"""Indexing and searching with a real bundle on a real engine, through the library and the command line."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edge_app.commands.index import command as index_command
from edge_app.commands.search import command as search_command
from edge_app.fingerprint import bundle_fingerprint
from edge_app.indexing import defect_type_of, find_parts, index_parts, make_point
from edge_app.search import find_neighbors
from edge_app.store import NeighborStore, SearchFilter, give_word, open_store
from edge_app.store.schema import point_id
from edge_app.thumbnail import MAX_BYTES, thumbnail
from runtime.errors import DataError, ImageError, StoreError
from runtime.images.dataset import Part
from runtime.images.preprocess import decode_rgb
from runtime.inspector import Inspector
from tests.edge_app.tiny_bundle import LENGTH, write_tiny_bundle


def write_part(path: Path, seed: int, defect: str) -> None:
    """A grey tile; a ``dark`` one has a black corner top left, a ``bright`` one a white corner bottom right."""
    image = np.random.default_rng(seed).integers(118, 138, size=(64, 64, 3), dtype=np.uint8)
    if defect == "dark":
        image[:16, :16] = seed % 20
    if defect == "bright":
        image[-16:, -16:] = 255 - seed % 20
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tile-tiny")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    root = tmp_path / "tile"
    for seed in range(6):
        write_part(root / "train" / "good" / f"{seed}.png", seed, "good")
        write_part(root / "test" / "good" / f"{seed}.png", 50 + seed, "good")
        write_part(root / "test" / "dark" / f"{seed}.png", 100 + seed, "dark")
        write_part(root / "test" / "bright" / f"{seed}.png", 200 + seed, "bright")
        write_part(root / "ground_truth" / "dark" / f"{seed}_mask.png", 100 + seed, "dark")
    return root


@pytest.fixture
def inspector(bundle: Path) -> Iterator[Inspector]:
    with Inspector(bundle) as opened:
        yield opened


@pytest.fixture
def store(inspector: Inspector) -> Iterator[NeighborStore]:
    with open_store(
        "memory:", bundle=bundle_fingerprint(inspector.bundle), embedding_length=LENGTH
    ) as opened:
        yield opened


def test_masks_are_left_out_and_defects_named(parts: Path) -> None:
    found = find_parts(parts)
    assert len(found) == 24
    kinds = {
        kind: sum(part.defect_type == kind for part in found) for kind in ("good", "dark", "bright")
    }
    assert kinds == {"good": 12, "dark": 6, "bright": 6}
    assert [part.defect_type for part in find_parts(parts / "test" / "dark")] == ["dark"] * 6
    with pytest.raises(DataError, match="found masks only"):
        find_parts(parts / "ground_truth")


@pytest.mark.parametrize(
    ("path", "defect"),
    [
        ("/a/test/crack/1.png", "crack"),
        ("/a/test/good/1.png", "good"),
        ("/a/train/good/1.png", "good"),
        ("/a/train/other/1.png", ""),
        ("/line/monday/1.png", ""),
        ("/1.png", ""),
    ],
)
def test_defect_type_of_path(path: str, defect: str) -> None:
    assert defect_type_of(Path(path)) == defect


def test_indexed_parts_carry_what_the_inspector_said(
    inspector: Inspector, store: NeighborStore, parts: Path
) -> None:
    fingerprint = bundle_fingerprint(inspector.bundle)
    report = index_parts(
        inspector, find_parts(parts), store, bundle=fingerprint, camera="left", batch=5
    )
    assert report.stored == {"good": 12, "anomalous": 12}
    assert store.count() == 24
    path = parts / "test" / "dark" / "3.png"
    point = store.get(point_id(path.read_bytes(), fingerprint))
    said = inspector.inspect(path)
    assert point is not None
    np.testing.assert_allclose(point.embedding, said.embedding, atol=1e-6)
    assert (point.verdict, point.defect_type, point.category, point.camera) == (
        "anomalous",
        "dark",
        "tile",
        "left",
    )
    assert point.raw_score == pytest.approx(said.pred_score)
    assert point.normalized_score == pytest.approx(said.normalized_score)
    assert point.path == str(path)
    assert Path(point.path).is_absolute()
    picture = cv2.imdecode(
        np.frombuffer(base64.b64decode(point.thumbnail), np.uint8), cv2.IMREAD_COLOR
    )
    assert picture is not None
    np.testing.assert_allclose(
        picture.mean(axis=(0, 1)), cv2.imread(str(path)).mean(axis=(0, 1)), atol=3
    )


def test_indexing_twice_changes_nothing_not_even_the_operators_word(
    inspector: Inspector, store: NeighborStore, parts: Path
) -> None:
    fingerprint = bundle_fingerprint(inspector.bundle)
    index_parts(inspector, find_parts(parts), store, bundle=fingerprint)
    identifiers = [point_id(part.path.read_bytes(), fingerprint) for part in find_parts(parts)]
    first = store.get(identifiers[0])
    assert first is not None
    give_word(store, first, "wrong")
    before = [store.get(identifier) for identifier in identifiers]
    again = index_parts(inspector, find_parts(parts), store, bundle=fingerprint)
    assert (again.stored_total, again.unchanged) == (0, 24)
    for old, identifier in zip(before, identifiers, strict=True):
        new = store.get(identifier)
        assert old is not None
        assert new is not None
        assert new.payload() == old.payload()


def test_a_word_given_while_it_indexes_counts(
    inspector: Inspector, store: NeighborStore, parts: Path
) -> None:
    fingerprint = bundle_fingerprint(inspector.bundle)
    found = find_parts(parts)[:4]
    content = found[0].path.read_bytes()
    image_rgb = decode_rgb(content)
    seen = make_point(
        inspector.inspect(image_rgb),
        content,
        image_rgb,
        bundle=fingerprint,
        category="tile",
        path=found[0].path,
    )

    def meanwhile() -> Iterator[Part]:
        yield from found[:2]
        # Another box on the same server; the first two wait to be written.
        give_word(store, seen, "wrong")
        yield from found[2:]

    index_parts(inspector, meanwhile(), store, bundle=fingerprint)
    assert store.count() == 4
    point = store.get(seen.point_id)
    assert point is not None
    assert point.confirmed == "wrong"


def test_unreadable_pictures_are_named_and_skipped(
    inspector: Inspector, store: NeighborStore, parts: Path
) -> None:
    (parts / "test" / "dark" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    (parts / "test" / "dark" / "empty.png").touch()
    found = [*find_parts(parts), Part(parts / "test" / "dark" / "gone.png", "dark")]
    report = index_parts(inspector, found, store, bundle=bundle_fingerprint(inspector.bundle))
    assert report.stored_total == store.count() == 24
    assert {path.name for path, _ in report.skipped} == {"broken.png", "empty.png", "gone.png"}


def test_interruption_keeps_what_was_inspected(
    inspector: Inspector, store: NeighborStore, parts: Path
) -> None:
    def interrupted() -> Iterator[Part]:
        for index, part in enumerate(find_parts(parts)):
            if index == 10:
                raise KeyboardInterrupt
            yield part

    with pytest.raises(KeyboardInterrupt):
        index_parts(
            inspector, interrupted(), store, bundle=bundle_fingerprint(inspector.bundle), batch=4
        )
    assert store.count() == 10


def test_a_flagged_part_finds_parts_flagged_for_the_same_reason(
    inspector: Inspector, store: NeighborStore, parts: Path
) -> None:
    fingerprint = bundle_fingerprint(inspector.bundle)
    index_parts(inspector, find_parts(parts), store, bundle=fingerprint)
    for defect in ("dark", "bright"):
        path = parts / "test" / defect / "0.png"
        found = find_neighbors(inspector, path, store, bundle=fingerprint)
        assert found.verdict == "anomalous"
        assert [hit.point.defect_type for hit in found.neighbors] == [defect] * 5
        assert str(path) not in {hit.point.path for hit in found.neighbors}
    where = SearchFilter(verdict="good")
    found = find_neighbors(
        inspector, parts / "test" / "dark" / "0.png", store, bundle=fingerprint, k=3, where=where
    )
    assert {hit.point.verdict for hit in found.neighbors} == {"good"}


def test_search_of_no_picture_names_it(
    inspector: Inspector, store: NeighborStore, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    for path in (broken, tmp_path / "gone.png"):
        with pytest.raises(ImageError, match=path.name):
            find_neighbors(inspector, path, store, bundle=store_bundle(inspector))


def store_bundle(inspector: Inspector) -> str:
    return bundle_fingerprint(inspector.bundle)


def test_fingerprint_follows_the_network_alone(
    bundle: Path, tmp_path: Path, inspector: Inspector
) -> None:
    first = store_bundle(inspector)
    manifest = inspector.bundle.manifest
    other = replace(inspector.bundle.manifest.files["openvino/fp32/model.bin"], sha256="0" * 64)

    class Changed:
        def __init__(self, **files: object) -> None:
            self.manifest = replace(manifest, files={**manifest.files, **files})

    assert bundle_fingerprint(Changed(**{"golden/0.png": other})) == first  # type: ignore[arg-type]
    assert bundle_fingerprint(Changed(**{"openvino/int8/model.bin": other})) == first  # type: ignore[arg-type]
    assert bundle_fingerprint(Changed(**{"openvino/fp32/model.bin": other})) != first  # type: ignore[arg-type]
    shutil.copytree(bundle, tmp_path / "copy")
    with Inspector(tmp_path / "copy") as same:
        assert store_bundle(same) == first
    with Inspector(write_tiny_bundle(tmp_path / "other", gain=2.0)) as changed:
        assert store_bundle(changed) != first


@pytest.mark.parametrize("size_hw", [(8, 8), (40, 3000), (1200, 1600), (160, 160)])
def test_thumbnails_stay_small(size_hw: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, size=(*size_hw, 3), dtype=np.uint8)
    text = thumbnail(noise)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
    assert len(text) <= MAX_BYTES
    assert picture is not None
    assert max(picture.shape[:2]) <= 160


def test_thumbnail_keeps_the_color_order() -> None:
    red = np.zeros((64, 64, 3), dtype=np.uint8)
    red[:, :, 0] = 255
    picture = cv2.imdecode(
        np.frombuffer(base64.b64decode(thumbnail(red)), np.uint8), cv2.IMREAD_COLOR
    )
    assert picture is not None
    assert picture[32, 32, 2] > 240
    assert picture[32, 32, 0] < 20


def test_commands(bundle: Path, parts: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    location = str(tmp_path / "neighbours")
    (parts / "test" / "dark" / "broken.png").write_bytes(b"rubbish")
    arguments = [str(bundle), "--images", str(parts), "--store", location]
    done = runner.invoke(index_command, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert (result["stored"], result["unchanged"], result["total"]) == (24, 0, 24)
    assert result["verdicts"] == {"good": 12, "anomalous": 12}
    assert [Path(entry["path"]).name for entry in result["skipped"]] == ["broken.png"]
    again = runner.invoke(index_command, arguments, catch_exceptions=False)
    assert "0 parts stored, 24 there already, 1 skipped; it holds 24 now" in again.stdout

    queries = [str(parts / "test" / "dark" / "1.png"), str(parts / "test" / "good" / "1.png")]
    found = runner.invoke(search_command, [str(bundle), *queries, "--store", location, "--json"])
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.exit_code == 0
    assert [(line["path"], line["verdict"]) for line in lines] == [
        (queries[0], "anomalous"),
        (queries[1], "good"),
    ]
    assert set(lines[0]["neighbours"][0]) == {"id", "similarity", "path", "verdict", "defect_type"}
    assert [hit["defect_type"] for hit in lines[0]["neighbours"]] == ["dark"] * 5
    values = [hit["similarity"] for hit in lines[0]["neighbours"]]
    assert values == sorted(values, reverse=True)

    options = ["-k", "3", "--verdict", "good", "--category", "tile"]
    table = runner.invoke(search_command, [str(bundle), queries[0], "--store", location, *options])
    assert table.exit_code == 0
    assert table.stdout.count("│ good ") >= 3
    assert "dark/2.png" not in table.stdout
    none = runner.invoke(
        search_command, [str(bundle), queries[0], "--store", location, "--category", "grid"]
    )
    assert "no stored part satisfies the filter" in none.stdout


def test_one_bad_picture_does_not_hide_the_others(
    bundle: Path, parts: Path, tmp_path: Path
) -> None:
    runner = CliRunner()
    location = str(tmp_path / "neighbours")
    runner.invoke(
        index_command,
        [str(bundle), "--images", str(parts), "--store", location],
        catch_exceptions=False,
    )
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    arguments = [
        str(bundle),
        str(tmp_path / "bad.png"),
        str(parts / "test" / "dark"),
        "--store",
        location,
        "--json",
    ]
    done = runner.invoke(search_command, arguments)
    assert done.exit_code == 1
    assert "bad.png" in done.stderr
    assert len(done.stdout.splitlines()) == 6


def test_search_never_makes_a_store_and_says_what_to_type(
    bundle: Path, parts: Path, tmp_path: Path
) -> None:
    runner = CliRunner()
    picture = str(parts / "test" / "dark" / "0.png")
    typo = tmp_path / "typo"
    with pytest.raises(StoreError, match=r"found none; type: lineside index"):
        runner.invoke(
            search_command, [str(bundle), picture, "--store", str(typo)], catch_exceptions=False
        )
    assert not typo.exists()
    other = write_tiny_bundle(tmp_path / "other", gain=3.0)
    location = str(tmp_path / "neighbours")
    runner.invoke(
        index_command,
        [str(other), "--images", str(parts), "--store", location],
        catch_exceptions=False,
    )
    with pytest.raises(StoreError, match=r"found only those of [0-9a-f]{16}; type: lineside index"):
        runner.invoke(
            search_command, [str(bundle), picture, "--store", location], catch_exceptions=False
        )


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_while_indexing(bundle: Path, tmp_path: Path) -> None:
    root = tmp_path / "many"
    for seed in range(400):
        write_part(root / f"{seed:03d}.png", seed, "dark")
    location = tmp_path / "neighbours"
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from runtime.cli import main; main()"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            code,
            "index",
            str(bundle),
            "--images",
            str(root),
            "--store",
            str(location),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        log = location / "records.db-wal"
        if process.poll() is not None or (log.exists() and log.stat().st_size > 200_000):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    with Inspector(bundle) as inspector:
        opened = open_store(str(location), bundle=store_bundle(inspector), embedding_length=LENGTH)
    with opened:
        stored = opened.count()
    if process.returncode == 0:
        pytest.skip("this machine indexed 400 pictures before the signal came")
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert stored > 0
    assert f"it holds {stored} parts now" in stderr


def test_real_photographs_index_and_find_each_other(
    bundle: Path, real_data: Path, tmp_path: Path
) -> None:
    folder = real_data / "bottle" / "test"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    runner = CliRunner()
    location = str(tmp_path / "neighbours")
    done = runner.invoke(
        index_command, [str(bundle), "--images", str(folder), "--store", location, "--json"]
    )
    assert json.loads(done.stdout)["skipped"] == []
    found = runner.invoke(search_command, [str(bundle), str(folder), "--store", location, "--json"])
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(lines) == json.loads(done.stdout)["total"]
    assert all(line["path"] not in {hit["path"] for hit in line["neighbours"]} for line in lines)


@pytest.mark.slow
def test_a_trained_model_finds_the_same_defect(
    patchcore_bundle: Path, sample_root: Path, tmp_path: Path
) -> None:
    folder = sample_root / "tile" / "test"
    runner = CliRunner()
    location = str(tmp_path / "neighbours")
    runner.invoke(
        index_command, [str(patchcore_bundle), "--images", str(folder), "--store", location]
    )
    arguments = [str(patchcore_bundle), str(folder), "--store", location, "-k", "3", "--json"]
    found = runner.invoke(search_command, arguments)
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    flagged = [line for line in lines if line["verdict"] == "anomalous"]
    neighbors = [hit["defect_type"] for line in flagged for hit in line["neighbours"]]
    assert len(neighbors) == 3 * len(flagged) > 0
    assert sum(kind != "good" for kind in neighbors) / len(neighbors) >= 0.9
