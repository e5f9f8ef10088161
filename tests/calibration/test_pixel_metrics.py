"""Pixel AUROC against scikit-learn, AUPRO against anomalib and a loop from its definition."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from calibration.pixel_metrics import FPR_LIMIT, PixelScores


def counted(maps, masks):
    pixels = PixelScores()
    for heat, mask in zip(maps, masks, strict=True):
        pixels.add(heat, mask)
    return pixels


def pixel_auroc(maps, masks):
    return counted(maps, masks).auroc()


def aupro(maps, masks, limit=FPR_LIMIT):
    return counted(maps, masks).aupro(limit)


def smooth(rng, sigma, size=48):
    return cv2.GaussianBlur(rng.normal(size=(size, size)).astype(np.float32), (0, 0), sigma)


def realistic(seed, images=10, signal=1.0, offset=0.0):
    """Smooth maps, blobs as masks (several regions each), the first three images good."""
    rng = np.random.default_rng(seed)
    masks = np.stack([smooth(rng, 4) > 0.12 for _ in range(images)])
    masks[:3] = False
    maps = np.stack([smooth(rng, 2) * 5 for _ in range(images)]) + signal * masks + offset
    return maps.astype(np.float32), masks


@pytest.mark.parametrize("offset", [0.0, 20.0])
@pytest.mark.parametrize("signal", [0.0, 0.5, 2.0])
def test_pixel_auroc_agrees_with_scikit_learn(signal, offset):
    maps, masks = realistic(1, signal=signal, offset=offset)
    assert pixel_auroc(maps, masks) == pytest.approx(
        roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-4
    )


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("signal", [0.0, 0.5, 2.0])
def test_aupro_agrees_with_anomalib(signal, limit):
    torch = pytest.importorskip("torch")
    reference_class = pytest.importorskip("anomalib.metrics.aupro")._AUPRO
    maps, masks = realistic(2, signal=signal)
    reference = reference_class(fpr_limit=limit)
    reference.update(torch.tensor(maps), torch.tensor(masks).int())
    assert aupro(maps, masks, limit) == pytest.approx(float(reference.compute()), abs=5e-4)


def brute_aupro(maps, masks, limit):
    """Bergmann et al. 2020, section 4.3.3, threshold by threshold, on maps with few values."""
    regions = []
    for index, mask in enumerate(masks):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions += [(index, labels == label) for label in range(1, count)]
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        flagged = maps >= threshold
        overlap = np.mean([flagged[index][region].mean() for index, region in regions])
        points.append((float(flagged[~masks].mean()), float(overlap)))
    fpr, pro = np.array(points).T
    grid = np.unique(np.concatenate([fpr[fpr <= limit], [limit]]))
    # Where the false-positive rate stands still, the overlap at its end counts for what follows.
    area = 0.0
    for left, right in pairwise(grid):
        start = pro[fpr == left].max() if (fpr == left).any() else np.interp(left, fpr, pro)
        stop = pro[fpr == right].min() if (fpr == right).any() else np.interp(right, fpr, pro)
        area += (right - left) * (start + stop) / 2
    return area / limit


@settings(max_examples=20)
@given(
    hnp.arrays(np.int8, (2, 6, 6), elements=st.integers(0, 7)),
    hnp.arrays(np.bool_, (2, 6, 6)),
    st.sampled_from([0.05, 0.1, 0.3, 1.0]),
)
def test_aupro_follows_the_definition(values, masks, limit):
    found = aupro(values.astype(np.float32), masks, limit)
    if masks.all() or not masks.any():
        assert math.isnan(found)
        return
    assert 0.0 <= found <= 1.0 + 1e-9
    assert found == pytest.approx(brute_aupro(values.astype(np.float64), masks, limit), abs=1e-9)


def test_every_region_counts_the_same():
    mask = np.zeros((20, 20), bool)
    mask[:10, :10] = True
    mask[18, 18] = True
    heat = np.zeros((20, 20), np.float32)
    heat[:10, :10] = 1.0
    # The large region is found, the one pixel never before everything is flagged: overlap 1/2 at
    # rate 0, 1 at rate 1.
    assert aupro(heat[None], mask[None], 1.0) == pytest.approx(0.75)
    assert pixel_auroc(heat[None], mask[None]) == pytest.approx(100 / 101 + 0.5 / 101)


def test_diagonal_neighbors_are_one_region():
    mask = np.eye(4, dtype=bool)
    pixels = PixelScores()
    pixels.add(np.zeros((4, 4), np.float32), mask)
    assert pixels.regions == 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_both_classes_it_is_undefined(value):
    masks = np.full((2, 4, 4), bool(value))
    assert math.isnan(pixel_auroc(np.ones((2, 4, 4), np.float32), masks))
    assert math.isnan(aupro(np.ones((2, 4, 4), np.float32), masks))


quarters = st.integers(-400, 400).map(lambda value: value / 4)


@pytest.mark.slow
@settings(max_examples=15)
@given(hnp.arrays(np.float32, (1, 8, 8), elements=quarters), hnp.arrays(np.bool_, (1, 8, 8)))
def test_order_alone_decides(maps, masks):
    if masks.all() or not masks.any():
        return
    # Quarters up to 100 each have a bin of their own.
    assert pixel_auroc(maps * 2, masks) == pytest.approx(pixel_auroc(maps, masks), abs=1e-12)
    assert pixel_auroc(-maps, masks) == pytest.approx(1 - pixel_auroc(maps, masks), abs=1e-12)
    assert 0.0 <= pixel_auroc(maps, masks) <= 1.0


def test_both_zeros_are_one_value():
    heat = np.array([[[0.0, -0.0]]], np.float32)
    assert pixel_auroc(heat, np.array([[[True, False]]])) == 0.5
    assert pixel_auroc(heat, np.array([[[False, True]]])) == 0.5


def test_what_is_not_finite_or_of_another_shape_is_refused():
    pixels = PixelScores()
    with pytest.raises(ValueError, match="finite"):
        pixels.add(np.full((2, 2), np.nan, np.float32), np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        pixels.add(np.zeros((2, 3), np.float32), np.zeros((2, 2), bool))


def test_pixels_outside_of_a_region_do_not_count():
    rng = np.random.default_rng(0)
    part, whole = PixelScores(), PixelScores()
    counting = np.zeros((24, 32), np.bool_)
    counting[4:20, 8:30] = True
    for _ in range(4):
        heat = rng.random((24, 32)).astype(np.float32)
        mask = rng.random((24, 32)) > 0.9
        part.add(heat, mask, counting)
        whole.add(heat[4:20, 8:30], mask[4:20, 8:30])
    assert part.regions == whole.regions
    assert part.auroc() == whole.auroc()
    assert part.aupro() == whole.aupro()
