"""A region of interest: what may be typed, and that nothing outside of it moves anything."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calibration.learning.photographs import read_photographs
from export.backbones.extractors import make_extractor, normalization_of
from export.bundling import Work
from export.checkpoint import Checkpoint
from export.data.roi import LEAST_SIDE, make_roi
from export.models.patchcore.graph import PatchCoreGraph
from export.models.patchcore.inside import Inside, MaskedExtractor
from export.models.patchcore.model import LinesidePatchcore, ProjectedPatchcoreModel
from export.models.patchcore.recipe import PatchCoreRecipe
from export.training import train
from runtime.errors import TrainingError
from runtime.images.dataset import load_category
from runtime.images.preprocess import decode_rgb
from runtime.images.roi import RegionOfInterest
from runtime.inspector import Inspector
from tests.cli import lineside

pytestmark = pytest.mark.slow

BACKBONE, LAYERS = "tf_efficientnet_lite0", ("blocks.2", "blocks.4")
SIZE = 64
SIZES = {(300, 400)}
ENGINES = ("openvino", "onnxruntime")


@given(st.text("0123456789,,,.-+ ex", max_size=24))
def test_whatever_is_typed_is_a_region_or_one_sentence(text):
    try:
        found = make_roi(text, SIZES, (64, 64))
    except TrainingError as error:
        assert str(error).startswith("--roi")
        assert "expected" in str(error)
        return
    sides = [part.stop - part.start for part in found.window]
    assert min(sides) >= LEAST_SIDE
    assert not found.mask.all()


@given(st.integers(0, 300), st.integers(0, 200), st.integers(100, 400), st.integers(100, 300))
def test_pixels_are_those_of_the_pictures(x, y, width, height):
    if x + width > 400 or y + height > 300 or (width, height) == (400, 300):
        with pytest.raises(TrainingError, match=r"inside 400x300 pixels|found all of it"):
            make_roi(f"{x},{y},{width},{height}", SIZES, (60, 80))
        return
    found = make_roi(f"{x},{y},{width},{height}", SIZES, (60, 80))
    rows, columns = found.window
    ends = [columns.start, columns.stop, rows.start, rows.stop]
    for end, expected in zip(ends, (x, x + width, y, y + height), strict=True):
        assert abs(end - expected / 5) <= 0.5
    shares = ",".join(
        f"{n / s:.9f}" for n, s in zip((x, y, width, height), (400, 300) * 2, strict=True)
    )
    np.testing.assert_array_equal(make_roi(shares, {(1, 1), (9, 9)}, (60, 80)).mask, found.mask)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.5,0.5,0.6,0.2", "inside shares of the picture from 0 to 1, found one that is outside"),
        ("-0.1,0.0,0.5,0.5", "found one that is outside"),
        ("350,0,100,100", "inside 400x300 pixels, found one that is outside"),
        ("10,10,0,50", "found one that is outside or empty"),
        ("0.0,0.0,1.0,1.0", "found all of it; leave --roi out"),
        ("10,10,20,20", "expected at least 16 pixels a side at the model's size, found 3x4"),
        ("1,2,3", "expected four numbers X,Y,W,H"),
        ("nan,0.1,0.5,0.5", "expected four numbers X,Y,W,H"),
        ("nowhere.png", "expected X,Y,W,H or a mask picture, white inside, found nowhere.png"),
    ],
)
def test_a_box_that_is_none_is_refused(text, said):
    with pytest.raises(TrainingError, match=r"^--roi") as raised:
        make_roi(text, SIZES, (64, 64))
    assert said in str(raised.value)


def test_pixels_need_pictures_of_one_size():
    with pytest.raises(TrainingError, match="found 2 sizes; give shares of the picture"):
        make_roi("10,10,100,100", {(300, 400), (300, 401)}, (64, 64))


def test_a_mask_is_a_picture_of_the_same_shape(tmp_path: Path):
    path = tmp_path / "mask.png"

    def refused(mask: np.ndarray) -> str:
        cv2.imwrite(str(path), mask)
        with pytest.raises(TrainingError) as raised:
            make_roi(str(path), SIZES, (64, 64))
        return str(raised.value)

    mask = np.zeros((150, 200), np.uint8)
    assert "found black alone" in refused(mask)
    assert "found white alone" in refused(mask + 255)
    cv2.circle(mask, (100, 75), 50, 255, cv2.FILLED)
    assert "the shape of the pictures, 400x300 pixels, found 200x120" in refused(mask[:120])
    cv2.imwrite(str(path), mask)
    found = make_roi(str(path), SIZES, (64, 64)).mask
    assert found.mean() == pytest.approx(math.pi * 50**2 / (150 * 200), rel=0.03)
    assert found[32, 32]
    assert not found[2, 2]


@pytest.mark.parametrize(("share", "blur"), [(0.05, 1.0), (0.05, 0.0), (0.0, 0.0)])
def test_the_graph_equals_the_torch_model(share: float, blur: float) -> None:
    roi = make_roi("0.2,0.3,0.5,0.6", SIZES, (SIZE, SIZE))
    normalization = normalization_of(BACKBONE)
    extractor = MaskedExtractor(make_extractor(BACKBONE, LAYERS, None), roi)
    model = ProjectedPatchcoreModel(
        score_share=share,
        score_blur=blur,
        roi=roi,
        layers=LAYERS,
        backbone=BACKBONE,
        pre_trained=False,
        num_neighbors=9,
    )
    model.feature_extractor = extractor
    model.memory_bank = torch.randn(300, 152, generator=torch.Generator().manual_seed(0))
    model.eval()
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1) for values in (normalization.mean, normalization.std)
    )

    def expected(image: np.ndarray) -> float:
        batch = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        return float(model((batch - mean) / std).pred_score)

    score = expected(one)
    graph = PatchCoreGraph(
        extractor,
        LAYERS,
        model.memory_bank,
        normalization,
        9,
        (10.0, 14.0),
        score_share=share,
        score_blur=blur,
        inside=model.inside,
    ).eval()
    mixed = np.where(roi.mask[..., None], one, other)
    with torch.no_grad():
        whole = graph(torch.from_numpy(one)[None])
        changed = graph(torch.from_numpy(mixed)[None])
    assert float(whole[0]) == pytest.approx(score, rel=1e-5)
    assert expected(mixed) == score
    for before, after in zip(whole, changed, strict=True):
        assert torch.equal(before, after)
    cells = torch.from_numpy(roi.cells((8, 8)))
    assert ((whole[1][0, 0] > 0) == (cells > 0)).all()
    # What is inside does count.
    assert expected(np.where(roi.mask[..., None], other, one)) != score


def test_the_edge_of_the_region_counts_as_much_as_its_middle() -> None:
    from anomalib.models.components import GaussianBlur2d

    mask = np.zeros((64, 64), np.bool_)
    mask[:, :32] = True
    smoothing = GaussianBlur2d(sigma=1.0, channels=1)
    inside = Inside(RegionOfInterest(mask), (16, 16), smoothing)
    even = smoothing(3.0 * inside.cells) * inside.weights
    torch.testing.assert_close(even, 3.0 * inside.cells)
    assert inside.count == 128


@pytest.fixture(scope="module")
def given_box() -> str:
    return "0.25,0.25,0.5,0.5"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, sample_root: Path, given_box: str) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "middle"
    options = ("--model", "patchcore", "--coreset-ratio", 0.2, "--size", 128, "--roi", given_box)
    done = lineside("train", *options, "--data", sample_root / "tile", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "region of interest: 25 % of the picture" in done.stderr
    return out


@pytest.mark.parametrize("engine", ENGINES)
def test_a_defect_outside_changes_nothing_and_one_inside_is_found(
    bundle: Path, sample_root: Path, engine: str
) -> None:
    good = decode_rgb(next((sample_root / "tile" / "test" / "good").iterdir()))
    outside, inside = good.copy(), good.copy()
    cv2.circle(outside, (30, 30), 25, (255, 0, 0), cv2.FILLED)
    outside[200:] = 0
    cv2.line(inside, (100, 100), (150, 160), (10, 10, 10), 6)
    with Inspector(bundle, engine=engine) as inspector:
        before, after, found = (inspector.inspect(one) for one in (good, outside, inside))
    assert before.verdict == after.verdict == "good", after.reason
    assert after.pred_score == before.pred_score
    np.testing.assert_array_equal(after.anomaly_map, before.anomaly_map)
    np.testing.assert_array_equal(after.embedding, before.embedding)
    assert after.statistics == before.statistics
    assert found.verdict == "anomalous"
    (region, *_) = found.regions().found
    assert region.box.x >= 64
    assert region.box.x + region.box.width <= 192
    drawn = found.heat_overlay(inside)
    assert drawn[:60].mean() < 0.6 * inside[:60].mean()


def test_what_the_bundle_says_of_it(bundle: Path, sample_root: Path, given_box: str) -> None:
    said = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    assert said["recipe"]["roi"] == {"file": "roi.png", "given": given_box, "share": 0.25}
    assert "roi.png" in said["files"]
    done = lineside("verify", bundle)
    assert done.returncode == 0, done.stdout
    done = lineside("evaluate", bundle, "--data", sample_root, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pixel_auroc"] > 0.5


def test_the_search_in_int8_keeps_to_it(bundle: Path, sample_root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    tile = sample_root / "tile"
    folders = ("--good", tile / "train" / "good", "--bad", tile / "test" / "crack")
    done = lineside("calibrate", copy, *folders, "--int8-search")
    assert done.returncode == 0, done.stderr
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    with Inspector(copy) as exact, Inspector(copy, precision="int8") as fast:
        mask = cv2.resize(exact.roi.mask.astype(np.uint8), (256, 256)) > 0
        for path in sorted((tile / "test").rglob("*.png"))[::5]:
            image = decode_rgb(path)
            one, other = exact.inspect(image), fast.inspect(image)
            # Of 64 patches few are looked at again in fp32.
            assert other.pred_score == pytest.approx(one.pred_score, rel=0.03)
            assert float(one.embedding @ other.embedding) > 0.9
            np.testing.assert_array_equal(one.anomaly_map > 0, other.anomaly_map > 0)
            mixed = fast.inspect(np.where(mask[..., None], image, noise))
            assert mixed.pred_score == other.pred_score


def test_what_was_kept_of_an_interrupted_export_knows_it(sample_root: Path, tmp_path: Path) -> None:
    recipe = PatchCoreRecipe(max_prototypes=50, size_hw=(64, 64), score_blur=0.5)
    category = load_category(sample_root, "tile")
    photographs = read_photographs(category, recipe.size_hw, 0, hold_out=False)
    assert photographs.sizes_hw == {(256, 256)}
    roi = make_roi("0.25,0.0,0.5,1.0", photographs.sizes_hw, recipe.size_hw)
    photographs = replace(photographs, roi=roi)
    work = Work(recipe, category, photographs, train(recipe, photographs, 0), 0)
    model = work.trained.model
    assert isinstance(model, LinesidePatchcore)
    assert all((found[:, 0] == 0).all() for found in work.trained.left_out.maps)
    kept = Checkpoint(tmp_path / "out", recipe, photographs, 0)
    kept.save(work.trained)
    again = kept.load()
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = model(picture), again.model(picture)
    assert torch.equal(found.pred_score, expected.pred_score)
    other = replace(photographs, roi=None)
    assert Checkpoint(tmp_path / "out", recipe, other, 0).load() is None


def test_a_model_that_cannot_is_named(sample_root: Path, tmp_path: Path) -> None:
    options = ("--model", "efficientad", "--roi", "0.1,0.1,0.5,0.5", "--out", tmp_path / "out")
    done = lineside("train", *options, "--data", sample_root / "tile")
    assert done.returncode == 1
    assert "judges a part of the picture alone (patchcore), found efficientad" in done.stderr
