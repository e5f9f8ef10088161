"""The region of interest on the box: which pixels count, how it is kept, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.bundle.folder import MANIFEST_FILE, Bundle, seal
from runtime.bundle.manifest import ROI, parse_manifest
from runtime.errors import BundleError, ImageError
from runtime.images.roi import ROI_FILE, RegionOfInterest, read_roi
from runtime.inspector import Inspector
from tests.edge_app.tiny_bundle import CELLS, SIDE
from tests.runtime.tiny import random_image, write_bundle

HALF = np.zeros((SIDE, SIDE), np.bool_)
HALF[:, : SIDE // 2] = True


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30))
def test_a_cell_counts_if_any_of_its_pixels_does(seed, height, width):
    mask = np.random.default_rng(seed).random((30, 30)) > 0.97
    mask[7, 11] = True
    found = RegionOfInterest(mask).cells((height, width))
    expected = np.zeros((height, width))
    for row, column in np.argwhere(mask):
        # A pixel may lie in several cells.
        rows = slice(row * height // 30, -(-(row + 1) * height // 30))
        expected[rows, column * width // 30 : -(-(column + 1) * width // 30)] = 1.0
    np.testing.assert_array_equal(found, expected)


def test_what_is_outside_is_not_seen():
    roi = RegionOfInterest(HALF)
    one, other = random_image(0), random_image(1)
    mixed = np.where(HALF[..., None], one, other)
    np.testing.assert_array_equal(roi.seen(one), roi.seen(mixed))
    assert roi.seen(one).shape == (SIDE, SIDE // 2, 3)
    ring = HALF.copy()
    ring[10:20, 4:8] = False
    assert (RegionOfInterest(ring).seen(one)[10:20, 4:8] == 128).all()
    heat = np.random.default_rng(0).random((SIDE, SIDE)).astype(np.float32)
    kept = roi.apply(heat)
    assert (kept[~HALF] == heat.min()).all()
    np.testing.assert_array_equal(kept[HALF], heat[HALF])


def test_it_is_drawn_at_any_size():
    gray = np.full((300, 500, 3), 200, np.uint8)
    drawn = RegionOfInterest(HALF).draw(gray)
    assert (drawn[50, 20] == 200).all()
    assert (drawn[50, 400] == 80).all()
    assert (gray == 200).all()


def with_roi(folder: Path, mask: np.ndarray, *, said: bool = True) -> Path:
    """The tiny bundle, whose graph knows of no region, with one."""
    write_bundle(folder)
    cv2.imwrite(str(folder / ROI_FILE), mask.astype(np.uint8) * 255)
    manifest = parse_manifest((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest.recipe.update({ROI: {"file": ROI_FILE}} if said else {})
    seal(folder, manifest)
    return folder


def test_a_bundle_keeps_it(tmp_path: Path) -> None:
    with Bundle.open(with_roi(tmp_path / "bundle", HALF)) as bundle:
        assert ROI_FILE in bundle.manifest.files
        found = bundle.roi()
    assert found is not None
    np.testing.assert_array_equal(found.mask, HALF)
    found.write(tmp_path / "again.png")
    np.testing.assert_array_equal(read_roi(tmp_path / "again.png", (SIDE, SIDE)).mask, HALF)
    with Bundle.open(write_bundle(tmp_path / "whole")) as bundle:
        assert bundle.roi() is None


@pytest.mark.parametrize(
    "mask",
    [np.zeros((SIDE, SIDE)), np.ones((SIDE, SIDE)), HALF[:-1]],
    ids=["black", "white", "another size"],
)
def test_a_region_that_is_none_is_refused(mask: np.ndarray, tmp_path: Path) -> None:
    bundle = with_roi(tmp_path / "bundle", mask)
    with pytest.raises(BundleError, match=r"expected a region of interest of 32x32 pixels, part"):
        Inspector(bundle)


def test_a_lost_or_additional_region_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="found one of them alone"):
        Inspector(with_roi(tmp_path / "additional", HALF, said=False))
    bundle = with_roi(tmp_path / "bundle", HALF)
    (bundle / ROI_FILE).write_bytes(b"no picture")
    with pytest.raises(BundleError, match=r"roi.png: expected sha256"):
        Inspector(bundle)
    (bundle / ROI_FILE).unlink()
    with pytest.raises(BundleError, match=r"roi.png: expected a file"):
        Inspector(bundle)


def test_heat_and_regions_end_at_its_edge(tmp_path: Path) -> None:
    image = np.full((SIDE, SIDE, 3), 128, np.uint8)
    cell = SIDE // CELLS
    image[:cell, cell : 3 * cell] = 0
    with Inspector(with_roi(tmp_path / "bundle", HALF)) as inspector:
        found = inspector.inspect(image)
    (region,) = found.regions().found
    assert region.box.x + region.box.width == SIDE // 2
    assert (found.heat_map()[~HALF] == found.anomaly_map.min()).all()
    assert not found.mask()[~HALF].any()


def test_a_box_on_a_part_is_not_looked_up(tmp_path: Path) -> None:
    from edge_app.region import piece_around
    from runtime.images.regions import Box

    image = random_image(0)
    roi = RegionOfInterest(HALF)
    with pytest.raises(ImageError, match="found one with a region of interest"):
        piece_around(Box(4, 4, 4, 4), image, roi)
    np.testing.assert_array_equal(piece_around(Box(0, 0, SIDE, SIDE), image, roi), image)
