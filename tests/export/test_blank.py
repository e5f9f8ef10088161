"""A bundle with the network and nothing learned."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from export import blank, bundling
from export.blank import blank_bundle
from export.models.patchcore.recipe import PatchCoreRecipe
from runtime.bundle.folder import Bundle
from runtime.bundle.golden import verify
from runtime.bundle.manifest import LEFT_OUT_SCORES, TRAIN_DIGESTS, Manifest
from runtime.errors import BundleError
from runtime.inspector import Inspector
from tests.cli import lineside

pytestmark = pytest.mark.slow


def test_what_says_how_a_part_looks_is_taken_away(
    patchcore_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bundling.Work] = []

    def written(work: bundling.Work, out: Path, _name: str) -> Manifest:
        seen.append(work)
        shutil.copytree(patchcore_bundle, out)
        with Bundle.open(out) as bundle:
            return bundle.manifest

    # A whole training is another test's; of it, one that was trained before will do.
    monkeypatch.setattr(bundling, "write_bundle", written)
    monkeypatch.setattr(blank, "train", lambda *_: None)
    found = blank_bundle(PatchCoreRecipe(size_hw=(128, 128)), tmp_path / "base")
    assert len(seen[0].photographs.train) == 24
    assert (found.is_blank, found.category) == (True, "blank")
    assert found.recipe["max_prototypes"] == PatchCoreRecipe().max_prototypes
    assert not {TRAIN_DIGESTS, LEFT_OUT_SCORES, "data_fingerprint"} & set(found.provenance)
    names = {path.name for path in (tmp_path / "base").iterdir()}
    assert names == {"bundle.json", "golden", "onnx", "openvino", "thresholds.json"}
    assert all(one.holds for one in verify(tmp_path / "base"))
    with Bundle.open(tmp_path / "base") as bundle:
        assert bundle.thresholds().variants == {}
    with pytest.raises(BundleError, match="teach it a part first"):
        Inspector(tmp_path / "base")


def test_what_cannot_be_blank_says_so(tmp_path: Path) -> None:
    out = tmp_path / "base"
    said = lineside("train", "--model", "efficientad", "--blank", "--out", out).line()
    assert "expected patchcore, which learns a part without training, found efficientad" in said
    for words in (("--blank", "--data", tmp_path), ()):
        done = lineside("train", "--model", "patchcore", *words, "--out", out)
        assert done.returncode == 2
        assert "--data" in done.stderr
    assert not out.exists()
