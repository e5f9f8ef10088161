"""The search in INT8 beside plain distances in float64."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13
from scipy.spatial.distance import cdist

from calibration.int8 import search
from calibration.int8.search import CHUNK_ROWS, MIN_ROWS, SECOND_LOOK, quantize_search
from runtime.errors import BundleError

SIDE = 16
CELLS = 63
TOP = 10
NEIGHBORS = 9


def plain_graph(bank: np.ndarray, *, names_seams: bool = True) -> tuple[ov.Model, ov.Output]:
    """Patches in; what PatchCore finds in its bank out, in fp32, under the names of an export."""
    patches = opset13.parameter([1, bank.shape[1], SIDE, SIDE], np.float32, "patches")
    prototypes = opset13.constant(bank.astype(np.float32))
    prototypes.set_friendly_name("memory_bank")
    columns = opset13.reshape(patches, opset13.constant(np.array([bank.shape[1], -1])), False)
    rows = opset13.transpose(columns, opset13.constant(np.array([1, 0])))
    apart = opset13.subtract(
        opset13.unsqueeze(rows, axis(1)), opset13.unsqueeze(prototypes, axis(0))
    )
    squared = opset13.reduce_sum(opset13.multiply(apart, apart), axis(2), False)
    nearest = opset13.sqrt(opset13.reduce_min(squared, axis(1), False))
    found = opset13.reshape(nearest, opset13.constant(np.array([1, 1, SIDE, SIDE])), False)
    score = opset13.reduce_max(found, opset13.constant(np.arange(4)), False)

    centered = opset13.constant((bank - bank.mean(axis=0)).astype(np.float32))
    norms = opset13.reduce_sum(opset13.multiply(centered, centered), axis(1), False)
    worst = opset13.topk(
        opset13.reshape(found, opset13.constant(np.array([-1])), False), TOP, 0, "max", "value"
    )
    top = opset13.subtract(
        opset13.gather(rows, worst.output(1), axis(0)),
        opset13.constant(bank.mean(axis=0, keepdims=True).astype(np.float32)),
    )
    minus_two = opset13.constant(np.float32(-2.0))
    partials = opset13.add(
        opset13.multiply(opset13.matmul(top, centered, False, True), minus_two), norms
    )
    closest = opset13.topk(partials, 1, 1, "min", "value")
    numbers = opset13.reshape(closest.output(1), opset13.constant(np.array([-1])), False)
    sample = opset13.gather(centered, opset13.gather(numbers, axis(0), axis(0)), axis(0))
    around = opset13.add(
        opset13.multiply(opset13.matmul(centered, sample, False, False), minus_two), norms
    )
    support = opset13.topk(around, NEIGHBORS, 0, "min", "value").output(1)
    named = {
        "anomaly_map": found.output(0),
        "pred_score": score.output(0),
        **(
            {
                "top_patches": top.output(0),
                "top_partials": partials.output(0),
                "top_prototypes": numbers.output(0),
                "support": support,
            }
            if names_seams
            else {}
        ),
    }
    for name, output in named.items():
        output.set_names({name})
    return ov.Model(
        [opset13.result(output) for output in named.values()], [patches], "plain"
    ), patches.output(0)


def axis(number: int) -> ov.Node:
    return opset13.constant(np.array(number))


def run(model: ov.Model, patches: np.ndarray) -> dict[str, np.ndarray]:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    said = compiled(patches)
    return {next(iter(output.get_names())): np.array(said[output]) for output in compiled.outputs}


def searched(
    bank: np.ndarray, patches: np.ndarray
) -> tuple[np.ndarray, np.ndarray, ov.CompiledModel]:
    model, features = plain_graph(bank)
    quantize_search(model, features)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    said = compiled(patches)
    return np.array(said["anomaly_map"]), np.array(said["pred_score"]), compiled


def exact_map(bank: np.ndarray, patches: np.ndarray) -> np.ndarray:
    rows = patches.reshape(patches.shape[1], -1).T
    return (
        cdist(rows.astype(np.float64), bank.astype(np.float64))
        .min(axis=1)
        .reshape(1, 1, SIDE, SIDE)
    )


@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(MIN_ROWS, MIN_ROWS + 60),
    width=st.integers(1, 40),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    shift=st.sampled_from([0.0, 5.0]),
)
def test_the_worst_patches_are_exact_and_the_others_within_their_cells(
    seed, rows, width, scale, shift
):
    rng = np.random.default_rng(seed)
    bank = (scale * (rng.normal(0, 1, (rows, width)) + shift)).astype(np.float32)
    patches = (scale * (rng.normal(0, 0.7, (1, width, SIDE, SIDE)) + shift)).astype(np.float32)
    found, score, _ = searched(bank, patches)
    expected = exact_map(bank, patches)
    reach = max(np.abs(bank - bank.mean(axis=0)).max(), 0.1 * np.abs(bank).max())
    inside = (
        np.abs(patches - bank.mean(axis=0)[None, :, None, None]).max(axis=1, keepdims=True)
        <= 2 * reach
    )
    # A patch and its prototype each move by half a cell a component at most.
    slack = reach / CELLS * np.sqrt(width) + 1e-3 * scale
    assert (np.abs(found - expected)[inside] <= slack).all()
    looked_at = np.sort(found.ravel())[-round(SECOND_LOOK * SIDE * SIDE) :]
    if inside.all() and (np.diff(np.sort(expected.ravel()))[-1] > 2 * slack):
        np.testing.assert_allclose(looked_at.max(), expected.max(), rtol=1e-4, atol=1e-3 * scale)
    assert score == pytest.approx(found.max())


def test_a_patch_beyond_the_grid_has_its_exact_distance():
    rng = np.random.default_rng(0)
    bank = rng.normal(0, 1, (MIN_ROWS, 8)).astype(np.float32)
    patches = rng.normal(0, 0.7, (1, 8, SIDE, SIDE)).astype(np.float32)
    patches[0, :, 3, 4] = 40.0
    found, score, _ = searched(bank, patches)
    expected = exact_map(bank, patches)
    assert found[0, 0, 3, 4] == pytest.approx(expected[0, 0, 3, 4], rel=1e-5)
    assert score == pytest.approx(expected.max(), rel=1e-5)


def test_a_bank_of_several_chunks_is_searched_whole_and_in_integers():
    rng = np.random.default_rng(1)
    bank = rng.normal(0, 1, (2 * CHUNK_ROWS + 100, 16)).astype(np.float32)
    # Every patch is a prototype, most of them of the last rows.
    rows = np.concatenate(
        [bank[:20], bank[CHUNK_ROWS : CHUNK_ROWS + 20], bank[-(SIDE * SIDE - 40) :]]
    )
    found, _, compiled = searched(bank, rows.T.reshape(1, 16, SIDE, SIDE).copy())
    assert found.max() <= np.abs(bank - bank.mean(axis=0)).max() / CELLS * 4.0
    convolutions = [
        node
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]
    precisions = [
        node.get_rt_info()["runtimePrecision"].astype(str).lower() for node in convolutions
    ]
    # One in fp32 turns the patches, one a chunk compares them.
    assert sorted(precisions)[0] == "f32"
    assert len(precisions) == 4
    assert set(sorted(precisions)[1:]) <= {"i8", "u8"}


def test_a_bank_of_one_patch_many_times_still_tells_a_part_apart():
    bank = np.full((MIN_ROWS, 6), 3.0, np.float32)
    patches = np.full((1, 6, SIDE, SIDE), 3.0, np.float32)
    patches[0, :, 2, 7] += 0.5
    found, score, _ = searched(bank, patches)
    assert score == pytest.approx(0.5 * np.sqrt(6), rel=1e-5)
    assert np.unravel_index(found.argmax(), found.shape) == (0, 0, 2, 7)


def test_a_small_bank_is_left_as_it_is():
    bank = np.random.default_rng(2).normal(0, 1, (MIN_ROWS - 1, 6)).astype(np.float32)
    model, features = plain_graph(bank)
    before = len(model.get_ops())
    quantize_search(model, features)
    assert len(model.get_ops()) == before


def test_a_graph_that_names_only_its_outputs_is_an_older_export():
    model, features = plain_graph(np.ones((MIN_ROWS, 4), np.float32), names_seams=False)
    with pytest.raises(BundleError, match=r"older export.*lineside train"):
        quantize_search(model, features)


def few_directions(rng: np.random.Generator, count: int, mixing: np.ndarray) -> np.ndarray:
    """Points near a space of few dimensions, (count, D)."""
    return (
        rng.normal(0, 1, (count, len(mixing))) @ mixing
        + rng.normal(0, 0.1, (count, mixing.shape[1]))
    ).astype(np.float32)


@pytest.fixture(scope="module")
def wide() -> tuple[np.ndarray, np.ndarray]:
    """A bank of 160 numbers a prototype that 15 or so describe, and such patches, four odd ones."""
    rng = np.random.default_rng(5)
    mixing = rng.normal(0, 0.3, (12, 160))
    bank = few_directions(rng, 1200, mixing)
    rows = few_directions(rng, SIDE * SIDE, mixing)
    rows[[7, 70, 130, 200]] += (
        rng.normal(0, 1, (4, 160)) * np.array([[3.0], [2.5], [2.0], [1.5]])
    ).astype(np.float32)
    return bank, rows.T.reshape(1, 160, SIDE, SIDE).copy()


def test_a_wide_bank_is_searched_in_fewer_numbers(wide):
    bank, patches = wide
    model, features = plain_graph(bank)
    quantize_search(model, features)
    found = run(model, patches)
    convolutions = [node for node in model.get_ops() if node.get_type_name() == "Convolution"]
    # From 160 numbers to 31 components, and those with the remainder's length against the two
    # chunks of the bank.
    assert sorted(node.input_value(1).get_shape()[1] for node in convolutions) == [32, 32, 160]
    ratio = found["anomaly_map"] / exact_map(bank, patches)
    assert abs(np.median(ratio) - 1) < 0.02
    assert ratio.std() < 0.05
    assert found["pred_score"] == pytest.approx(exact_map(bank, patches).max(), rel=1e-5)


def test_what_the_second_look_finds_is_what_the_plain_search_finds(wide):
    bank, patches = wide
    model, features = plain_graph(bank)
    plain = run(model, patches)
    quantize_search(model, features)
    found = run(model, patches)
    # The four patches like no other come first, in their order.
    np.testing.assert_allclose(
        found["top_patches"][:4], plain["top_patches"][:4], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        found["top_partials"][:4], plain["top_partials"][:4], rtol=1e-3, atol=1e-2
    )
    np.testing.assert_array_equal(found["top_prototypes"][:4], plain["top_prototypes"][:4])
    np.testing.assert_array_equal(found["support"], plain["support"])
    rows = patches.reshape(160, -1).T.astype(np.float64)
    centered = rows[[7, 70, 130, 200]] - bank.mean(axis=0)
    order = np.argsort(-cdist(rows[[7, 70, 130, 200]], bank).min(axis=1))
    np.testing.assert_allclose(found["top_patches"][:4], centered[order], rtol=1e-4, atol=1e-4)


def test_of_a_large_bank_the_first_look_takes_a_part_and_the_second_mends_it(monkeypatch):
    """In greedy order the first prototypes lie apart, alone too far from most patches."""
    monkeypatch.setattr(search, "MAX_COARSE_ROWS", 600)
    rng = np.random.default_rng(7)
    bank = greedy_order(rng.uniform(-1, 1, (3000, 8)).astype(np.float32))
    rows = rng.uniform(-1, 1, (SIDE * SIDE, 8)).astype(np.float32)
    rows[[7, 70, 130, 200]] *= 6.0
    patches = rows.T.reshape(1, 8, SIDE, SIDE).copy()
    model, features = plain_graph(bank)
    plain = run(model, patches)
    quantize_search(model, features)
    found = run(model, patches)
    compared = [node for node in model.get_ops() if node.get_type_name() == "Convolution"]
    assert sum(node.input_value(1).get_shape()[0] for node in compared) == 8 + 600
    expected = exact_map(bank, patches).ravel()
    nearer = found["anomaly_map"].ravel()
    again = np.argsort(expected)[-4:]
    np.testing.assert_allclose(nearer[again], expected[again], rtol=1e-4)
    part = exact_map(bank[:600], patches).ravel()
    others = nearer < np.sort(nearer)[-round(search.WIDE_SECOND_LOOK * SIDE * SIDE)]
    assert np.median(part[others] / expected[others]) > 1.15
    assert np.median(nearer[others] / expected[others]) == pytest.approx(1.0, abs=0.05)
    assert found["pred_score"] == pytest.approx(expected.max(), rel=1e-5)
    np.testing.assert_allclose(
        found["top_partials"][:4], plain["top_partials"][:4], rtol=1e-3, atol=1e-2
    )
    np.testing.assert_array_equal(found["top_prototypes"][:4], plain["top_prototypes"][:4])


def greedy_order(points: np.ndarray) -> np.ndarray:
    """Rows in the order of k-center greedy, as a memory bank has them."""
    order, far = [0], np.linalg.norm(points - points[0], axis=1)
    for _ in range(len(points) - 1):
        order.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(points - points[order[-1]], axis=1))
        far[order] = -1.0
    return points[order]
