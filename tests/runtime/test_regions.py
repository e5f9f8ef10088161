"""Regions of what is wrong: against SciPy's labels, and in pixels of the part's own picture."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from runtime.engines.base import FakeEngine
from runtime.images.regions import MOST_POINTS, find_regions
from runtime.inspector import Inspector
from tests.cli import lineside
from tests.runtime.faults import raising
from tests.runtime.tiny import THRESHOLD, write_bundle

HEIGHT, WIDTH = 48, 96


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


def part(dark: bool = True) -> np.ndarray:
    """Twice as wide as high; its upper right cell is dark."""
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    if dark:
        image[: HEIGHT // 4, -WIDTH // 4 :] = 0
    return image


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 4.0), st.floats(0.4, 0.95))
def test_regions_are_those_of_scipy(seed, smooth, share):
    noise = np.random.default_rng(seed).normal(size=(40, 60))
    heat = ndimage.gaussian_filter(noise, smooth).astype(np.float32)
    threshold = float(np.quantile(heat, share))
    mask = heat > threshold
    # Regions touch at corners, so what separates them does not.
    labels, count = ndimage.label(ndimage.binary_fill_holes(mask), np.ones((3, 3)))
    expected = []
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        inside = mask & (labels == label)
        row, column = ndimage.maximum_position(np.where(inside, heat, -np.inf))
        rows, columns = box
        corner = (columns.start, rows.start)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        expected.append((int(inside.sum()), *corner, *size, float(heat[row, column]), column, row))
    found = find_regions(heat, threshold, most=1000).found
    assert len(found) == count
    got = [(one.area, *astuple(one.box), one.peak.value, one.peak.x, one.peak.y) for one in found]
    assert sorted(got) == sorted(expected)
    assert [one.area for one in found] == sorted((one.area for one in found), reverse=True)
    assert sum(one.share for one in found) == pytest.approx(mask.mean())
    for one in found:
        assert 1 <= len(one.contour) <= MOST_POINTS
        assert all(labels[y, x] for x, y in one.contour)


def test_few_of_many_are_described_and_the_rest_is_counted():
    heat = np.zeros((40, 40), np.float32)
    heat[::4, ::4] = 1.0
    heat[20:23, 20:23] = 2.0
    found = find_regions(heat, 0.5, most=7)
    assert len(found.found) == 7
    assert found.left_out == 93
    assert found.found[0].area == 9
    assert find_regions(heat, 2.0).found == ()


def test_a_polygon_follows_its_region():
    heat = np.zeros((200, 300), np.float32)
    heat[20:60, 30:130] = 1.0
    (box,) = find_regions(heat, 0.5).found
    assert set(box.contour) == {(30, 20), (129, 20), (129, 59), (30, 59)}
    cv2.ellipse(heat, (200, 120), (70, 40), 20, 0, 360, 3.0, cv2.FILLED)
    ellipse, _ = find_regions(heat, 0.5).found
    drawn = cv2.fillPoly(np.zeros(heat.shape, np.uint8), [np.array(ellipse.contour)], 1) > 0
    assert (drawn & (heat > 2)).sum() / (drawn | (heat > 2)).sum() > 0.95
    comb = np.zeros((200, 400), np.float32)
    comb[100] = 1.0
    comb[20:180, ::4] = 1.0
    (region,) = find_regions(comb, 0.5).found
    assert len(region.contour) <= MOST_POINTS


def test_they_are_in_pixels_of_the_part_itself(bundle: Path) -> None:
    with Inspector(bundle) as inspector:
        found, good = inspector.inspect(part()), inspector.inspect(part(dark=False))
    assert found.image_hw == (HEIGHT, WIDTH)
    (region,) = found.regions().found
    # The map's cell at the upper right, whose value is 128, falls off around its center.
    assert region.peak.value == pytest.approx(128.0)
    assert region.peak.x >= WIDTH * 7 // 8
    assert region.peak.y <= HEIGHT // 8
    assert (region.box.x + region.box.width, region.box.y) == (WIDTH, 0)
    assert region.box.width == pytest.approx(WIDTH / 4, abs=2)
    assert region.box.height == pytest.approx(HEIGHT / 4, abs=2)
    mask = found.mask()
    assert mask.shape == (HEIGHT, WIDTH)
    assert region.area == mask.sum()
    assert region.share == pytest.approx(mask.mean())
    np.testing.assert_array_equal(mask, found.heat_map((HEIGHT, WIDTH)) > THRESHOLD)
    assert good.regions().found == ()
    assert not good.mask().any()
    assert set(found.to_json(regions=True)) - set(found.to_json()) == {
        "regions",
        "regions_left_out",
    }


def test_no_score_no_region(bundle: Path) -> None:
    with Inspector(bundle, engine=FakeEngine(raising(OSError("lost")))) as inspector:
        found = inspector.inspect(part())
    assert found.is_fault
    assert found.regions().found == ()


def test_command(bundle: Path, tmp_path: Path) -> None:
    picture, maps = tmp_path / "part.png", tmp_path / "maps"
    cv2.imwrite(str(picture), part())
    done = lineside("inspect", bundle, picture, "--json", "--save-maps", maps)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["regions_left_out"] == 0
    (region,) = found["regions"]
    assert set(region) == {"box", "area", "share", "peak", "contour"}
    assert set(region["box"]) == {"x", "y", "width", "height"}
    drawn = cv2.imread(str(maps / "00000_part.png"))
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    mask = cv2.imread(str(maps / "00000_part_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (HEIGHT, WIDTH)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask > 0).sum() == region["area"]
    # The outline is white on the grey part.
    x, y = region["box"]["x"], region["box"]["y"]
    assert drawn[y : y + 3, x : x + 2].max() == 255


def test_a_map_of_a_picture_that_was_written_over_shows_what_was_judged(
    bundle: Path, tmp_path: Path
) -> None:
    with Inspector(bundle) as inspector:
        found = inspector.inspect(part())
    picture = tmp_path / "part.png"
    cv2.imwrite(str(picture), np.full((HEIGHT, WIDTH, 3), 250, np.uint8))
    for name, source in (("own", part()), ("other", picture), ("gone", tmp_path / "none.png")):
        found.save_map(tmp_path, name, source)
    own, other, gone = (
        cv2.imread(str(tmp_path / f"{name}.png")).astype(int) for name in ("own", "other", "gone")
    )
    assert own.shape == other.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(other, gone)
    assert np.abs(own - other).mean() < 2
