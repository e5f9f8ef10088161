"""Training and export as a whole: parity, seeds, few images, bad input, interruption."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from anomalib.engine import Engine

from calibration.learning.evidence import CERTIFICATE_IMAGES
from calibration.learning.photographs import Photographs, read_photographs
from calibration.metrics import image_auroc
from export.anomalib_engine import GoodPartsModule
from export.bundling import Work, write_bundle
from export.inference_graph import InferenceGraph
from export.models import family_of
from export.models.patchcore.recipe import PatchCoreRecipe
from export.training import _quiet, train
from runtime.bundle.folder import Bundle
from runtime.errors import ParityError
from runtime.images.dataset import Category, load_category
from runtime.inspector import Inspector
from tests.cli import COMMAND, QUICK, Done, lineside

pytestmark = pytest.mark.slow
RECIPE = PatchCoreRecipe(size_hw=(128, 128), max_prototypes=200, layers=("blocks.1", "blocks.2"))


@pytest.fixture(scope="module")
def category(sample_root: Path) -> Category:
    return load_category(sample_root, "tile")


@pytest.fixture(scope="module")
def photographs(category: Category) -> Photographs:
    return read_photographs(category, RECIPE.size_hw, 0)


@pytest.fixture(scope="module")
def patchcore_work(category: Category, photographs: Photographs) -> Work:
    return Work(RECIPE, category, photographs, train(RECIPE, photographs, 0), 0)


@pytest.fixture(scope="module")
def exported(patchcore_work: Work, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "tile"
    write_bundle(patchcore_work, out, "tile")
    return out


def engine_scores(work: Work, paths: list[Path]) -> list[float]:
    """anomalib's own prediction, through its Engine."""
    photographs = Photographs(tuple(paths), tuple(paths), (), "")
    data = GoodPartsModule(photographs, work.recipe.size_hw, 1, 0)
    engine = Engine(logger=False, enable_progress_bar=False, accelerator="cpu")
    batches = engine.predict(model=work.trained.model, dataloaders=data.val_dataloader())
    assert batches is not None
    return [float(score) for batch in batches for score in batch.pred_score.reshape(-1)]


@pytest.mark.parametrize(
    "model",
    ["patchcore", "efficientad", pytest.param("paper_efficientad", marks=pytest.mark.nightly)],
)
def test_the_bundle_says_what_anomalibs_engine_says(
    model: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    work: Work = request.getfixturevalue(f"{model}_work")
    if model == "paper_efficientad":
        bundle = tmp_path / "bundle"
        write_bundle(work, bundle, "tile")
    else:
        bundle = request.getfixturevalue("exported" if model == "patchcore" else f"{model}_bundle")
    paths = [part.path for part in work.category.test]
    expected = np.array(engine_scores(work, paths))
    assert {part.defect_type for part in work.category.test} > {"good"}
    for engine in ("openvino", "onnxruntime"):
        with Inspector(bundle, engine=engine) as inspector:
            found = np.array([inspector.inspect(path).pred_score for path in paths])
        assert np.abs(found - expected).max() <= 1e-3 * np.ptp(expected), engine
    labels = [part.is_anomalous for part in work.category.test]
    with Bundle.open(bundle) as opened:
        for parity in opened.manifest.certificate["variants"].values():
            assert parity["image_auroc"] == parity["image_auroc_reference"]
            # All but two of many test parts are in the certificate, so its AUROC cannot be far from
            # theirs.
            if len(paths) > CERTIFICATE_IMAGES:
                assert parity["image_auroc"] == pytest.approx(
                    image_auroc(labels, expected), abs=0.1
                )


def test_a_graph_that_computes_something_else_is_not_written(
    patchcore_work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Off(InferenceGraph):
        def __init__(self, graph: InferenceGraph) -> None:
            super().__init__()
            self.inner = graph

        def features(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.inner.features(image)

        def read(self, *features: torch.Tensor) -> dict[str, torch.Tensor]:
            named = self.inner.read(*features)
            return {**named, "pred_score": named["pred_score"] * 1.05}

    family = family_of("patchcore")
    build = family.graph
    monkeypatch.setattr(family, "graph", lambda *args: Off(build(*args)).eval())
    with pytest.raises(ParityError, match="no bundle was written"):
        write_bundle(patchcore_work, tmp_path / "bundle", "tile")
    assert list(tmp_path.iterdir()) == []


def test_training_never_sees_the_test_set_or_the_held_out_parts(
    photographs: Photographs, category: Category
) -> None:
    used = {*photographs.train, *photographs.held_out}
    assert used == set(category.train_good)
    assert not set(photographs.train) & set(photographs.held_out)
    assert not used & {part.path for part in category.test}


def run(out: Path, data: Path, *arguments: object) -> Done:
    return lineside("train", *QUICK, "--data", data, "--out", out, *arguments)


def test_the_same_seed_exports_the_same_files(
    exported: Path, patchcore_work: Work, tmp_path: Path
) -> None:
    again = replace(patchcore_work, trained=train(RECIPE, patchcore_work.photographs, 0))
    write_bundle(again, tmp_path / "again", "tile")
    first, second = (
        {
            # OpenVINO numbers the nodes of a process, and a model's description names them.
            path.name: re.sub(rb"\d+", b"", path.read_bytes())
            if path.suffix == ".xml"
            else path.read_bytes()
            for path in bundle.glob("*/fp32/*")
        }
        for bundle in (exported, tmp_path / "again")
    )
    assert sorted(first) == ["model.bin", "model.onnx", "model.xml"]
    assert first == second


def test_a_plain_folder_with_bad_files_in_it_trains_with_a_warning_and_records_them(
    tmp_path: Path, sample_root: Path
) -> None:
    folder = tmp_path / "brackets" / "good"
    folder.mkdir(parents=True)
    few_of(sample_root, 4, folder)
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "000.png").read_bytes()[:2000])
    gray = cv2.imread(str(folder / "001.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / "gray.png"), gray)
    # The same picture, which counts once.
    cv2.imwrite(str(folder / "deep.png"), gray.astype(np.uint16) * 257)
    done = run(tmp_path / "mine", folder, "--max-prototypes", 50)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("skipped:") == 3
    assert "only 5 good parts" in done.stderr
    with Bundle.open(tmp_path / "mine") as bundle:
        assert sorted(bundle.manifest.provenance["skipped_images"]) == [
            "cut.png",
            "text.jpg",
            "zero.png",
        ]
        assert bundle.manifest.category == "brackets"
        prediction_bounds(bundle)


def few_of(root: Path, count: int, folder: Path) -> None:
    for path in sorted((root / "tile" / "train" / "good").iterdir())[:count]:
        shutil.copy(path, folder)


def prediction_bounds(bundle: Bundle) -> None:
    """The bundle has no bad part that could prove it, and thresholds of few good ones."""
    for parity in bundle.manifest.certificate["variants"].values():
        assert parity["holds"]
        assert parity["image_auroc"] is None
    for variant in bundle.manifest.variants:
        threshold = bundle.thresholds().of(variant.key)
        assert threshold.method == "prediction_bound"
        assert threshold.image_threshold > threshold.median_good_score > 0


@pytest.mark.nightly
def test_a_single_picture_trains_with_a_warning(tmp_path: Path, sample_root: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    few_of(sample_root, 1, few)
    done = run(tmp_path / "out", few, "--max-prototypes", 200)
    assert done.returncode == 0, done.stderr
    assert "only 1 good part," in done.stderr
    with Bundle.open(tmp_path / "out") as bundle:
        prediction_bounds(bundle)


@pytest.mark.nightly
def test_tiles_train_and_agree_with_anomalib(tmp_path: Path, sample_root: Path) -> None:
    tiles = ("--size", 128, "--tile", 64, "--tile-overlap", 32, "--max-prototypes", 200)
    done = run(tmp_path / "out", sample_root, "--category", "tile", *tiles)
    assert done.returncode == 0, done.stderr
    with Bundle.open(tmp_path / "out") as bundle:
        assert bundle.manifest.recipe["tile"] == 64
        for parity in bundle.manifest.certificate["variants"].values():
            assert parity["holds"]
            assert parity["verdict_flips"] == 0


@pytest.mark.parametrize(
    ("data", "arguments", "expected"),
    [
        ("nowhere", (), "expected a data folder"),
        ("empty", (), "expected pictures"),
        (".", ("--category", "bottle"), "expected the category 'bottle', found tile"),
        (".", ("--category", "tile", "--backbone", "no_such_net"), "no_such_net"),
        (".", ("--category", "tile", "--coreset-ratio", "2"), "--coreset-ratio"),
        (".", ("--category", "tile", "--layers", "blocks.99"), "blocks.99"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, sample_root: Path, data: str, arguments: tuple[str, ...], expected: str
) -> None:
    (tmp_path / "empty").mkdir()
    root = sample_root if data == "." else tmp_path / data
    done = run(tmp_path / "out", root, *arguments)
    assert done.returncode in (1, 2)
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path, sample_root: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    where = ("--data", sample_root, "--category", "tile", "--out", tmp_path / "out")
    command = (*COMMAND, "train", "--model", "efficientad", *where, "--student", "pixels")
    process = subprocess.Popen(
        [*map(str, command)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    stop = time.monotonic() + 120
    while not list(temporary.glob("lineside-train-*/scenes")) and time.monotonic() < stop:
        time.sleep(0.2)
    time.sleep(8)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["temporary"]
    assert list(temporary.glob("lineside-*")) == []


def test_libraries_are_kept_quiet_and_our_own_lines_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    other, ours = logging.getLogger("lightning.example"), logging.getLogger("lineside")
    with _quiet():
        other.warning("not wanted")
        ours.warning("half of it is done")
    other.warning("heard again")
    assert [record.message for record in caplog.records] == ["half of it is done", "heard again"]
