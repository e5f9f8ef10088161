"""Which pictures are learnt from, and which are held out."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.learning.photographs import read_photographs
from runtime.images.dataset import load_category


@pytest.fixture
def good(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(40):
        assert cv2.imwrite(
            str(tmp_path / f"{index:02d}.png"), rng.integers(0, 256, (32, 32, 3), np.uint8)
        )
    return tmp_path


@pytest.mark.parametrize("seed", range(5))
def test_a_copy_of_a_learned_picture_is_not_held_out(
    good: Path, seed: int, caplog: pytest.LogCaptureFixture
):
    once = read_photographs(load_category(good), (32, 32), seed)
    for index in range(40):
        shutil.copy(good / f"{index:02d}.png", good / f"copy-{index:02d}.png")
    found = read_photographs(load_category(good), (32, 32), seed)
    assert not set(found.train_digests) & set(found.held_out_digests)
    assert (found.train, found.held_out, found.fingerprint) == (
        once.train,
        once.held_out,
        once.fingerprint,
    )
    assert (
        "40 of 80 good pictures are exact repeats of another one, which counts once" in caplog.text
    )


@pytest.mark.parametrize("bits", [10, 12])
def test_a_camera_that_fills_16_bits_from_below_is_told(
    tmp_path: Path, bits: int, caplog: pytest.LogCaptureFixture
):
    values = np.random.default_rng(0).integers(0, 2**bits, (32, 32, 3), np.uint16)
    for shift, told in ((0, True), (16 - bits, False)):
        assert cv2.imwrite(str(tmp_path / "0.png"), values << shift)
        caplog.clear()
        assert len(read_photographs(load_category(tmp_path), (32, 32), 0).train) == 1
        assert ("if the camera writes 10 or 12 bits" in caplog.text) == told
