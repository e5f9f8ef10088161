"""Indexing and searching with a real bundle on a real engine, as a library and as commands."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.fingerprint import bundle_fingerprint
from edge_app.indexing import defect_type_of, find_parts, index_parts, make_point
from edge_app.line import open_memory
from edge_app.similar import find_neighbors
from edge_app.store import NeighborStore, SearchFilter, give_word
from edge_app.store.schema import point_id
from edge_app.thumbnail import MAX_BYTES, thumbnail
from runtime.errors import DataError, ImageError
from runtime.images.dataset import Part
from runtime.images.preprocess import decode_rgb
from runtime.inspector import Inspector
from runtime.prediction import Prediction
from tests.cli import lineside
from tests.edge_app.tiny_bundle import write_part, write_tiny_bundle


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
    with open_memory(inspector, "memory:") as opened:
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


def test_masks_are_left_out_at_any_depth(parts: Path) -> None:
    """MVTec LOCO: ``ground_truth/<defect>/<picture>/000.png``."""
    for seed in range(2):
        write_part(parts / "ground_truth" / "logical" / f"{seed:03d}" / "000.png", seed, "dark")
    assert len(find_parts(parts)) == 24
    # But a whole data set may lie in a folder of that name.
    inside = parts.parent / "ground_truth" / "tile"
    parts.rename(inside.parent.parent / "moved")
    inside.parent.mkdir()
    (inside.parent.parent / "moved").rename(inside)
    assert len(find_parts(inside)) == 24


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
    report = index_parts(
        inspector, find_parts(parts), store, bundle=store.bundle, camera="left", batch=5
    )
    assert report.stored == {"good": 12, "anomalous": 12}
    assert store.count() == 24
    path = parts / "test" / "dark" / "3.png"
    point = store.get(point_id(path.read_bytes(), store.bundle))
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
    index_parts(inspector, find_parts(parts), store, bundle=store.bundle)
    identifiers = [point_id(part.path.read_bytes(), store.bundle) for part in find_parts(parts)]
    first = store.get(identifiers[0])
    assert first is not None
    give_word(store, first, "wrong")
    before = [store.get(identifier) for identifier in identifiers]
    again = index_parts(inspector, find_parts(parts), store, bundle=store.bundle)
    assert (again.stored_total, again.unchanged) == (0, 24)
    for old, identifier in zip(before, identifiers, strict=True):
        new = store.get(identifier)
        assert old is not None
        assert new is not None
        assert new.payload() == old.payload()


def test_a_word_given_while_it_indexes_counts(
    inspector: Inspector, store: NeighborStore, parts: Path
) -> None:
    found = find_parts(parts)[:4]
    content = found[0].path.read_bytes()
    image_rgb = decode_rgb(content)
    seen = make_point(
        inspector.inspect(image_rgb),
        content,
        image_rgb,
        bundle=store.bundle,
        category="tile",
        path=found[0].path,
    )

    def meanwhile() -> Iterator[Part]:
        yield from found[:2]
        # Another box on the same server; the first two wait to be written.
        give_word(store, seen, "wrong")
        yield from found[2:]

    index_parts(inspector, meanwhile(), store, bundle=store.bundle)
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
    report = index_parts(inspector, found, store, bundle=store.bundle)
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
        index_parts(inspector, interrupted(), store, bundle=store.bundle, batch=4)
    assert store.count() == 10


def test_a_flagged_part_finds_parts_flagged_for_the_same_reason(
    inspector: Inspector, store: NeighborStore, parts: Path
) -> None:
    index_parts(inspector, find_parts(parts), store, bundle=store.bundle)
    for defect in ("dark", "bright"):
        path = parts / "test" / defect / "0.png"
        found = find_neighbors(inspector, path, store, bundle=store.bundle)
        assert found.verdict == "anomalous"
        assert [hit.point.defect_type for hit in found.neighbors] == [defect] * 5
        assert str(path) not in {hit.point.path for hit in found.neighbors}
    where = SearchFilter(verdict="good")
    found = find_neighbors(
        inspector, parts / "test" / "dark" / "0.png", store, bundle=store.bundle, k=3, where=where
    )
    assert {hit.point.verdict for hit in found.neighbors} == {"good"}


def test_search_of_no_picture_names_it(
    inspector: Inspector, store: NeighborStore, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    for path in (broken, tmp_path / "gone.png"):
        with pytest.raises(ImageError, match=path.name):
            find_neighbors(inspector, path, store, bundle=store.bundle)


def test_fingerprint_follows_the_network_alone(
    bundle: Path, tmp_path: Path, inspector: Inspector
) -> None:
    first = bundle_fingerprint(inspector.bundle)
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
        assert bundle_fingerprint(same.bundle) == first
    with Inspector(write_tiny_bundle(tmp_path / "other", gain=2.0)) as changed:
        assert bundle_fingerprint(changed.bundle) != first


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
    location = tmp_path / "neighbours"
    (parts / "test" / "dark" / "broken.png").write_bytes(b"rubbish")
    index = ["index", bundle, "--images", parts, "--store", location]
    done = lineside(*index, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["stored"], result["unchanged"], result["total"]) == (24, 0, 24)
    assert result["verdicts"] == {"good": 12, "anomalous": 12}
    assert [Path(entry["path"]).name for entry in result["skipped"]] == ["broken.png"]
    again = lineside(*index, "--threads", 1)
    assert "0 parts stored, 24 there already, 1 skipped; it holds 24 now" in again.stdout
    assert "skipped " in again.stderr

    queries = [str(parts / "test" / kind / "1.png") for kind in ("dark", "good")]
    found = lineside("search", bundle, *queries, "--store", location, "--json")
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.returncode == 0
    assert [(line["path"], line["verdict"]) for line in lines] == [
        (queries[0], "anomalous"),
        (queries[1], "good"),
    ]
    assert set(lines[0]["neighbours"][0]) == {"id", "similarity", "path", "verdict", "defect_type"}
    assert [hit["defect_type"] for hit in lines[0]["neighbours"]] == ["dark"] * 5
    values = [hit["similarity"] for hit in lines[0]["neighbours"]]
    assert values == sorted(values, reverse=True)

    search = ["search", bundle, queries[0], "--store", location]
    table = lineside(*search, "-k", 3, "--verdict", "good", "--category", "tile")
    assert table.returncode == 0
    assert table.stdout.count("│ good ") >= 3
    assert "dark/2.png" not in table.stdout
    assert "no stored part satisfies the filter" in lineside(*search, "--category", "grid").stdout


def test_one_bad_picture_does_not_hide_the_others(
    bundle: Path, parts: Path, tmp_path: Path
) -> None:
    location = tmp_path / "neighbours"
    lineside("index", bundle, "--images", parts, "--store", location)
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    pictures = [tmp_path / "bad.png", parts / "test" / "dark"]
    done = lineside("search", bundle, *pictures, "--store", location, "--json")
    assert done.returncode == 1
    assert "bad.png" in done.stderr
    assert len(done.stdout.splitlines()) == 6


def test_search_never_makes_a_store_and_says_what_to_type(
    bundle: Path, parts: Path, tmp_path: Path
) -> None:
    search = ["search", bundle, parts / "test" / "dark" / "0.png", "--store"]
    typo = tmp_path / "typo"
    assert "found none; type: lineside index" in lineside(*search, typo).line()
    assert not typo.exists()
    other, location = write_tiny_bundle(tmp_path / "other", gain=3.0), tmp_path / "neighbours"
    lineside("index", other, "--images", parts, "--store", location)
    said = lineside(*search, location).line()
    assert re.search(r"found only those of [0-9a-f]{16}; type: lineside index", said)


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_while_indexing(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(100):
        write_part(tmp_path / "many" / f"{seed:03d}.png", seed, "dark")
    inspect = Inspector.inspect
    calls = itertools.count()

    def interrupted(inspector: Inspector, source: object, **how: object) -> Prediction:
        if next(calls) == 80:
            signal.raise_signal(signal.SIGINT)
        return inspect(inspector, source, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Inspector, "inspect", interrupted)
    location = tmp_path / "neighbours"
    done = lineside("index", bundle, "--images", tmp_path / "many", "--store", location)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "it holds 80 parts now; the same command goes on from there" in done.stderr
    again = lineside("index", bundle, "--images", tmp_path / "many", "--store", location)
    assert "20 parts stored (20 anomalous), 80 there already" in again.stdout


def test_real_photographs_index_and_find_each_other(
    bundle: Path, real_data: Path, tmp_path: Path
) -> None:
    folder = real_data / "bottle" / "test"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    location = tmp_path / "neighbours"
    done = lineside("index", bundle, "--images", folder, "--store", location, "--json")
    assert json.loads(done.stdout)["skipped"] == []
    found = lineside("search", bundle, folder, "--store", location, "--json")
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(lines) == json.loads(done.stdout)["total"]
    assert all(line["path"] not in {hit["path"] for hit in line["neighbours"]} for line in lines)


@pytest.mark.slow
def test_a_trained_model_finds_the_same_defect(
    patchcore_bundle: Path, sample_root: Path, tmp_path: Path
) -> None:
    folder, location = sample_root / "tile" / "test", tmp_path / "neighbours"
    lineside("index", patchcore_bundle, "--images", folder, "--store", location)
    search = ["search", patchcore_bundle, folder, "--store", location, "-k", 3, "--json"]
    lines = [json.loads(line) for line in lineside(*search).stdout.splitlines()]
    flagged = [line for line in lines if line["verdict"] == "anomalous"]
    neighbors = [hit["defect_type"] for line in flagged for hit in line["neighbours"]]
    assert len(neighbors) == 3 * len(flagged) > 0
    assert sum(kind != "good" for kind in neighbors) / len(neighbors) >= 0.9
