"""A fitted model outlives an interrupted export, and only that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from calibration.learning.photographs import read_photographs
from export import bundling, training
from export.bundling import Trained, Work
from export.checkpoint import Checkpoint
from export.models.patchcore.recipe import PatchCoreRecipe
from export.training import train, train_bundle
from runtime.bundle.folder import Bundle
from runtime.errors import ParityError, TrainingError
from runtime.images.dataset import load_category

pytestmark = pytest.mark.slow
RECIPE = PatchCoreRecipe(
    max_prototypes=50, size_hw=(64, 64), score_blur=0.5, layers=("blocks.1", "blocks.2")
)


@pytest.fixture(scope="module")
def patchcore_work(sample_root: Path) -> Work:
    category = load_category(sample_root, "tile")
    photographs = read_photographs(category, RECIPE.size_hw, 0, hold_out=False)
    return Work(RECIPE, category, photographs, train(RECIPE, photographs, 0), 0)


@pytest.mark.parametrize(
    "model",
    ["patchcore", "efficientad", pytest.param("paper_efficientad", marks=pytest.mark.nightly)],
)
def test_what_was_kept_says_the_same(
    model: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    work: Work = request.getfixturevalue(f"{model}_work")
    kept = Checkpoint(tmp_path / "out", work.recipe, work.photographs, work.seed)
    assert kept.load() is None
    kept.save(work.trained)
    again = kept.load()
    assert again is not None
    assert again.seconds == work.trained.seconds
    picture = torch.rand(1, 3, *work.recipe.size_hw)
    with torch.no_grad():
        expected, found = work.trained.model(picture), again.model(picture)
    torch.testing.assert_close(found.pred_score, expected.pred_score)
    torch.testing.assert_close(found.anomaly_map, expected.anomaly_map)
    kept.remove()
    assert list(tmp_path.iterdir()) == []


def test_other_settings_pictures_or_seeds_are_another_model(
    patchcore_work: Work, tmp_path: Path
) -> None:
    work, out = patchcore_work, tmp_path / "out"
    Checkpoint(out, RECIPE, work.photographs, 0).save(work.trained)
    assert Checkpoint(out, replace(RECIPE, max_prototypes=51), work.photographs, 0).load() is None
    assert Checkpoint(out, RECIPE, work.photographs, 1).load() is None
    other = replace(work.photographs, fingerprint="another")
    assert Checkpoint(out, RECIPE, other, 0).load() is None
    assert Checkpoint(out, RECIPE, work.photographs, 0).load() is not None


def test_weights_that_are_not_there_are_left_to_the_training_to_name(
    patchcore_work: Work, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, backbone_weights=tmp_path / "nowhere.pth")
    kept = Checkpoint(tmp_path / "out", recipe, patchcore_work.photographs, 0)
    assert kept.load() is None
    with pytest.raises(TrainingError, match=r"nowhere\.pth"):
        train(recipe, patchcore_work.photographs, 0)


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04 half an archive"])
def test_a_damaged_file_means_training_anew(
    content: bytes, patchcore_work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Checkpoint(tmp_path / "out", RECIPE, patchcore_work.photographs, 0)
    kept.path.write_bytes(content)
    with caplog.at_level("INFO", "lineside"):
        assert kept.load() is None
    assert "training anew" in caplog.text


def test_a_file_of_an_older_version_means_training_anew(
    patchcore_work: Work, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Checkpoint(tmp_path / "out", RECIPE, patchcore_work.photographs, 0)
    kept.save(patchcore_work.trained)
    found = torch.load(kept.path, weights_only=True)
    del found["left_out"]
    torch.save(found, kept.path)
    with caplog.at_level("INFO", "lineside"):
        assert kept.load() is None
    assert "training anew" in caplog.text


def test_an_interrupted_export_goes_on_without_training(
    patchcore_work: Work, sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def run() -> None:
        train_bundle(RECIPE, sample_root, out, "tile")

    trainings = []

    def counted(*_arguments: object) -> Trained:
        trainings.append(1)
        return patchcore_work.trained

    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    def differs(*_arguments: object) -> None:
        raise ParityError("differs")

    monkeypatch.setattr(training, "train", counted)
    with monkeypatch.context() as patch:
        patch.setattr(bundling, "write_bundle", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run()
    run()
    assert len(trainings) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    with Bundle.open(out) as bundle:
        assert all(parity["holds"] for parity in bundle.manifest.certificate["variants"].values())
    # A model that the certificate refuses is not tried again.
    with monkeypatch.context() as patch:
        patch.setattr(bundling, "write_bundle", differs)
        with pytest.raises(ParityError):
            run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
