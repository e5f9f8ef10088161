"""Both engines behind the protocol: the same graph, the same numbers, the same manners."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest

from runtime.bundle.manifest import EngineName
from runtime.engines.base import Engine, model_cache_dir, open_engine
from runtime.engines.openvino import available_devices
from runtime.engines.quiet import opset13 as ops
from runtime.engines.quiet import ov
from runtime.errors import EngineError
from tests.edge_app.tiny_bundle import CELLS, LENGTH, SIDE
from tests.runtime.tiny import ENGINES, ONNX_PATH, random_image, reference, write_bundle

MODELS = {"openvino": "openvino/fp32/model.xml", "onnxruntime": ONNX_PATH}
SHAPES = {"pred_score": (1,), "anomaly_map": (1, 1, CELLS, CELLS), "embedding": (1, LENGTH)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, bundle: Path) -> Iterator[Engine]:
    opened = open_engine(request.param, bundle / MODELS[request.param])
    yield opened
    opened.close()


@pytest.mark.parametrize("seed", range(5))
def test_the_outputs_are_the_graphs(engine: Engine, seed: int) -> None:
    image = random_image(seed)
    found = engine.run({"image": image[None]})
    expected = reference(image)
    for name, shape in SHAPES.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == shape
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)


def test_both_engines_agree(bundle: Path) -> None:
    engines = [open_engine(name, bundle / MODELS[name]) for name in ENGINES]
    for seed in range(10):
        first, second = (engine.run({"image": random_image(seed)[None]}) for engine in engines)
        for name in SHAPES:
            np.testing.assert_allclose(first[name], second[name], rtol=1e-5, atol=1e-5)
    for engine in engines:
        engine.close()


def test_a_result_survives_the_next_call_and_the_engine(engine: Engine) -> None:
    first = engine.run({"image": random_image(0)[None]})
    kept = {name: value.copy() for name, value in first.items()}
    second = engine.run({"image": random_image(1)[None]})
    for name in SHAPES:
        assert not np.array_equal(second[name], kept[name]), "the second picture is another one"
        np.testing.assert_array_equal(first[name], kept[name])
    engine.close()
    for name in SHAPES:
        np.testing.assert_array_equal(first[name], kept[name])


def test_a_result_is_the_callers_own(engine: Engine) -> None:
    image = random_image(2)[None]
    first = engine.run({"image": image})
    for value in first.values():
        value.fill(0)
    second = engine.run({"image": image})
    np.testing.assert_allclose(second["pred_score"], reference(image[0])["pred_score"], rtol=1e-5)


def test_the_input_is_left_alone_and_may_be_read_only(engine: Engine) -> None:
    image = random_image(3)[None]
    before = image.copy()
    image.flags.writeable = False
    engine.run({"image": image})
    np.testing.assert_array_equal(image, before)


def test_the_description_names_engine_device_and_version(engine: Engine) -> None:
    found = engine.description
    assert found["engine"] in ENGINES
    assert found["device"] == "CPU"
    assert found["version"][0].isdigit()


@pytest.mark.parametrize(
    "shape", [(1, SIDE, SIDE + 1, 3), (1, 3, SIDE, SIDE), (2, SIDE, SIDE, 3), (SIDE, SIDE, 3)]
)
def test_a_wrong_shape_is_an_engine_error_and_the_next_picture_runs(
    engine: Engine, shape: tuple[int, ...]
) -> None:
    with pytest.raises(EngineError) as caught:
        engine.run({"image": np.zeros(shape, np.uint8)})
    assert "\n" not in str(caught.value)
    image = random_image(4)
    found = engine.run({"image": image[None]})
    np.testing.assert_allclose(found["pred_score"], reference(image)["pred_score"], rtol=1e-5)


def test_a_wrong_input_name_is_an_engine_error(engine: Engine) -> None:
    with pytest.raises(EngineError):
        engine.run({"picture": np.zeros((1, SIDE, SIDE, 3), np.uint8)})


def test_closing_twice_is_fine(engine: Engine) -> None:
    engine.close()
    engine.close()


@pytest.mark.parametrize("name", ENGINES)
def test_threads_may_be_chosen(name: str, bundle: Path) -> None:
    engine = open_engine(name, bundle / MODELS[name], threads=1)
    image = random_image(5)
    found = engine.run({"image": image[None]})
    np.testing.assert_allclose(found["pred_score"], reference(image)["pred_score"], rtol=1e-5)
    engine.close()


@pytest.mark.parametrize("name", ENGINES)
def test_auto_runs_on_what_there_is(name: str, bundle: Path) -> None:
    engine = open_engine(name, bundle / MODELS[name], device="AUTO")
    assert engine.run({"image": random_image(6)[None]})["pred_score"].shape == (1,)
    engine.close()


@pytest.mark.parametrize("device", ["GPU.7", "NPU.9", "cpu", "TOASTER"])
def test_an_absent_device_lists_those_there_are(device: str, bundle: Path) -> None:
    assert "CPU" in available_devices()
    with pytest.raises(
        EngineError, match=f"device {device}: .*found {', '.join(available_devices())} .*--device"
    ):
        open_engine("openvino", bundle / MODELS["openvino"], device=device)


def test_onnxruntime_says_which_engine_has_other_devices(bundle: Path) -> None:
    with pytest.raises(EngineError, match=r"device GPU: .*--engine openvino"):
        open_engine("onnxruntime", bundle / MODELS["onnxruntime"], device="GPU")


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("damage", ["gone", "empty", "text", "cut"])
def test_a_model_that_cannot_be_loaded_is_named_in_one_line(
    name: str, damage: str, bundle: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree((bundle / MODELS[name]).parent, tmp_path / "copy"))
    path = folder / Path(MODELS[name]).name
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(
            {"empty": b"", "text": b"no model", "cut": whole[: len(whole) // 2]}[damage]
        )
    with pytest.raises(EngineError, match="model") as caught:
        open_engine(name, path)
    assert "\n" not in str(caught.value)


def test_the_cache_folder_can_be_chosen_and_turned_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINESIDE_CACHE_DIR", str(tmp_path / "deep" / "cache"))
    assert model_cache_dir() == tmp_path / "deep" / "cache" / "openvino"
    monkeypatch.setenv("LINESIDE_CACHE_DIR", "")
    assert model_cache_dir() is None
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("LINESIDE_CACHE_DIR", os.fspath(tmp_path / "file"))
    assert model_cache_dir() is None


def test_compiled_models_go_to_the_cache_folder_and_nowhere_else(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINESIDE_CACHE_DIR", str(tmp_path / "cache"))
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)
    for _ in range(2):
        open_engine("openvino", bundle / MODELS["openvino"]).close()
    assert list((tmp_path / "cache" / "openvino").iterdir())
    assert not list(working.iterdir())


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("is_absolute", [False, True])
def test_a_model_reads_no_file_outside_its_folder(
    name: EngineName, tmp_path: Path, *, is_absolute: bool
) -> None:
    """ONNX may name a file with its weights; here it names somebody's secret."""
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    weights = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=1)
    location = str(secret) if is_absolute else "../../secret.bin"
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    ends = [onnx.helper.make_tensor_value_info(one, 1, [4]) for one in ("x", "y")]
    add = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([add], "g", ends[:1], ends[1:], [weights])
    path = tmp_path / "bundle" / "onnx" / "model.onnx"
    path.parent.mkdir(parents=True)
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(EngineError, match=r"xternal"):
        open_engine(name, path).run({"x": np.zeros(4, np.float32)})


def test_a_model_that_is_written_over_while_it_runs_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``cp`` writes into the file that is there: weights may not be read from it any more."""
    monkeypatch.setenv("LINESIDE_CACHE_DIR", "")
    weights = np.random.default_rng(0).normal(size=(512, 256)).astype(np.float32)
    given = ops.parameter([1, 512], np.float32, name="x")
    product = ops.matmul(given, ops.constant(weights), False, False)
    product.output(0).set_names({"y"})
    given.output(0).set_names({"x"})
    ov.save_model(ov.Model([product], [given]), tmp_path / "model.xml", compress_to_fp16=False)
    x = np.ones((1, 512), np.float32)
    with closing(open_engine("openvino", tmp_path / "model.xml")) as engine:
        np.testing.assert_allclose(engine.run({"x": x})["y"], x @ weights, rtol=1e-3, atol=1e-3)
        assert "model.bin" not in Path("/proc/self/maps").read_text()
        with (tmp_path / "model.bin").open("r+b") as file:
            file.write(bytes((tmp_path / "model.bin").stat().st_size))
        np.testing.assert_allclose(engine.run({"x": x})["y"], x @ weights, rtol=1e-3, atol=1e-3)
