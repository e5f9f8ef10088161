"""The search in INT8 beside plain distances in float64."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13
from scipy.spatial.distance import cdist

from calibration.int8.search import CHUNK_ROWS, MIN_ROWS, SECOND_LOOK, quantize_search
from runtime.errors import BundleError

SIDE = 16
CELLS = 63


def plain_graph(bank: np.ndarray, *, map_is_read: bool = True) -> tuple[ov.Model, ov.Output]:
    """Patches in; the map and a score that reads it out, all in fp32, as an exported graph names them."""
    patches = opset13.parameter([1, bank.shape[1], SIDE, SIDE], np.float32, "patches")
    prototypes = opset13.constant(bank.astype(np.float32))
    prototypes.set_friendly_name("memory_bank")
    rows = opset13.transpose(
        opset13.reshape(patches, opset13.constant(np.array([bank.shape[1], -1])), False),
        opset13.constant(np.array([1, 0])),
    )
    apart = opset13.subtract(
        opset13.unsqueeze(rows, opset13.constant(1)), opset13.unsqueeze(prototypes, opset13.constant(0))
    )
    squared = opset13.reduce_sum(opset13.multiply(apart, apart), opset13.constant(2), False)
    nearest = opset13.reduce_min(squared, opset13.constant(1), False)
    found = opset13.sqrt(opset13.reshape(nearest, opset13.constant(np.array([1, 1, SIDE, SIDE])), False))
    read = found if map_is_read else opset13.sqrt(nearest)
    score = opset13.reduce_max(read, opset13.constant(np.arange(4 if map_is_read else 1)), False)
    results = [opset13.result(found), opset13.result(score)]
    results[0].input_value(0).set_names({"anomaly_map"})
    results[1].input_value(0).set_names({"pred_score"})
    return ov.Model(results, [patches], "plain"), patches.output(0)


def searched(bank: np.ndarray, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray, ov.CompiledModel]:
    model, features = plain_graph(bank)
    quantize_search(model, features)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    said = compiled(patches)
    return np.array(said["anomaly_map"]), np.array(said["pred_score"]), compiled


def exact_map(bank: np.ndarray, patches: np.ndarray) -> np.ndarray:
    rows = patches.reshape(patches.shape[1], -1).T
    return cdist(rows.astype(np.float64), bank.astype(np.float64)).min(axis=1).reshape(1, 1, SIDE, SIDE)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(MIN_ROWS, MIN_ROWS + 60),
    width=st.integers(1, 40),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    shift=st.sampled_from([0.0, 5.0]),
)
def test_the_worst_patches_are_exact_and_the_others_within_their_cells(seed, rows, width, scale, shift):
    rng = np.random.default_rng(seed)
    bank = (scale * (rng.normal(0, 1, (rows, width)) + shift)).astype(np.float32)
    patches = (scale * (rng.normal(0, 0.7, (1, width, SIDE, SIDE)) + shift)).astype(np.float32)
    found, score, _ = searched(bank, patches)
    expected = exact_map(bank, patches)
    reach = max(np.abs(bank - bank.mean(axis=0)).max(), 0.1 * np.abs(bank).max())
    inside = np.abs(patches - bank.mean(axis=0)[None, :, None, None]).max(axis=1, keepdims=True) <= 2 * reach
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
    rows = np.concatenate([bank[:20], bank[CHUNK_ROWS : CHUNK_ROWS + 20], bank[-(SIDE * SIDE - 40) :]])
    found, _, compiled = searched(bank, rows.T.reshape(1, 16, SIDE, SIDE).copy())
    assert found.max() <= np.abs(bank - bank.mean(axis=0)).max() / CELLS * 4.0
    convolutions = [
        node for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"].astype(str) == "Convolution"
    ]  # fmt: skip
    assert len(convolutions) == 3
    assert {node.get_rt_info()["runtimePrecision"].astype(str).lower() for node in convolutions} <= {
        "i8",
        "u8",
    }


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


def test_a_graph_whose_score_does_not_read_the_map_is_an_older_export():
    model, features = plain_graph(np.ones((MIN_ROWS, 4), np.float32), map_is_read=False)
    with pytest.raises(BundleError, match=r"older export.*lineside train"):
        quantize_search(model, features)
