"""Folders as people lay them out, and as they should not."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.errors import DataError
from runtime.images.dataset import Part, list_categories, list_images, load_category, load_mask


def picture(path: Path, *, value: int = 128, side: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((side, side, 3), value, np.uint8))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tile = tmp_path / "tile"
    for name in ("002", "001"):
        picture(tile / "train" / "good" / f"{name}.png")
    picture(tile / "test" / "good" / "000.png")
    for name in ("b", "a", "unmasked"):
        picture(tile / "test" / "crack" / f"{name}.png")
    picture(tile / "ground_truth" / "crack" / "a_mask.png", value=255)
    picture(tile / "ground_truth" / "crack" / "b.png", value=255)
    picture(tmp_path / "grid" / "train" / "good" / "0.png")
    return tmp_path


def test_a_category_below_the_root_is_read_in_order(root: Path) -> None:
    category = load_category(root, "tile")
    assert category.name == "tile"
    assert [path.name for path in category.train_good] == ["001.png", "002.png"]
    found = [
        (part.defect_type, part.path.stem, part.mask_path and part.mask_path.name)
        for part in category.test
    ]
    assert found == [
        ("crack", "a", "a_mask.png"),
        ("crack", "b", "b.png"),
        ("crack", "unmasked", None),
        ("good", "000", None),
    ]
    assert [part.is_anomalous for part in category.test] == [True, True, True, False]


def test_the_categorys_own_folder_is_the_same_category(root: Path) -> None:
    expected = load_category(root, "tile")
    assert load_category(root / "tile") == expected
    assert load_category(root / "tile", "tile") == expected


def test_a_mask_named_like_the_picture_loses_to_the_one_named_mask(root: Path) -> None:
    picture(root / "tile" / "ground_truth" / "crack" / "a.png")
    masks = {part.path.stem: part.mask_path for part in load_category(root, "tile").test}
    assert masks["a"] is not None
    assert masks["a"].name == "a_mask.png"


def test_a_plain_folder_of_good_parts_is_enough(tmp_path: Path) -> None:
    for name in ("x.JPG", "sub/y.png", ".hidden.png", ".cache/z.png"):
        picture(tmp_path / "screws" / name)
    (tmp_path / "screws" / "notes.txt").write_text("no picture", encoding="utf-8")
    (tmp_path / "screws" / "folder.png").mkdir()
    category = load_category(tmp_path / "screws")
    assert category.name == "screws"
    assert [path.relative_to(tmp_path / "screws").as_posix() for path in category.train_good] == [
        "sub/y.png",
        "x.JPG",
    ]
    assert category.test == ()


def test_train_without_good_inside_is_read_as_it_is(tmp_path: Path) -> None:
    picture(tmp_path / "screws" / "train" / "0.png")
    assert len(load_category(tmp_path / "screws").train_good) == 1


@pytest.mark.parametrize("beside", ["bad/1.png", "new.png"])
def test_a_folder_with_good_and_other_pictures_is_for_a_person_to_sort(
    tmp_path: Path, beside: str
) -> None:
    picture(tmp_path / "photographs" / "Good" / "0.png")
    assert len(load_category(tmp_path / "photographs").train_good) == 1
    picture(tmp_path / "photographs" / beside)
    with pytest.raises(
        DataError, match=rf"found 'Good' beside {beside.split('/')[0]}; give .*Good"
    ):
        load_category(tmp_path / "photographs")


def test_good_may_be_written_in_capitals(tmp_path: Path) -> None:
    for name in ("train/Good/0.png", "train/Bad/1.png", "test/GOOD/2.png", "test/crack/3.png"):
        picture(tmp_path / "tile" / name)
    category = load_category(tmp_path, "tile/")
    assert category.name == "tile"
    assert [path.name for path in category.train_good] == ["0.png"]
    assert [(part.defect_type, part.is_anomalous) for part in category.test] == [
        ("good", False),
        ("crack", True),
    ]
    assert list_categories(tmp_path) == ["tile"]


def test_categories_are_listed(root: Path) -> None:
    assert list_categories(root) == ["grid", "tile"]
    assert list_categories(root / "tile") == []
    assert list_categories(root / "nowhere") == []


def test_a_wrong_category_lists_those_there(root: Path) -> None:
    with pytest.raises(DataError, match="category 'tyle', found grid, tile; check --category"):
        load_category(root, "tyle")


def test_several_categories_without_a_choice_are_listed(root: Path) -> None:
    with pytest.raises(DataError, match="grid, tile; say which with --category"):
        load_category(root)


def test_test_parts_alone_are_never_taken_for_good_ones(root: Path) -> None:
    # Without train/, a plain folder would be read: defective parts and masks would be what good
    # looks like.
    for path in (root / "tile" / "train" / "good").iterdir():
        path.unlink()
    (root / "tile" / "train" / "good").rmdir()
    (root / "tile" / "train").rmdir()
    with pytest.raises(DataError, match="train"):
        load_category(root, "tile")


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, message in (
        (tmp_path / "no", "nothing there"),
        (file, "a file"),
        (empty, "found none"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            list_images(path)
        assert str(path) in str(caught.value)
        with pytest.raises(DataError):
            load_category(path)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("screws/good", "screws"), ("tile/train/good", "tile"), ("screws", "screws")],
)
def test_a_plain_folder_is_named_after_the_part(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "0.png").write_bytes(b"0")
    assert load_category(tmp_path / folder).name == name
    assert load_category(tmp_path / folder, Path(folder).name).name == Path(folder).name


def test_an_empty_train_folder_is_named(root: Path) -> None:
    for path in (root / "grid" / "train" / "good").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="grid"):
        load_category(root, "grid")


def test_a_mask_is_resized_without_new_values(tmp_path: Path) -> None:
    mask = np.zeros((8, 12), np.uint8)
    mask[2:4, 3:9] = 255
    assert cv2.imwrite(str(tmp_path / "m.png"), mask)
    part = Part(tmp_path / "p.png", "crack", tmp_path / "m.png")
    loaded = load_mask(part, (32, 48))
    assert loaded.dtype == np.bool_
    np.testing.assert_array_equal(loaded, np.kron(mask > 0, np.ones((4, 4), bool)))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(np.uint8, 255), (np.uint8, 1), (np.uint8, 3), (np.uint16, 65535), (np.uint16, 1)],
)
def test_a_mask_of_any_depth_and_range_is_read(tmp_path: Path, dtype: type, value: int) -> None:
    mask = np.zeros((8, 12), dtype)
    mask[2:4, 3:9] = value
    assert cv2.imwrite(str(tmp_path / "m.png"), mask)
    loaded = load_mask(Part(tmp_path / "p.png", "crack", tmp_path / "m.png"), (8, 12))
    np.testing.assert_array_equal(loaded, mask > 0)


def test_noise_beside_a_defect_is_not_one(tmp_path: Path) -> None:
    mask = np.full((8, 12), 4, np.uint8)
    mask[2:4, 3:9] = 251
    assert cv2.imwrite(str(tmp_path / "m.png"), mask)
    loaded = load_mask(Part(tmp_path / "p.png", "crack", tmp_path / "m.png"), (8, 12))
    np.testing.assert_array_equal(loaded, mask == 251)


def test_a_scratch_thinner_than_a_pixel_of_the_model_stays(tmp_path: Path) -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[:, 57] = 255
    assert cv2.imwrite(str(tmp_path / "m.png"), mask)
    loaded = load_mask(Part(tmp_path / "p.png", "crack", tmp_path / "m.png"), (10, 10))
    np.testing.assert_array_equal(np.flatnonzero(loaded.all(axis=0)), [5])
    assert loaded.sum() == 10


def test_a_good_parts_mask_is_empty(tmp_path: Path) -> None:
    loaded = load_mask(Part(tmp_path / "p.png", "good"), (6, 9))
    assert loaded.shape == (6, 9)
    assert not loaded.any()


@pytest.mark.parametrize("data", [b"no picture", b"", None], ids=["text", "empty", "gone"])
def test_an_unreadable_mask_is_named(tmp_path: Path, data: bytes | None) -> None:
    mask = tmp_path / "m.png"
    if data is not None:
        mask.write_bytes(data)
    with pytest.raises(DataError, match=r"m\.png"):
        load_mask(Part(tmp_path / "p.png", "crack", mask), (8, 8))


def test_linked_folders_are_followed_each_once(tmp_path: Path) -> None:
    here, share = tmp_path / "parts", tmp_path / "share"
    for folder, count in ((here, 3), (share, 7)):
        folder.mkdir()
        for index in range(count):
            (folder / f"{index}.png").write_bytes(b"")
    for link, target in (("mounted", share), ("again", share), ("nowhere", tmp_path / "gone")):
        (here / link).symlink_to(target)
    (share / "round").symlink_to(here)
    found = list_images(here)
    assert found == sorted(found)
    assert len({path.resolve() for path in found}) == len(found) == 10


def test_a_folder_below_that_cannot_be_read_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.png").touch()
    scan = os.scandir

    # Whoever runs the tests as root can read any folder.
    def refuse(place: str) -> Any:
        if place.endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert [path.parent.name for path in list_images(tmp_path)] == ["open"]
    assert "closed: a folder that cannot be read (Permission denied)" in caplog.text
