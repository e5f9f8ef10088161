"""The small reader and writer of ONNX files against the package onnx."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from calibration.teaching.onnx_file import OnnxFile, make_node
from runtime.errors import BundleError


def small_model() -> onnx.ModelProto:
    """y = relu(x @ w + b) and z = 2 y, with hints of shapes and a constant of every kind."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"], name="product"),
        helper.make_node("Add", ["xw", "b"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["y"]),
        helper.make_node("ReduceSum", ["y", "axes"], ["z"], keepdims=0),
    ]
    constants = [
        numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "w"),
        # Written as numbers, not as bytes.
        helper.make_tensor("b", TensorProto.FLOAT, [3], [1.0, -2.0, 0.5]),
        helper.make_tensor("axes", TensorProto.INT64, [1], [-1]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("y", [1, 3]), ("z", [1]))
    ]
    hints = [helper.make_tensor_value_info("xw", TensorProto.FLOAT, [1, 3])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, constants, value_info=hints)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(small_model(), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def parsed(file: OnnxFile) -> onnx.ModelProto:
    model = onnx.ModelProto.FromString(file.to_bytes())
    onnx.checker.check_model(model, full_check=True)
    return model


def test_unchanged_it_is_the_same_model_but_for_the_hints(path: Path):
    file = OnnxFile(path)
    assert file.outputs == ["y", "z"]
    assert file.tensors == {"w", "b", "axes", "xw", "sum", "y", "z"}
    expected = small_model()
    del expected.graph.value_info[:]
    assert parsed(file) == expected


@given(
    shape=st.lists(st.integers(0, 300), max_size=3).filter(lambda shape: np.prod(shape) < 5000),
    whole=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_constant_comes_back_as_it_went_in(tmp_path_factory, shape, whole, seed):
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    onnx.save(small_model(), path)
    rng = np.random.default_rng(seed)
    value = (
        rng.integers(-(2**62), 2**62, size=shape)
        if whole
        else rng.normal(size=shape).astype(np.float32)
    )
    file = OnnxFile(path)
    file.set_constant("new", value)
    (found,) = [
        one
        for one in onnx.ModelProto.FromString(file.to_bytes()).graph.initializer
        if one.name == "new"
    ]
    np.testing.assert_array_equal(numpy_helper.to_array(found), value)
    assert numpy_helper.to_array(found).dtype == value.dtype


def test_what_computed_a_tensor_goes_with_what_it_alone_needed(path: Path):
    file = OnnxFile(path)
    file.set_constant("three", np.array(3.0, np.float32))
    file.set_constant("turn", np.array([1, 2], np.int64))
    file.compute(
        "sum",
        [
            make_node("Transpose", ["w"], "columns", {"perm": [1, 0]}),
            make_node("Gemm", ["x", "columns"], "other", {"transB": 1}),
            make_node("Mul", ["other", "three"], "sum"),
        ],
    )
    model = parsed(file)
    assert [node.op_type for node in model.graph.node] == [
        "Transpose",
        "Gemm",
        "Mul",
        "Relu",
        "ReduceSum",
    ]
    assert {one.name for one in model.graph.initializer} == {"w", "axes", "three"}
    assert list(model.graph.node[0].attribute[0].ints) == [1, 0]
    session = pytest.importorskip("onnxruntime").InferenceSession(file.to_bytes())
    (found, _) = session.run(None, {"x": np.array([[1.0, 2.0]], np.float32)})
    np.testing.assert_allclose(found, [[18.0, 27.0, 36.0]])


def test_the_same_change_twice_is_one(path: Path):
    file = OnnxFile(path)
    for factor in (2.0, 5.0):
        file.set_constant("factor", np.array(factor, np.float32))
        nodes = [
            make_node("Mul", ["x", "factor"], "scaled"),
            make_node("MatMul", ["scaled", "w"], "sum"),
        ]
        file.compute("sum", nodes)
    model = parsed(file)
    assert [node.op_type for node in model.graph.node] == ["Mul", "MatMul", "Relu", "ReduceSum"]
    session = pytest.importorskip("onnxruntime").InferenceSession(file.to_bytes())
    (found, _) = session.run(None, {"x": np.array([[1.0, 2.0]], np.float32)})
    np.testing.assert_allclose(found, [[30.0, 45.0, 60.0]])


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_half_a_file_is_refused(path: Path, cut: int):
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BundleError, match="expected an ONNX model"):
        OnnxFile(path)


@given(content=st.binary(max_size=80))
def test_whatever_is_no_onnx_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("onnx") / "x.onnx"
    path.write_bytes(content)
    try:
        assert OnnxFile(path).outputs == []
    except BundleError as error:
        assert "expected an ONNX model" in str(error)
