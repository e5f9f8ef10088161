"""INT8 without a model: the bank, the gate, the sharing out of pictures."""

from __future__ import annotations

import dataclasses
import logging

import cv2
import numpy as np
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13
from sklearn.metrics import roc_auc_score

from calibration.int8 import gate, variant
from calibration.int8.bank import rebuild_bank
from calibration.int8.gate import Bounds
from calibration.int8.networks import shallowest_first
from calibration.int8.parts import share_out
from calibration.int8.variant import matched
from calibration.scoring import digest_of
from runtime.bundle.folder import Bundle, seal
from runtime.bundle.thresholds import Threshold
from runtime.errors import DataError
from runtime.images.preprocess import load_image
from tests.edge_app.tiny_bundle import write_tiny_bundle

SIZE = (32, 32)


@given(seed=st.integers(0, 2**16), rows=st.integers(1, 30), pictures=st.integers(1, 4))
def test_a_bank_of_seen_patches_becomes_what_the_quantized_network_sees(seed, rows, pictures):
    rng = np.random.default_rng(seed)
    exact = rng.normal(5.0, 1.0, (pictures, 20, 6)).astype(np.float32)
    quantized = exact + rng.normal(0, 0.1, exact.shape).astype(np.float32)
    chosen = rng.integers(0, pictures * 20, rows)
    bank = exact.reshape(-1, 6)[chosen]
    rebuilt = rebuild_bank(bank, zip(exact, quantized, strict=True))
    np.testing.assert_allclose(rebuilt, quantized.reshape(-1, 6)[chosen], atol=1e-5)


def test_a_bank_of_other_patches_moves_as_the_nearest_one_does():
    bank = np.array([[0.0, 0.0], [10.0, 0.0]], np.float32)
    exact = np.array([[0.5, 0.0], [9.0, 1.0], [5.0, 5.0]], np.float32)
    shift = np.array([[0.1, 0.2], [-0.3, 0.0], [7.0, 7.0]], np.float32)
    rebuilt = rebuild_bank(bank, [(exact, exact + shift)])
    np.testing.assert_allclose(rebuilt, bank + shift[:2], atol=1e-6)


NONE = np.zeros(0)


def of(good, bad=NONE, synthetic=NONE):
    return [np.asarray(scores, np.float64) for scores in (good, bad, synthetic)]


def compare(fp32, int8, thresholds, bounds):
    good, bad, _ = fp32
    both = np.concatenate(fp32), np.concatenate(int8)
    return gate.compare(*both, len(good), len(bad), thresholds, bounds)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**16))
def test_the_gate_sees_what_scikit_learn_sees(seed):
    rng = np.random.default_rng(seed)
    good, bad = rng.normal(0, 1, 30), rng.normal(1, 1, 20)
    other = good + rng.normal(0, 0.3, 30), bad + rng.normal(0, 0.3, 20)
    labels = np.repeat([0, 1], [30, 20])
    auroc = [roc_auc_score(labels, np.concatenate(scores)) for scores in ((good, bad), other)]

    seen = compare(of(good, bad), of(*other), (0.5, 0.6), Bounds())
    assert (seen.auroc_fp32, seen.auroc_int8) == pytest.approx(auroc)
    ranks = [np.argsort(np.argsort(values)) for values in (np.r_[good, bad], np.r_[other])]
    assert seen.rank_correlation == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert seen.flips == int(((np.r_[good, bad] > 0.5) != (np.r_[other] > 0.6)).sum())

    without = compare(
        of(good, synthetic=bad), of(other[0], synthetic=other[1]), (0.5, 0.6), Bounds()
    )
    assert (without.auroc_fp32, without.auroc_int8) == pytest.approx(auroc)
    assert without.flips == int(((good > 0.5) != (other[0] > 0.6)).sum())
    assert (without.n_bad, without.n_synthetic) == (0, 20)


def test_the_gate_lets_equal_scores_pass_and_names_what_is_out_of_bounds():
    good, bad = np.arange(50), np.arange(40, 90)
    assert compare(of(good, bad), of(good * 3, bad * 3), (45.0, 135.0), Bounds()).problems == []
    backwards = compare(of(good, bad), of(-good, -bad), (45.0, -45.0), Bounds())
    assert [problem.split()[0] for problem in backwards.problems] == ["image", "scores", "98"]
    assert "allowed 0.003" in backwards.problems[0]


def test_without_bad_parts_synthetic_defects_must_stand_out_as_before():
    good, defects = np.arange(50), np.arange(40, 90)
    exact = of(good, synthetic=defects)
    assert (
        compare(exact, of(good * 3, synthetic=defects * 3), (45.0, 135.0), Bounds()).problems == []
    )
    fainter = compare(exact, of(good, synthetic=defects - 5), (45.0, 45.0), Bounds())
    assert len(fainter.problems) == 1
    assert "image AUROC on synthetic defects falls by" in fainter.problems[0]
    assert "allowed 0.005" in fainter.problems[0]


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_scores_that_are_all_the_same_do_not_pass():
    good, bad = np.arange(10), np.arange(10) / 10
    constant = compare(of(good, bad), of(good * 0, bad * 0), (5.0, 0.0), Bounds(flips=1.0))
    assert len(constant.problems) == 1
    assert "correlate" in constant.problems[0]


def test_a_score_that_is_no_number_does_not_pass():
    good, bad = np.arange(10.0), np.arange(5.0, 15.0)
    broken = np.where(good == 3, np.nan, good)
    found = compare(of(good, bad), of(broken, bad), (5.0, 5.0), Bounds(flips=1.0))
    assert "image AUROC falls by nan" in found.problems[0]


@given(seed=st.integers(0, 2**16), threshold=st.floats(-1.0, 12.0))
def test_the_first_threshold_passes_as_many_parts_as_fp32s_does(seed, threshold):
    rng = np.random.default_rng(seed)
    fp32 = rng.uniform(0, 10, 40)
    int8 = 0.8 * fp32 + rng.normal(0, 0.5, 40)
    promised = Threshold(
        threshold, threshold, 1.0, "tolerance", 40, 0.05, 0.95, "5 %", "2026-01-01T00:00:00+00:00"
    )
    found = matched(promised, fp32, int8)
    assert abs(int((fp32 > threshold).sum()) - int((int8 > found.image_threshold).sum())) <= 1
    # What fp32's threshold promises was never shown of this one.
    assert (found.method, found.max_false_rejects, found.confidence) == ("matched", None, None)


@pytest.fixture
def parts(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(14):
        cv2.imwrite(str(tmp_path / f"{index:02d}.png"), rng.integers(0, 256, (*SIZE, 3), np.uint8))
    return tmp_path


def digests(folder, names):
    return [digest_of(load_image(folder / f"{name:02d}.png", SIZE)) for name in names]


def test_pictures_that_training_has_seen_serve_to_learn_and_the_others_to_judge(parts):
    roles = share_out(parts, SIZE, digests(parts, range(4)))
    assert {digest_of(image) for image in roles.learn} == set(digests(parts, range(4)))
    assert {digest_of(image) for image in roles.judge} == set(digests(parts, range(4, 14)))
    assert roles.digests == ()


def test_without_seen_pictures_half_serve_to_learn_and_are_told(parts):
    (parts / "copy.png").write_bytes((parts / "00.png").read_bytes())
    (parts / "broken.png").write_bytes(b"no picture")
    roles = share_out(parts, SIZE, ())
    learn, judge = ({digest_of(image) for image in images} for images in (roles.learn, roles.judge))
    assert (len(learn), len(judge)) == (7, 7)
    assert learn | judge == set(digests(parts, range(14)))
    assert set(roles.digests) == learn
    again = share_out(parts, SIZE, ())
    assert again.digests == roles.digests


def test_where_nothing_is_learned_all_unseen_pictures_judge(parts):
    roles = share_out(parts, SIZE, digests(parts, range(4)), to_learn=False)
    assert (roles.learn, roles.digests) == ((), ())
    assert {digest_of(image) for image in roles.judge} == set(digests(parts, range(4, 14)))


@pytest.mark.parametrize("to_learn", [True, False])
def test_where_too_few_are_unseen_learned_pictures_judge_mirrored(parts, caplog, to_learn):
    with caplog.at_level(logging.INFO, "lineside"):
        roles = share_out(parts, SIZE, digests(parts, range(10)), to_learn=to_learn)
    assert "10 learned parts judge it, mirrored, for only 4 are unseen" in caplog.text
    assert len(roles.learn) == (10 if to_learn else 0)
    judge = {digest_of(image) for image in roles.judge[:4]}
    assert judge == set(digests(parts, range(10, 14)))
    mirrored = {digest_of(np.ascontiguousarray(image[:, ::-1])) for image in roles.judge[4:]}
    assert mirrored == set(digests(parts, range(10)))


def test_too_few_pictures_are_told_with_their_number(parts):
    for path in sorted(parts.iterdir())[:-4]:
        path.unlink()
    with pytest.raises(DataError, match=r"at least 5 pictures.*found 2 unseen and 2 seen"):
        share_out(parts, SIZE, digests(parts, (10, 11)))


def test_the_first_convolutions_of_every_branch_come_first():
    image = opset13.parameter([1, 3, 8, 8], np.float32, "image")

    def convolution(source, name):
        kernel = opset13.constant(np.ones((3, 3, 1, 1), np.float32))
        found = opset13.convolution(source, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
        found.set_friendly_name(name)
        return found

    long = convolution(opset13.relu(convolution(convolution(image, "a1"), "a2")), "a3")
    short = convolution(convolution(image, "b1"), "b2")
    model = ov.Model([opset13.add(long, short)], [image], "branches")
    order = shallowest_first(model)
    assert (set(order[:2]), set(order[2:4]), order[4]) == ({"a1", "b1"}, {"a2", "b2"}, "a3")


@pytest.mark.parametrize(
    ("rows", "asked", "expected"),
    [
        (None, None, (0.0, 0.125, 0.25, 0.5)),
        (300, None, (0.0625, 0.125, 0.25, 0.5, 1.0)),
        (200, None, (0.0625, 0.125, 0.25, 0.5)),
        (300, [0.25, 1], (0.25, 1.0)),
        (None, [0.25, 1], (0.25,)),
    ],
)
def test_attempts_are_those_of_the_recipe_or_of_what_the_graph_is(tmp_path, rows, asked, expected):
    folder = write_tiny_bundle(tmp_path / "bundle")
    with Bundle.open(folder) as bundle:
        manifest = bundle.manifest
    if rows is not None:
        put_bank(folder / "openvino/fp32/model.xml", rows)
    seal(folder, dataclasses.replace(manifest, recipe={"int8_attempts": asked} if asked else {}))
    with Bundle.open(folder) as bundle:
        assert variant._attempts(bundle, search_alone=False) == expected


def put_bank(path, rows):
    """Give a graph a memory bank, which nothing reads."""
    model = ov.Core().read_model(path, config={"ENABLE_MMAP": False})
    bank = opset13.constant(np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32))
    bank.set_friendly_name("memory_bank")
    extra = opset13.result(opset13.relu(bank))
    changed = ov.Model([*model.get_results(), extra], model.get_parameters(), "with a bank")
    ov.save_model(changed, path, compress_to_fp16=False)
