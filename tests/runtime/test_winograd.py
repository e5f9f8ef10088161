"""Convolutions with fewer multiplications against plain ones, in float64 and on the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13

from runtime.engines.openvino import OpenVINOEngine
from runtime.engines.winograd import ROWS, may_have_such, transforms, with_fewer_products
from runtime.types import Float64

CHANNELS = 64


def parts(
    rng: np.random.Generator, kernel: int, channels: int = CHANNELS
) -> tuple[Float64, Float64]:
    """Weights (O, C, r, r) and a bias (O,), both exact in float32."""
    weights = rng.normal(0, 1 / (kernel * np.sqrt(channels)), (CHANNELS, channels, kernel, kernel))
    return weights.astype(np.float32).astype(np.float64), rng.normal(size=CHANNELS).astype(
        np.float32
    ) * 1.0


def network(
    picture_shape: tuple[int, ...],
    weights: Float64,
    bias: Float64 | None = None,
    *,
    relu: bool = False,
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    stride: int = 1,
    dilation: int = 1,
) -> ov.Model:
    """One convolution from ``picture`` to ``found``; pads are top, left, bottom, right."""
    picture = opset13.parameter(list(picture_shape), ov.Type.f32, "picture")
    picture.output(0).set_names({"picture"})
    kernel = opset13.constant(weights.astype(np.float32))
    found = opset13.convolution(
        picture, kernel, [stride] * 2, list(pads[:2]), list(pads[2:]), [dilation] * 2
    )
    if bias is not None:
        found = opset13.add(found, opset13.constant(bias.astype(np.float32)[None, :, None, None]))
    if relu:
        found = opset13.relu(found)
    found.output(0).set_names({"found"})
    return ov.Model([opset13.result(found.output(0))], [picture], "one convolution")


def reference(picture: Float64, weights: Float64, pads: tuple[int, int, int, int]) -> Float64:
    """Cross-correlation in float64, (N, O, h, w)."""
    top, left, bottom, right = pads
    padded = np.pad(picture, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape[2:], axis=(2, 3))
    return np.einsum("ncyxij,ocij->noyx", windows, weights, optimize=True)


def run(model: ov.Model, picture: Float64) -> npt.NDArray[np.float32]:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled({"picture": picture.astype(np.float32)})["found"])


@pytest.mark.parametrize("kernel_rows", [3, 4])
def test_the_transforms_filter(kernel_rows: int) -> None:
    rng = np.random.default_rng(0)
    of_output, of_kernel, of_input = transforms(kernel_rows)
    kernel, row = rng.normal(size=kernel_rows), rng.normal(size=ROWS + kernel_rows - 1)
    found = of_output @ ((of_kernel @ kernel) * (of_input @ row))
    assert found == pytest.approx(np.correlate(row, kernel, "valid"), abs=1e-12)
    assert len(of_kernel) == ROWS + kernel_rows - 1 < ROWS * kernel_rows


@settings(max_examples=10, deadline=None)
@given(
    kernel=st.sampled_from([3, 4]),
    height=st.integers(7, 21),
    width=st.integers(5, 13),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    has_bias=st.booleans(),
    relu=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_any_size_and_border(
    kernel: int,
    height: int,
    width: int,
    pads: tuple[int, int, int, int],
    has_bias: bool,
    relu: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    weights, bias = parts(rng, kernel)
    picture = rng.normal(size=(1, CHANNELS, height, width)).astype(np.float32).astype(np.float64)
    expected = reference(picture, weights, pads) + (bias[None, :, None, None] if has_bias else 0.0)
    expected = np.maximum(expected, 0.0) if relu else expected
    model = network(picture.shape, weights, bias if has_bias else None, relu=relu, pads=pads)
    assert with_fewer_products(model) == 1
    found = run(model, picture)
    assert found.shape == expected.shape
    assert found == pytest.approx(expected, abs=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("kernel", "channels", "height", "options"),
    [
        (5, CHANNELS, 16, {}),
        (1, CHANNELS, 16, {}),
        (3, CHANNELS - 1, 16, {}),
        (3, CHANNELS, 5, {}),
        (3, CHANNELS, 16, {"stride": 2}),
        (3, CHANNELS, 16, {"dilation": 2}),
    ],
    ids=["kernel of 5", "kernel of 1", "few channels", "three rows", "stride", "dilation"],
)
def test_what_would_not_pay_stays(
    kernel: int, channels: int, height: int, options: dict[str, Any]
) -> None:
    weights, _ = parts(np.random.default_rng(0), kernel, channels)
    model = network((1, channels, height, height), weights, **options)
    before = [node.get_friendly_name() for node in model.get_ordered_ops()]
    assert with_fewer_products(model) == 0
    assert [node.get_friendly_name() for node in model.get_ordered_ops()] == before


@pytest.mark.parametrize("kernel", [1, 3, 4, 5])
@pytest.mark.parametrize("channels", [CHANNELS - 1, CHANNELS])
def test_a_file_tells_whether_it_is_worth_reading(
    kernel: int, channels: int, tmp_path: Path
) -> None:
    weights, _ = parts(np.random.default_rng(0), kernel, channels)
    model = network((1, channels, 16, 16), weights)
    path = tmp_path / "model.xml"
    ov.save_model(model, path, compress_to_fp16=False)
    assert may_have_such(path) == bool(with_fewer_products(model))


def test_a_result_that_is_read_twice_keeps_both_readers() -> None:
    """The addition after it may take no bias along, for somebody else reads the convolution without
    it."""
    rng = np.random.default_rng(0)
    weights, bias = parts(rng, 3)
    picture = rng.normal(size=(1, CHANNELS, 9, 9))
    shown = opset13.parameter(list(picture.shape), ov.Type.f32, "picture")
    convolved = opset13.convolution(
        shown, opset13.constant(weights.astype(np.float32)), [1, 1], [0, 0], [0, 0], [1, 1]
    )
    biased = opset13.add(convolved, opset13.constant(bias.astype(np.float32)[None, :, None, None]))
    for output, name in ((shown, "picture"), (convolved, "plain"), (biased, "biased")):
        output.output(0).set_names({name})
    model = ov.Model([opset13.result(convolved), opset13.result(biased)], [shown], "two readers")
    assert with_fewer_products(model) == 1
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled({"picture": picture.astype(np.float32)})
    expected = reference(picture, weights, (0, 0, 0, 0))
    assert found["plain"] == pytest.approx(expected, abs=2e-5)
    assert found["biased"] == pytest.approx(expected + bias[None, :, None, None], abs=2e-5)


def test_a_sum_of_two_convolutions_is_no_bias() -> None:
    """A shortcut around a block: the addition's other side is computed."""
    rng = np.random.default_rng(0)
    weights, _ = parts(rng, 3)
    picture = rng.normal(size=(1, CHANNELS, 9, 9))
    shown = opset13.parameter(list(picture.shape), ov.Type.f32, "picture")
    shown.output(0).set_names({"picture"})
    kernel = opset13.constant(weights.astype(np.float32))
    convolved = opset13.convolution(shown, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
    found = opset13.relu(opset13.add(convolved, shown))
    found.output(0).set_names({"found"})
    model = ov.Model([opset13.result(found)], [shown], "shortcut")
    assert with_fewer_products(model) == 1
    expected = np.maximum(reference(picture, weights, (1, 1, 1, 1)) + picture, 0.0)
    assert run(model, picture) == pytest.approx(expected, abs=2e-5)


def test_the_engine_computes_so_and_its_cache_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    weights, bias = parts(rng, 4)
    picture = rng.normal(size=(1, CHANNELS, 20, 20))
    path = tmp_path / "model.xml"
    ov.save_model(network(picture.shape, weights, bias, relu=True), path, compress_to_fp16=False)
    monkeypatch.setenv("LINESIDE_CACHE_DIR", str(tmp_path / "cache"))
    plain = run(ov.Core().read_model(path), picture)
    first = OpenVINOEngine(path).run({"picture": picture.astype(np.float32)})["found"]
    again = OpenVINOEngine(path).run({"picture": picture.astype(np.float32)})["found"]
    assert first == pytest.approx(plain, abs=2e-5)
    assert not np.array_equal(first, plain), "the engine computed the convolution as it was"
    assert np.array_equal(first, again)
    assert len(list((tmp_path / "cache" / "openvino").rglob("*.blob"))) == 1
    monkeypatch.setenv("LINESIDE_WINOGRAD", "off")
    switched_off = OpenVINOEngine(path).run({"picture": picture.astype(np.float32)})["found"]
    assert np.array_equal(switched_off, plain)
