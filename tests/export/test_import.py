"""A model that anomalib's own Engine has fitted and exported, as a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runtime.inspector import Inspector
from tests.cli import lineside

pytestmark = pytest.mark.slow
SIZE = 64


@pytest.fixture(scope="module")
def exported(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """PaDiM of few features, exported by anomalib in both formats."""
    import openvino as ov
    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import Padim

    folder = tmp_path_factory.mktemp("anomalib")
    model = Padim(
        backbone="resnet18",
        layers=["layer1"],
        pre_trained=False,
        n_features=4,
        pre_processor=Padim.configure_pre_processor(image_size=(SIZE, SIZE)),
    )
    data = Folder(
        name="tile",
        root=sample_root / "tile",
        normal_dir="train/good",
        abnormal_dir="test/crack",
        train_batch_size=8,
        eval_batch_size=8,
        num_workers=0,
        seed=0,
    )
    engine = Engine(default_root_dir=folder, logger=False, max_epochs=1, enable_progress_bar=False)
    engine.fit(model=model, datamodule=data)
    onnx = engine.export(model, "onnx", export_root=folder, input_size=(SIZE, SIZE))
    # As the Engine does, but for a second export of the same graph.
    openvino = folder / "weights" / "openvino" / "model.xml"
    openvino.parent.mkdir(parents=True)
    ov.save_model(ov.convert_model(onnx), openvino, compress_to_fp16=False)
    return {"onnx": onnx, "openvino": openvino}


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_the_bundle_says_what_the_export_says(exported, sample_root, tmp_path, kind):
    import openvino as ov

    good, out = sample_root / "tile" / "train" / "good", tmp_path / "tile"
    done = lineside(
        "import", "anomalib", exported[kind].parent, "--good", good, "--out", out, "--json"
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    engines = ["openvino", "onnxruntime"] if kind == "onnx" else ["openvino"]
    assert sorted(said["certificate"]["variants"]) == sorted(f"{one}/fp32" for one in engines)
    assert all(one["holds"] for one in said["certificate"]["variants"].values())
    run = ov.Core().compile_model(str(exported[kind]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    pictures = [*sorted(good.iterdir())[:3], *sorted(good.parents[1].glob("test/crack/*"))[:3]]
    beyond = []
    for engine in engines:
        with Inspector(out, engine=engine) as inspector:
            for path in pictures:
                found = inspector.inspect(path)
                batch = found.picture.transpose(2, 0, 1)[None].astype(np.float32) / 255
                expected = run(batch)
                score = float(expected["pred_score"].item())
                # anomalib clamps to [0, 1]; the bundle keeps what lies beyond.
                assert np.clip(found.pred_score, 0, 1) == pytest.approx(score, abs=1e-4)
                np.testing.assert_allclose(
                    found.anomaly_map.clip(0, 1), expected["anomaly_map"].squeeze(), atol=1e-4
                )
                assert np.linalg.norm(found.embedding) == pytest.approx(1, abs=1e-5)
                beyond.append(found.anomaly_map.max() > 1 or found.anomaly_map.min() < 0)
    assert any(beyond)
    assert lineside("verify", out).returncode == 0


def test_what_cannot_be_imported_says_why(exported, sample_root, patchcore_bundle, tmp_path):
    good, out = sample_root / "tile" / "train" / "good", tmp_path / "tile"
    line = lineside("import", "anomalib", tmp_path, "--good", good, "--out", out).line()
    assert "expected model.xml or model.onnx of anomalib, found neither" in line
    options = ("--good", good, "--out", out)
    line = lineside("import", "anomalib", exported["onnx"], *options, "--size", 128).line()
    assert "expected pictures of 64 x 64 pixels, found --size 128" in line
    ours = patchcore_bundle / "openvino" / "fp32"
    line = lineside("import", "anomalib", ours, *options).line()
    assert "expected one input float32 (n, 3, H, W)" in line
    few = tmp_path / "few"
    few.mkdir()
    (few / "0.png").write_bytes(next(good.iterdir()).read_bytes())
    line = lineside("import", "anomalib", exported["onnx"], "--good", few, "--out", out).line()
    assert "expected at least 10 good parts, found 1" in line
    assert not out.exists()
