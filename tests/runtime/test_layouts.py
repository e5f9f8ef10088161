"""Data sets read as they come: VisA, BTAD, MVTec LOCO AD, COCO's annotations."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import DataError
from runtime.images.dataset import Category, list_categories, load_category, load_mask
from runtime.images.layouts.coco import Outlines, RunLengths, read_coco
from runtime.images.layouts.coco import _unpacked as unpacked
from runtime.inspector import Inspector
from tests.cli import lineside
from tests.edge_app.tiny_bundle import write_part
from tests.runtime.tiny import write_bundle

SIDE = 16


def picture(path: Path, box: tuple[int, int, int, int] | None = None, value: int = 255) -> Path:
    """Black, with a filled box left, top, right, bottom."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    if box is not None:
        left, top, right, bottom = box
        image[top:bottom, left:right] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def seen(category: Category) -> list[tuple[str, str, int]]:
    """Defect, picture and marked pixels of each test part."""
    return [
        (part.defect_type, part.path.stem, int(load_mask(part, (SIDE, SIDE)).sum()))
        for part in category.test
    ]


def test_visa_is_read_by_its_list(tmp_path: Path) -> None:
    data = tmp_path / "candle" / "Data"
    for name in ("000", "001", "002"):
        picture(data / "Images" / "Normal" / f"{name}.JPG")
    picture(data / "Images" / "Anomaly" / "000.JPG")
    picture(data / "Masks" / "Anomaly" / "000.png", (2, 2, 6, 6), value=1)
    rows = [
        "object,split,label,image,mask",
        "candle,train,normal,candle/Data/Images/Normal/001.JPG,",
        "candle,train,normal,candle/Data/Images/Normal/000.JPG,",
        "candle,test,normal,candle/Data/Images/Normal/002.JPG,",
        "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png",
        "fryum,train,normal,fryum/Data/Images/Normal/000.JPG,",
    ]
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv" / "1cls.csv").write_text("\n".join(rows), encoding="utf-8")
    assert list_categories(tmp_path) == ["candle", "fryum"]
    category = load_category(tmp_path, "candle")
    assert [path.stem for path in category.train_good] == ["000", "001"]
    assert seen(category) == [("anomaly", "000", 16), ("good", "002", 0)]
    assert load_category(tmp_path / "candle") == category
    with pytest.raises(DataError, match="holds several categories, candle, fryum"):
        load_category(tmp_path)
    with pytest.raises(DataError, match="expected the category 'pcb', found candle, fryum"):
        load_category(tmp_path, "pcb")
    with pytest.raises(DataError, match=r"found 1 missing, as .*fryum"):
        load_category(tmp_path, "fryum")


def test_btad_calls_good_parts_ok(tmp_path: Path) -> None:
    root = tmp_path / "01"
    picture(root / "train" / "ok" / "0000.bmp")
    picture(root / "test" / "ok" / "0000.bmp")
    picture(root / "test" / "ko" / "0000.bmp")
    picture(root / "test" / "ko" / "0001.bmp")
    picture(root / "ground_truth" / "ko" / "0000.png", (0, 0, 3, 3))
    picture(root / "ground_truth" / "ko" / "0001.bmp", (0, 0, 4, 4))
    assert list_categories(tmp_path) == ["01"]
    category = load_category(tmp_path, "01")
    assert len(category.train_good) == 1
    assert seen(category) == [("ko", "0000", 9), ("ko", "0001", 16), ("good", "0000", 0)]


def test_loco_has_a_folder_of_masks_for_a_picture(tmp_path: Path) -> None:
    root = tmp_path / "juice_bottle"
    picture(root / "train" / "good" / "000.png")
    picture(root / "validation" / "good" / "000.png")
    picture(root / "test" / "logical_anomalies" / "000.png")
    masks = root / "ground_truth" / "logical_anomalies" / "000"
    picture(masks / "000.png", (0, 0, 4, 4), value=254)
    picture(masks / "001.png", (2, 2, 6, 6), value=100)
    category = load_category(tmp_path, "juice_bottle")
    assert seen(category) == [("logical_anomalies", "000", 16 + 16 - 4)]


def coco(path: Path, names: dict[str, list[dict]]) -> None:
    """A file of annotations of pictures that lie beside it."""
    annotations = [
        {"id": 1, "image_id": index, "category_id": 7, "iscrowd": 0, **one}
        for index, its in enumerate(names.values())
        for one in its
    ]
    images = [
        {"id": index, "file_name": name, "height": SIDE, "width": SIDE, "license": 1}
        for index, name in enumerate(names)
    ]
    kinds = [{"id": 7, "name": "scratch", "supercategory": "defect"}]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": kinds}
    path.write_text(json.dumps(content), encoding="utf-8")
    for name in names:
        picture(path.parent / name)


SQUARE = {"segmentation": [[2, 2, 5, 2, 5, 5, 2, 5]], "bbox": [2, 2, 4, 4]}
BOX = {"segmentation": [], "bbox": [8, 8, 3, 3]}
COLUMN = {"segmentation": {"counts": [SIDE, 5, SIDE * SIDE - SIDE - 5], "size": [SIDE, SIDE]}}


def test_cocos_splits_are_train_and_test(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lineside")
    for split in ("train", "test"):
        (tmp_path / "cap" / split).mkdir(parents=True)
    name = "_annotations.coco.json"
    coco(tmp_path / "cap" / "train" / name, {"b.png": [], "a.png": [], "bad.png": [SQUARE]})
    test = {"good.png": [], "one.png": [SQUARE], "two.png": [SQUARE, BOX], "rle.png": [COLUMN]}
    coco(tmp_path / "cap" / "test" / name, test)
    category = load_category(tmp_path / "cap")
    assert category.name == "cap"
    assert [path.name for path in category.train_good] == ["a.png", "b.png"]
    assert "1 annotated pictures of the training split are left out" in caplog.text
    assert seen(category) == [
        ("good", "good", 0),
        ("scratch", "one", 16),
        ("scratch", "rle", 5),
        ("scratch", "two", 25),
    ]
    mask = load_mask(category.test[2], (SIDE, SIDE))
    assert mask[:5, 1].all()
    (tmp_path / "cap" / "test" / "one.png").unlink()
    with pytest.raises(DataError, match=r"found 1 missing, as one\.png"):
        load_category(tmp_path / "cap")


def test_one_file_for_all_has_good_pictures_to_learn_and_bad_ones_to_test(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    coco(tmp_path / "images" / "x.json", {"a.png": [], "bad.png": [SQUARE]})
    (tmp_path / "annotations.json").write_bytes((tmp_path / "images" / "x.json").read_bytes())
    (tmp_path / "images" / "x.json").unlink()
    category = load_category(tmp_path)
    assert [path.name for path in category.train_good] == ["a.png"]
    assert seen(category) == [("scratch", "bad", 16)]


def test_what_is_no_coco_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"images": [{"file_name": "a.png"}]}', encoding="utf-8")
    with pytest.raises(DataError, match="expected COCO annotations, found"):
        read_coco(path)
    runs = RunLengths([3, 4], (SIDE, SIDE))
    with pytest.raises(DataError, match="expected run lengths of 16 x 16 pixels, found 7"):
        Outlines((SIDE, SIDE), (_annotation(runs),)).mask()


def _annotation(runs: RunLengths):
    from runtime.images.layouts.coco import Annotation

    return Annotation(1, 1, runs)


def packed(counts: list[int]) -> str:
    """rleToString of cocoapi's maskApi.c."""
    out = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != -1 if bits & 0x10 else value != 0
            out += chr((bits | (0x20 if more else 0)) + 48)
    return out


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=30))
def test_packed_run_lengths_are_read_as_cocoapi_writes_them(counts: list[int]) -> None:
    assert unpacked(packed(counts)) == counts


def test_inspect_writes_coco_that_is_read_again(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    parts = tmp_path / "parts"
    write_part(parts / "bright.png", 1, "bright")
    write_part(parts / "dark.png", 2, "dark", side=80)
    write_part(parts / "good.png", 3, "good")
    out = tmp_path / "found.json"
    assert lineside("inspect", bundle, parts, "--coco", out).returncode in (0, 1)
    raw = json.loads(out.read_text(encoding="utf-8"))
    assert [one["verdict"] for one in raw["images"]] == ["anomalous", "anomalous", "cannot_judge"]
    (first, second) = raw["annotations"]
    assert (first["image_id"], second["image_id"]) == (1, 2)
    content = read_coco(out)
    with Inspector(bundle) as inspector:
        for picture, annotation in zip(content.images[:2], content.annotations, strict=True):
            found = inspector.inspect(Path(picture.file_name))
            assert (picture.height, picture.width) == found.image_hw
            mask = Outlines(found.image_hw, (annotation,)).mask()
            common, either = mask & found.mask(), mask | found.mask()
            assert common.sum() > 0.9 * either.sum()


def test_supervision_opens_what_inspect_writes(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    bundle, out = write_bundle(tmp_path / "bundle"), tmp_path / "found.json"
    write_part(tmp_path / "parts" / "bright.png", 1, "bright")
    write_part(tmp_path / "parts" / "good.png", 3, "good")
    lineside("inspect", bundle, tmp_path / "parts", "--coco", out)
    data = supervision.DetectionDataset.from_coco(
        str(tmp_path / "parts"), str(out), force_masks=True
    )
    assert [len(found) for _, _, found in data] == [1, 0]
