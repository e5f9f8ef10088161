"""A box on a part: how it is read, what is inspected for it, and what is found."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.fingerprint import bundle_fingerprint
from edge_app.indexing import find_parts, index_parts
from edge_app.region import MIN_SHARE, piece_around
from edge_app.similar import find_neighbors
from edge_app.store import open_store
from runtime.errors import ImageError
from runtime.images.regions import Box
from runtime.inspector import Inspector
from tests.cli import lineside
from tests.edge_app.tiny_bundle import LENGTH, write_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tile-tiny")


NUMBER = st.integers(-99, 9999).map(str)


def numbered(height: int, width: int) -> np.ndarray:
    """A picture whose pixels say where they are: row in red, column in green."""
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([rows, columns, np.zeros_like(rows)]).astype(np.uint8)


@given(st.text("0123456789,,,,-+. _x²", max_size=20) | st.tuples(*[NUMBER] * 4).map(",".join))
def test_only_four_whole_numbers_with_a_size_are_a_box(text):
    try:
        found = Box.parse(text)
    except ValueError as error:
        assert "expected" in str(error)
        return
    numbers = [int(number) for number in text.split(",")]
    assert [found.x, found.y, found.width, found.height] == numbers
    assert min(numbers[:2]) >= 0
    assert min(numbers[2:]) >= 1


@given(
    st.integers(8, 200),
    st.integers(8, 200),
    st.data(),
)
def test_what_is_inspected_holds_the_box_and_half_of_the_part(height, width, data):
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    region = Box(x, y, data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300)))
    piece = piece_around(region, numbered(height, width))
    rows, columns = piece[:, 0, 0].astype(int), piece[0, :, 1].astype(int)
    assert (np.diff(rows) == 1).all()
    assert (np.diff(columns) == 1).all()
    assert rows[0] <= y
    assert rows[-1] >= min(y + region.height, height) - 1
    assert columns[0] <= x
    assert columns[-1] >= min(x + region.width, width) - 1
    # The aspect ratio, and so the scale of everything on it, is the part's.
    assert abs(len(rows) / height - len(columns) / width) <= 1 / min(height, width)
    assert len(rows) >= MIN_SHARE * height - 1


@pytest.mark.parametrize("region", [Box(40, 0, 5, 5), Box(0, 30, 5, 5), Box(9999, 9999, 1, 1)])
def test_a_box_outside_the_picture_is_refused(region):
    with pytest.raises(ImageError, match=r"inside 40x30 pixels, found one outside; give X,Y,W,H"):
        piece_around(region, numbered(30, 40))


@given(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 4))
def test_shares_of_a_picture_always_lie_in_it(shares):
    region = Box.from_shares(shares, (30, 40))
    assert 0 <= region.x < 40
    assert 0 <= region.y < 30
    piece_around(region, numbered(30, 40))


def test_shares_are_of_the_picture():
    assert Box.from_shares((0.25, 0.5, 0.1, 0.2), (200, 100)) == Box(25, 100, 10, 40)
    assert Box.from_shares((math.nan, -1.0, 9.0, 0.0), (200, 100)) == Box(0, 0, 100, 1)


def two_defects(path: Path) -> None:
    """Dark on the left, bright on the right: a half shows one of them alone."""
    image = np.full((64, 64, 3), 128, np.uint8)
    image[:, :32] = 10
    image[:, 32:] = 200
    cv2.imwrite(str(path), image)


def test_a_box_finds_the_like_of_what_is_in_it(bundle: Path, tmp_path: Path) -> None:
    parts = tmp_path / "tile" / "test"
    for kind, value in (("dark", 10), ("bright", 245)):
        (parts / kind).mkdir(parents=True)
        for number in range(5):
            cv2.imwrite(
                str(parts / kind / f"{number}.png"), np.full((64, 64, 3), value + number, np.uint8)
            )
    picture = tmp_path / "both.png"
    two_defects(picture)
    with Inspector(bundle) as inspector:
        fingerprint = bundle_fingerprint(inspector.bundle)
        with open_store("memory:", bundle=fingerprint, embedding_length=LENGTH) as store:
            index_parts(inspector, find_parts(parts), store, bundle=fingerprint)

            def kinds(region: Box | None) -> set[str]:
                found = find_neighbors(inspector, picture, store, bundle=fingerprint, region=region)
                assert found.verdict == inspector.inspect(picture).verdict
                return {neighbor.point.defect_type for neighbor in found.neighbors}

            assert kinds(Box(4, 20, 20, 20)) == {"dark"}
            assert kinds(Box(40, 20, 20, 20)) == {"bright"}
            with pytest.raises(
                ImageError, match=r"both.png: region 64,0,5,5: expected a box inside 64x64"
            ):
                kinds(Box(64, 0, 5, 5))


def test_command(bundle: Path, tmp_path: Path) -> None:
    picture, store = tmp_path / "both.png", tmp_path / "store"
    two_defects(picture)
    assert lineside("index", bundle, "--images", tmp_path, "--store", store).returncode == 0
    search = ["search", bundle, picture, "--store", store, "--region"]
    done = lineside(*search, "4,20,20,20", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["region"] == [4, 20, 20, 20]
    assert "like the box 4,20,20,20" in lineside(*search, "4,20,20,20").stdout
    for text in ("4,20,20", "a,b,c,d", "0,0,0,9", "-1,0,5,5", ""):
        bad = lineside(*search, text)
        assert bad.returncode == 2
        assert "e.g. --region 120,80,60,40" in bad.stderr
    assert lineside(*search, "900,0,5,5").returncode == 1
