"""Procedural parts: the same seed, the same pictures; masks sit on what was changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.sample_data import CATEGORIES, DEFECTS
from export.sample_data.dataset import render_part, write_dataset
from runtime.errors import DataError
from runtime.images.dataset import load_category
from tests.cli import lineside

EVERY_DEFECT = [(category, defect) for category in CATEGORIES for defect in DEFECTS[category]]


def small(out: Path, category: str = "tile", **changes: object) -> bool:
    settings = {"train": 2, "test_good": 1, "per_defect": 1, "size": 96, **changes}
    return write_dataset(out, category, **settings)  # type: ignore[arg-type]


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("category", CATEGORIES)
def test_layout_is_that_of_mvtec(tmp_path: Path, category: str) -> None:
    small(tmp_path, category)
    read = load_category(tmp_path, category)
    assert len(read.train_good) == 2
    assert sorted({part.defect_type for part in read.test}) == sorted([*DEFECTS[category], "good"])
    assert all(part.mask_path is not None for part in read.test if part.is_anomalous)
    assert len({path.read_bytes() for path in read.train_good}) == 2


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    small(tmp_path / "a")
    small(tmp_path / "b")
    small(tmp_path / "c", seed=1)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    pictures = {
        name: value
        for name, value in digest(tmp_path / "a" / "tile").items()
        if name.endswith(".png")
    }
    others = digest(tmp_path / "c" / "tile")
    assert all(
        others[name] != value for name, value in pictures.items() if "ground_truth" not in name
    )


@pytest.mark.slow
@pytest.mark.parametrize(("category", "defect"), EVERY_DEFECT)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_mask_covers_what_the_defect_changed(category: str, defect: str, seed: int) -> None:
    spoiled, mask = render_part(category, defect, np.random.default_rng(seed), 192)
    flawless, empty = render_part(category, None, np.random.default_rng(seed), 192)
    assert spoiled.shape == (192, 192, 3)
    assert spoiled.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 255}
    assert empty.max() == 0
    inside = mask > 0
    assert 10 <= inside.sum() <= 0.5 * inside.size
    change = np.abs(spoiled.astype(int) - flawless.astype(int)).max(axis=2)
    # What changed beyond the camera's softness lies under the mask, and the mask marks little that
    # did not change.
    near = cv2.dilate(mask, np.ones((9, 9), np.uint8)) > 0
    assert change[~near].max(initial=0) <= 26
    assert change[inside].mean() > 4 * change[~near].mean()


def test_a_second_call_writes_nothing_and_other_settings_are_refused(tmp_path: Path) -> None:
    assert small(tmp_path)
    before = digest(tmp_path)
    assert not small(tmp_path)
    with pytest.raises(DataError, match="--overwrite"):
        small(tmp_path, seed=3)
    assert digest(tmp_path) == before
    assert small(tmp_path, seed=3, overwrite=True)
    assert digest(tmp_path) != before
    assert [path.name for path in tmp_path.iterdir()] == ["tile"]


@pytest.mark.parametrize("size", [63, 2049, 0, -1])
def test_a_size_out_of_range_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(DataError, match="64 to 2048"):
        small(tmp_path, size=size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("category", "defect"), [("bottle", None), ("tile", "bent")])
def test_unknown_names_are_refused_with_those_that_exist(category: str, defect: str | None) -> None:
    with pytest.raises(DataError, match="expected one of"):
        render_part(category, defect, np.random.default_rng(0), 96)


def test_command_line(tmp_path: Path) -> None:
    counts = ("--train", 1, "--test-good", 1, "--per-defect", 1, "--size", 96)
    done = lineside("sample-data", tmp_path / "parts", "--category", "grid", *counts, "--json")
    made = json.loads(done.stdout)
    assert made["written"] is True
    assert made["test_anomalous"] == 5
    assert len(list((tmp_path / "parts" / "grid" / "ground_truth").rglob("*_mask.png"))) == 5
