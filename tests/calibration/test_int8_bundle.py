"""INT8 variants of models that anomalib trained."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import stat

import numpy as np
import openvino as ov
import pytest

from calibration.int8 import parts, variant
from calibration.int8.gate import Bounds
from calibration.int8.graph import feature_model, graft, memory_bank
from calibration.int8.variant import add_int8
from calibration.scoring import digest_of, learned_digests
from runtime.bundle.folder import Bundle, seal
from runtime.bundle.golden import replay_golden
from runtime.bundle.manifest import Variant
from runtime.errors import BundleError, ParityError
from runtime.images.preprocess import load_image
from runtime.inspector import Inspector
from tests.cli import QUICK, lineside
from tests.runtime.tiny import write_bundle

pytestmark = pytest.mark.slow
# The gate of the tests' briefly trained models: what is tested is the way, not their quality.
LOOSE = Bounds(auroc_drop=0.3, rank_correlation=0.3, flips=0.5)


def tree(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def tile_pictures(sample_root):
    return sorted((sample_root / "tile" / "test").glob("*/*.png"))


@pytest.fixture(scope="module")
def folders(sample_root, tmp_path_factory):
    """Good parts, eight learned ones with all unseen ones, and bad parts."""
    root = tmp_path_factory.mktemp("shared-out")
    learned = sorted((sample_root / "tile" / "train" / "good").glob("*.png"))[:8]
    for picture in (*learned, *tile_pictures(sample_root)):
        folder = root / ("good" if picture.parent.name == "good" else "bad")
        folder.mkdir(exist_ok=True)
        split = picture.parent.parent.name
        shutil.copy(picture, folder / f"{split}-{picture.parent.name}-{picture.name}")
    return root / "good", root / "bad"


@pytest.fixture(
    scope="module", params=["patchcore", pytest.param("efficientad", marks=pytest.mark.nightly)]
)
def quantized(request, folders, tmp_path_factory):
    """A copy of a trained bundle to which calibrate adds INT8, what it said, and the original."""
    trained = request.getfixturevalue(f"{request.param}_bundle")
    copy = shutil.copytree(trained, tmp_path_factory.mktemp("int8") / trained.name)
    copy.chmod(0o750)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variant, "Bounds", lambda: LOOSE)
        done = lineside(
            "calibrate", copy, "--good", folders[0], "--bad", folders[1], "--int8", "--json"
        )
    assert done.returncode == 0, done.stderr
    return copy, done, trained


def test_its_networks_compute_in_int8_and_products_of_floats_stay_so(quantized):
    bundle, _, _ = quantized
    model = ov.Core().read_model(str(bundle / "openvino" / "int8" / "model.xml"))
    kinds = {node.get_type_name() for node in model.get_ops()}
    assert "FakeQuantize" in kinds
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    weights = [node for node in constants if node.get_element_type() == ov.Type.i8]
    assert len(weights) >= 4
    for node in model.get_ops():
        if node.get_type_name() in ("MatMul", "AvgPool"):
            sources = {one.get_node().get_type_name() for one in node.input_values()}
            assert "FakeQuantize" not in sources


def test_the_bundle_is_sealed_and_says_what_was_seen(quantized):
    bundle, _, trained = quantized
    with Bundle.open(bundle) as opened:
        assert [variant.key for variant in opened.manifest.variants][-1] == "openvino/int8"
        certificate = opened.manifest.certificate["variants"]["openvino/int8"]
        assert certificate["images"] > 0
        assert LOOSE.rank_correlation <= opened.manifest.metrics["int8_gate"]["rank_correlation"]
        assert "openvino/int8" in opened.thresholds().variants
    with Bundle.open(trained) as untouched:
        assert "openvino/int8" not in {variant.key for variant in untouched.manifest.variants}


def test_nothing_is_told_of_openvino_asking_torch_to_read_the_model(patchcore_bundle):
    told = []
    logger, handler = logging.getLogger("torch.export.pt2_archive._package"), logging.Handler()
    handler.emit = told.append
    logger.addHandler(handler)
    try:
        feature_model(patchcore_bundle / "onnx" / "fp32" / "model.onnx")
    finally:
        logger.removeHandler(handler)
    assert told == []


def test_verify_holds_it_to_what_it_said_when_it_passed(quantized, tmp_path):
    bundle = shutil.copytree(quantized[0], tmp_path / "copy")
    assert replay(bundle).max_score_difference == 0.0
    path = bundle / "golden" / "openvino-int8.npz"
    with np.load(path) as stored:
        said = dict(stored)
    said["scores"] = said["scores"] + 0.5 * said["score_range"]
    np.savez(path, **said)
    with Bundle.open(quantized[0]) as opened:
        seal(bundle, opened.manifest)
    assert not replay(bundle).holds


def replay(folder):
    with Bundle.open(folder) as opened, Inspector(opened, precision="int8") as inspector:
        return replay_golden(opened, inspector)


# PatchCore rebuilds its bank instead.
@pytest.mark.nightly
@pytest.mark.parametrize("quantized", ["efficientad"], indirect=True)
def test_maps_on_good_parts_lie_where_those_of_fp32_do(quantized, folders):
    bundle, _, trained = quantized
    with Bundle.open(trained) as opened:
        learned, size_hw = learned_digests(opened), opened.manifest.input.size_hw
    good = [load_image(path, size_hw) for path in folders[0].iterdir()]
    pictures = [picture for picture in good if digest_of(picture) in learned]
    found = []
    for precision in ("fp32", "int8"):
        with Inspector(bundle, precision=precision) as inspector:
            maps = np.stack([inspector.infer(picture).anomaly_map for picture in pictures])
        found.append(np.quantile(maps, (0.9, 0.995)))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-2, atol=1e-2 * float(np.ptp(found[0])))


def test_its_scores_are_near_and_not_equal(quantized, sample_root):
    bundle, _, _ = quantized
    with Inspector(bundle) as exact, Inspector(bundle, precision="int8") as fast:
        pairs = [(exact.inspect(path), fast.inspect(path)) for path in tile_pictures(sample_root)]
    one, other = (np.array([pair[index].pred_score for pair in pairs]) for index in (0, 1))
    assert np.abs(one - other).max() > 0
    assert np.corrcoef(one, other)[0, 1] > 0.7
    cosine = [float(pair[0].embedding @ pair[1].embedding) for pair in pairs]
    assert np.median(cosine) > 0.5


def test_a_gate_that_cannot_be_passed_names_layers_and_leaves_the_bundle(
    patchcore_bundle, folders, tmp_path
):
    copy = shutil.copytree(patchcore_bundle, tmp_path / "bundle")
    with Bundle.open(copy) as bundle:
        manifest = bundle.manifest
    recipe = {**manifest.recipe, "int8_attempts": [0.5]}
    seal(copy, dataclasses.replace(manifest, recipe=recipe))
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(
        ParityError, match=r"layers that lose most are .*The bundle stays as it was"
    ):
        add_int8(copy, *folders, Bounds(rank_correlation=1.01))
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_mistyped_variant_is_told_before_anything_is_made(patchcore_bundle, folders, tmp_path):
    copy = shutil.copytree(patchcore_bundle, tmp_path / "bundle")
    before = tree(copy)
    mistyped = [copy, "--good", folders[0], "--int8", "--precision", "INT8"]
    assert "expected the variant any/INT8" in lineside("calibrate", *mistyped).line()
    assert tree(copy) == before


@pytest.mark.parametrize("quantized", ["patchcore"], indirect=True)
def test_calibrate_sets_the_thresholds_of_all_variants(quantized, folders):
    bundle, done, _ = quantized
    good = folders[0]
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o750
    assert "Traceback" not in done.stderr
    assert "openvino/int8 added" in done.stderr
    assert "no bad part has judged it" not in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["engine"], row["precision"]) for row in rows][-1] == ("openvino", "int8")
    # Those that were learned with their left-out scores.
    with Bundle.open(bundle) as opened:
        learned, size_hw = learned_digests(opened), opened.manifest.input.size_hw
    seen = {digest_of(load_image(path, size_hw)) for path in good.iterdir()} & learned
    assert {(row["n_left_out_scores"], row["n_learnt"], row["n_good"]) for row in rows} == {
        (len(seen), 0, len(list(good.iterdir())))
    }
    assert rows[-1]["image_threshold"] != rows[0]["image_threshold"]


def test_a_variant_that_no_bad_part_has_judged_is_told(
    patchcore_bundle, folders, tmp_path, monkeypatch
):
    monkeypatch.setattr(variant, "Bounds", lambda: LOOSE)
    copy = shutil.copytree(patchcore_bundle, tmp_path / "bundle")
    arguments = [str(copy), "--good", str(folders[0]), "--int8-search"]
    done = lineside("calibrate", *arguments)
    assert done.returncode == 0, done.stderr
    assert "no bad part has judged it" in done.stderr
    with Bundle.open(copy) as bundle:
        gate = bundle.manifest.metrics["int8_gate"]
    assert (gate["n_bad"], gate["n_synthetic"]) == (0, parts.SYNTHETIC_DEFECTS)
    assert ("which hardly stand out" in done.stderr) == (gate["auroc_fp32"] < 0.65)
    assert gate["auroc_int8"] == pytest.approx(
        gate["auroc_fp32"], abs=Bounds().auroc_drop_synthetic
    )


def test_learned_parts_alone_judge_it_and_set_its_threshold(
    patchcore_bundle, sample_root, tmp_path, monkeypatch
):
    monkeypatch.setattr(variant, "Bounds", lambda: LOOSE)
    copy = shutil.copytree(patchcore_bundle, tmp_path / "bundle")
    good = sample_root / "tile" / "train" / "good"
    done = lineside("calibrate", copy, "--good", good, "--int8-search", "--json")
    assert done.returncode == 0, done.stderr
    assert "learned parts judge it, mirrored, for only 0 are unseen" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    count = len(list(good.iterdir()))
    assert {(row["n_left_out_scores"], row["n_good"]) for row in rows} == {(count, count)}
    assert "matched from fp32's" in rows[-1]["note"]
    # The search in INT8 scores nearly as fp32's, and so do its thresholds.
    assert rows[-1]["image_threshold"] == pytest.approx(rows[0]["image_threshold"], rel=0.05)
    assert rows[-1]["flips_against_first"] == 0


def test_with_the_search_alone_in_int8_scores_are_nearly_those_of_fp32(
    patchcore_bundle, folders, sample_root, tmp_path
):
    copy = shutil.copytree(patchcore_bundle, tmp_path / "bundle")
    arguments = [
        copy,
        "--good",
        folders[0],
        "--bad",
        folders[1],
        "--int8-search",
        "--max-false-rejects",
        0.3,
    ]
    done = lineside("calibrate", *arguments)
    assert done.returncode == 0, done.stderr
    with Bundle.open(copy) as bundle:
        # The bad parts judged the variant; the promise that was asked for stays.
        assert bundle.manifest.metrics["int8_gate"]["n_bad"] > 0
        assert {one.method for one in bundle.thresholds().variants.values()} == {"leave_one_out"}
    with Inspector(copy) as exact, Inspector(copy, precision="int8") as fast:
        pairs = [(exact.inspect(path), fast.inspect(path)) for path in tile_pictures(sample_root)]
    for one, other in pairs:
        assert other.pred_score == pytest.approx(one.pred_score, rel=2e-3)
        # A good part has few patches that stand out, and the nearest prototype may be another.
        assert float(one.embedding @ other.embedding) > 0.95
    assert any(one.pred_score != other.pred_score for one, other in pairs)


def test_a_bank_too_small_to_search_gets_no_copy_of_fp32(tmp_path, sample_root, folders):
    out = tmp_path / "small"
    learn = ("--data", sample_root, "--category", "tile", "--max-prototypes", 200)
    done = lineside("train", *QUICK, *learn, "--out", out)
    assert done.returncode == 0, done.stderr
    done = lineside("calibrate", out, "--good", folders[0], "--int8-search")
    assert "found 200 prototypes, whose search takes no time" in done.stderr
    with Bundle.open(out) as bundle:
        assert variant.SEARCH_ALONE not in variant._attempts(bundle, search_alone=False)


def test_a_model_without_a_search_is_told_so(efficientad_bundle, folders):
    arguments = [efficientad_bundle, "--good", folders[0], "--int8-search"]
    done = lineside("calibrate", *arguments)
    found = "expected PatchCore with 256 prototypes or more to search, found efficientad"
    assert found in done.stderr


def test_grafting_the_same_networks_changes_nothing(patchcore_bundle, sample_root):
    with Bundle.open(patchcore_bundle) as bundle:
        xml, onnx = (
            bundle.model_path(bundle.manifest.variant(engine, "fp32"))
            for engine in ("openvino", "onnxruntime")
        )
        whole = ov.Core().read_model(str(xml))
        assert memory_bank(whole) is not None
        grafted = graft(whole, feature_model(onnx))
        config = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = ov.Core().compile_model(grafted, "CPU", config)
        with Inspector(bundle) as inspector:
            for path in tile_pictures(sample_root)[:4]:
                image = load_image(path, inspector.size_hw)
                score = float(np.asarray(compiled(image[None])["pred_score"]).ravel()[0])
                assert score == pytest.approx(inspector.infer(image).pred_score, rel=1e-5)


def test_an_older_export_is_told_what_to_do(tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    with (
        Bundle.open(bundle) as opened,
        pytest.raises(BundleError, match=r"older export.*lineside train"),
    ):
        feature_model(opened.model_path(Variant("onnxruntime", "fp32", "onnx/fp32/model.onnx")))
