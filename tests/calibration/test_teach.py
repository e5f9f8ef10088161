"""A new part on the box: taught from another part's bundle, without torch."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calibration.int8 import carrying, parts
from calibration.learning.copies import COPIES
from calibration.scoring import learned_digests, left_out_scores
from calibration.teaching import lesson, writing
from calibration.teaching import teach as teaching
from calibration.teaching.new_bank import TeachableGraph
from calibration.teaching.teach import teach
from calibration.teaching.writing import TAUGHT_FROM
from runtime.bundle.folder import MANIFEST_FILE, Bundle, seal
from runtime.bundle.golden import verify
from runtime.doctor.bundle import bundle_findings
from runtime.engines.base import open_engine
from runtime.errors import BundleError, DataError, ParityError, ThresholdError, TrainingError
from runtime.inspector import Inspector
from tests.calibration.teachable import (
    COUNT,
    SIDE,
    VARIANTS,
    add_rounded,
    blanked,
    pictures,
    write_pictures,
    write_toy_bundle,
)
from tests.cli import lineside

pytestmark = pytest.mark.slow


def folder(path: Path) -> dict[Path, bytes]:
    """Every file below it."""
    return {one.relative_to(path): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def test_the_new_bundle_is_whole_and_says_where_it_comes_from(base: Path, taught: Path):
    with Bundle.open(taught) as bundle, Bundle.open(base) as before:
        manifest = bundle.manifest
        assert (manifest.name, manifest.category) == ("stripes-patchcore", "stripes")
        assert manifest.input == before.manifest.input
        assert manifest.recipe == before.manifest.recipe
        assert manifest.provenance[TAUGHT_FROM] == {
            "bundle": "toy-patchcore",
            "model": before.manifest.model_fingerprint(),
        }
        assert manifest.provenance["sealed"] == ["thresholds.json", "health.json"]
        assert len(learned_digests(bundle)) == len(left_out_scores(bundle)) == COUNT
        assert set(manifest.metrics["made_up_defects"]) == {"weak", "medium", "strong"}
        assert manifest.certificate["reference"].startswith("NumPy")
        threshold = bundle.thresholds().of("openvino/fp32")
        assert (threshold.method, threshold.n_good) == ("leave_one_out", COUNT)
        assert bundle.health() is not None
    found = verify(taught)
    assert [one.variant for one in found] == ["openvino/fp32", "onnxruntime/fp32"]
    assert all(one.holds for one in found)


def test_it_knows_the_new_part_and_finds_what_is_no_such_part(taught: Path):
    new = pictures(12, seed=5)
    bad = new.copy()
    bad[:, 20:36, 30:46] = np.random.default_rng(0).integers(90, 170, size=(16, 16, 3))
    with Inspector(taught) as inspector:
        assert sum(inspector.inspect(one).verdict == "anomalous" for one in new) <= 2
        assert all(inspector.inspect(one).verdict == "anomalous" for one in bad)


@pytest.fixture(scope="module", params=[(0.05, False), (0.0, True)], ids=["stacked", "maximum"])
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of layers as they are, and with the paper's score."""
    share, projected = request.param
    place = tmp_path_factory.mktemp("other") / "toy"
    return write_toy_bundle(place, share, projected=projected)


@pytest.mark.parametrize("rows", [5, 512, 513, 1400])
def test_another_bank_of_any_size_is_searched_as_numpy_searches_it(
    tmp_path: Path, good: Path, other: Path, rows: int
):
    with Bundle.open(other) as bundle:
        settings = dataclasses.replace(
            lesson.Settings.of(bundle), max_prototypes=rows, coreset_ratio=1.0
        )
        graph = TeachableGraph(bundle.model_path(VARIANTS[1]), tmp_path, "patchcore")
        parts = lesson.Pictures(sorted(good.iterdir()), (SIDE, SIDE))
        learned = lesson.learn(graph, settings, parts, 0)
        assert len(learned.bank) == rows
        content = graph.with_bank(learned.bank, learned.components, (2.0, 7.0))
    (tmp_path / "model.onnx").write_bytes(content)
    onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"), full_check=True)
    for name in ("openvino", "onnxruntime"):
        engine = open_engine(name, tmp_path / "model.onnx")
        for image in pictures(3, seed=8):
            outputs = engine.run({"image": image[None]})
            score, found = learned.score(image, learned.bank)
            np.testing.assert_allclose(outputs["anomaly_map"][0, 0], found, atol=2e-4)
            assert outputs["pred_score"][0] == pytest.approx(score, rel=1e-3, abs=1e-4)
            # The last number of a descriptor is how far the score is from those of good parts.
            excess = 0.7 * np.clip((score - 7.0) / 5.0, -1.0, 2.0)
            embedding = outputs["embedding"][0]
            expected = excess / np.hypot(1.0, excess)
            assert embedding[-1] == pytest.approx(expected, abs=1e-3)
            assert np.linalg.norm(embedding) == pytest.approx(1.0, abs=1e-5)
        engine.close()


def test_it_can_be_taught_again_and_is_the_same(taught: Path, base: Path, good: Path, tmp_path):
    again = teach(taught, good, tmp_path / "again", "stripes")
    assert again.prototypes == 700
    banks = [
        next(
            numpy_helper.to_array(one)
            for one in onnx.load(path / "onnx/fp32/model.onnx").graph.initializer
            if one.name == "memory_bank"
        )
        for path in (taught, tmp_path / "again")
    ]
    np.testing.assert_array_equal(*banks)


def test_a_bundle_taught_the_pictures_of_another_is_like_it(
    patchcore_bundle: Path, sample_root: Path, tmp_path: Path
):
    """Against training with torch on the same pictures."""
    out, root = tmp_path / "tile", sample_root / "tile"
    done = lineside(
        "teach",
        patchcore_bundle,
        "--good",
        root / "train",
        "--out",
        out,
        "--name",
        "tile",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_good"] == 24
    test = sorted((root / "test").rglob("*.png"))
    with Inspector(patchcore_bundle) as trained, Inspector(out) as new:
        scores = np.array(
            [[one.inspect(path).pred_score for path in test] for one in (trained, new)]
        )
        # Both start their selection from a patch of their own.
        assert np.abs(scores[0] - scores[1]).max() < 0.1 * np.ptp(scores[0])
        assert np.corrcoef(scores)[0, 1] > 0.99
        assert new.threshold.image_threshold == pytest.approx(
            trained.threshold.image_threshold, rel=0.03
        )
        assert new.threshold.note == trained.threshold.note
    for command in (
        ("evaluate", out, "--data", root),
        ("calibrate", out, "--good", root / "test" / "good", "--force"),
        ("bench", out, "--repetitions", 5),
        ("index", out, "--images", root / "test", "--store", tmp_path / "store"),
        ("search", out, test[0], "--store", tmp_path / "store"),
    ):
        done = lineside(*command)
        assert done.returncode == 0, done.stderr


WITHOUT = """
import sys
class Box:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        missing = name.split(".")[0] in {blocked}
        return None if missing else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Box(finder) for finder in sys.meta_path]
sys.argv = ["lineside", *{arguments}]
from runtime.cli import main
main()
"""
EXTRAS = {
    *("torch", "torchvision", "anomalib", "timm", "lightning", "sklearn", "scipy", "nncf"),
    *("onnx", "onnxscript", "onnxruntime", "jinja2", "gradio", "pandas", "matplotlib"),
}


def run_on_the_box(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A command in an interpreter that has the base installation's packages alone."""
    words = [str(one) for one in arguments]
    code = WITHOUT.format(blocked=sorted(EXTRAS), arguments=words)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )


def test_the_base_installation_is_enough(base: Path, good: Path, tmp_path: Path):
    few = write_pictures(tmp_path / "few", pictures(6))
    for place in (good, few):
        out = tmp_path / f"taught-{place.name}"
        done = run_on_the_box("teach", base, "--good", place, "--out", out, "--name", "x")
        assert done.returncode == 0, done.stderr
        assert "its engine is not installed" in done.stderr
        for command in (("verify", out), ("inspect", out, good / "000.png")):
            done = run_on_the_box(*command)
            assert done.returncode == 0, done.stderr
    # Where the other engine is, it is proven there.
    assert all(one.holds for one in verify(tmp_path / "taught-good", engine="onnxruntime"))


def test_one_picture_works_and_is_warned_of(base: Path, tmp_path: Path, caplog):
    one = write_pictures(tmp_path / "one", pictures(1))
    caplog.set_level("INFO", "lineside")
    found = teach(base, one, tmp_path / "out", "lonely")
    assert "warning: only 1 good part" in caplog.text
    assert found.threshold.method == "prediction_bound"
    assert "a guess from one good part" in found.threshold.note
    with Bundle.open(tmp_path / "out") as bundle:
        # What it scores with its own bank is no evidence for a calibration.
        assert left_out_scores(bundle) == {}
        assert len(learned_digests(bundle)) == 1


def test_copies_are_taught_where_the_recipe_or_the_command_says_so(base: Path, tmp_path: Path):
    few = write_pictures(tmp_path / "few", pictures(4))
    out, flip = tmp_path / "out", ("--augment", "flip")
    done = lineside("teach", base, "--good", few, "--out", out, "--name", "any", *flip)
    assert done.returncode == 0, done.stderr
    # The taught bundle's recipe says it to those that are taught from it.
    teach(out, few, tmp_path / "again", "again")
    for name in ("out", "again"):
        with Bundle.open(tmp_path / name) as bundle:
            assert bundle.manifest.recipe["augment"] == "flip"
            assert bundle.manifest.provenance[COPIES] == 4 * 3
            assert len(left_out_scores(bundle)) == 4
    assert all(one.holds for one in verify(out))
    refused = lineside("teach", out, "--from-feedback", "x", *flip)
    assert refused.returncode == 2
    assert "--augment goes with --good DIR alone" in refused.stderr


def test_a_hundred_times_the_same_picture_is_one(base: Path, tmp_path: Path, caplog):
    same = write_pictures(tmp_path / "same", [pictures(1)[0]] * 100)
    caplog.set_level("INFO", "lineside")
    found = teach(base, same, tmp_path / "out", "same")
    assert len(found.photographs.train) == 1
    assert "99 of 100 good pictures are exact repeats" in caplog.text


def test_pictures_of_different_sizes_are_learned(base: Path, tmp_path: Path):
    mixed = write_pictures(
        tmp_path / "mixed",
        [
            np.repeat(np.repeat(one, 1 + at % 3, 0), 1 + at % 2, 1)
            for at, one in enumerate(pictures(12))
        ],
    )
    found = teach(base, mixed, tmp_path / "out", "mixed")
    assert len(found.photographs.train) == 12
    assert all(one.holds for one in verify(tmp_path / "out"))


def test_unreadable_pictures_are_skipped_and_recorded(base: Path, tmp_path: Path):
    folder = write_pictures(tmp_path / "good", pictures(5))
    (folder / "003.png").write_bytes(b"no picture")
    done = lineside("teach", base, "--good", folder, "--out", tmp_path / "out", "--name", "x")
    assert done.returncode == 0
    assert "1 pictures could not be read" in done.stderr
    with Bundle.open(tmp_path / "out") as bundle:
        assert bundle.manifest.provenance["skipped_images"] == ["003.png"]
        assert bundle.manifest.provenance["train_images"] == 4


def test_more_pictures_than_memory_holds_are_left_aside(
    base: Path, good: Path, tmp_path, monkeypatch
):
    monkeypatch.setattr(lesson, "MAX_PATCH_BYTES", 10 * 256 * 6 * 4)
    found = teach(base, good, tmp_path / "out", "many")
    assert (len(found.photographs.train), len(found.left_aside)) == (10, 14)
    with Bundle.open(tmp_path / "out") as bundle:
        assert len(learned_digests(bundle)) == len(left_out_scores(bundle)) == 10


def test_what_cannot_be_taught_says_so_and_what_to_do(base: Path, good: Path, tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for place in (empty, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="expected"):
            teach(base, place, tmp_path / "out", "x")
    with pytest.raises(TrainingError, match="expected the name of the part"):
        teach(base, good, tmp_path / "out", "  ")
    with pytest.raises(ThresholdError, match="max_false_rejects"):
        teach(base, good, tmp_path / "out", "x", max_false_rejects=1.0)
    with pytest.raises(BundleError, match="expected a bundle"):
        teach(good, good, tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_taken_stays_as_it_is(base: Path, good: Path, taught: Path):
    before = folder(taught)
    for out in (taught, base):
        done = lineside("teach", base, "--good", good, "--out", out, "--name", "x")
        assert "never overwritten" in done.line()
    assert folder(taught) == before
    with pytest.raises(TrainingError, match="outside of the bundle"):
        teach(taught, good, taught / "new", "x")
    assert folder(taught) == before


def test_an_efficientad_bundle_is_refused_with_what_to_do(efficientad_bundle: Path, good, tmp_path):
    with pytest.raises(BundleError, match="found efficientad, whose networks have to be trained"):
        teach(efficientad_bundle, good, tmp_path / "out", "x")


def test_a_region_of_interest_is_its_own_parts(base: Path, good: Path, tmp_path: Path):
    copy = shutil.copytree(base, tmp_path / "base")
    with Bundle.open(copy) as bundle:
        manifest = bundle.manifest
    recipe = {**manifest.recipe, "roi": {"file": "roi.png", "given": "", "share": 0.5}}
    seal(copy, dataclasses.replace(manifest, recipe=recipe))
    with pytest.raises(BundleError, match="trained without --roi"):
        teach(copy, good, tmp_path / "new", "screw")
    assert not (tmp_path / "new").exists()


def renamed(base: Path, target: Path, old: bytes, new: bytes) -> Path:
    """A bundle whose graph has another name for something."""
    shutil.copytree(base, target)
    model = target / VARIANTS[1].path
    model.write_bytes(model.read_bytes().replace(old, new))
    with Bundle.open(base) as bundle:
        manifest = bundle.manifest
    (target / MANIFEST_FILE).unlink()
    seal(target, manifest)
    return target


def test_an_older_export_is_refused(base: Path, good: Path, tmp_path: Path):
    old = renamed(base, tmp_path / "old", b"nearest_partials", b"nearest_whatever")
    with pytest.raises(BundleError, match="older export, whose graph has no 'nearest_partials'"):
        teach(old, good, tmp_path / "out", "x")


def test_a_box_that_computes_something_else_learns_nothing(base: Path, good, tmp_path, monkeypatch):
    real = teaching.replay_golden

    def wrong(*arguments: object) -> object:
        found = real(*arguments)  # type: ignore[arg-type]
        return dataclasses.replace(found, max_score_difference=0.5)

    monkeypatch.setattr(teaching, "replay_golden", wrong)
    with pytest.raises(ParityError, match="lineside verify BUNDLE"):
        teach(base, good, tmp_path / "out", "x")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("at", "stopped"),
    [
        ("to_openvino", OSError(errno.ENOSPC, "No space left")),
        ("write_first_health", KeyboardInterrupt()),
        ("seal", OSError(errno.ENOSPC, "No space left")),
    ],
)
def test_a_full_disk_or_ctrl_c_leaves_nothing_half_written(
    base: Path, good: Path, tmp_path: Path, monkeypatch, stopped: BaseException, at: str
):
    def stop(*_arguments: object, **_more: object) -> None:
        raise stopped

    before = folder(base)
    monkeypatch.setattr(writing, at, stop)
    with pytest.raises(type(stopped)):
        teach(base, good, tmp_path / "new" / "out", "x")
    assert list((tmp_path / "new").iterdir()) == []
    assert folder(base) == before


# Ends as a power cut does: nothing is tidied up, no handler runs.
CUT = """
import os, pathlib, signal, sys
import {module} as module
from calibration.teaching.teach import teach
def cut(*arguments, real=module.{name}):
    if not {after} or arguments[0].name == "new":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
module.{name} = cut
teach(*map(pathlib.Path, sys.argv[1:4]), "x")
"""


@pytest.mark.parametrize(
    ("module", "name", "is_whole"),
    [
        ("calibration.teaching.writing", "to_openvino", False),
        ("runtime.atomic", "sync", False),
        # Of the folder that the bundle lies in, which comes last.
        ("runtime.atomic", "sync", True),
    ],
)
def test_a_power_cut_leaves_the_old_bundle_and_no_half_of_a_new_one(
    base: Path, tmp_path: Path, module: str, name: str, is_whole: bool
):
    before = folder(base)
    few, out = write_pictures(tmp_path / "few", pictures(3)), tmp_path / "new" / "out"
    code = CUT.format(module=module, name=name, after=is_whole)
    done = subprocess.run([sys.executable, "-c", code, base, few, out], check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert folder(base) == before
    assert out.exists() == is_whole
    if is_whole:
        assert all(one.holds for one in verify(out, engine="openvino"))
    # What is left has a hidden name, and is in nobody's way.
    assert all(one.name.startswith(".out.") for one in out.parent.iterdir() if one != out)


def test_who_comes_second_to_the_same_place_is_told(
    base: Path, good, taught, tmp_path, monkeypatch
):
    real = writing.write_first_health

    def meanwhile(*arguments: object, **more: object) -> None:
        shutil.copytree(taught, tmp_path / "out")
        real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "write_first_health", meanwhile)
    with pytest.raises(TrainingError, match="never overwritten"):
        teach(base, good, tmp_path / "out", "x")
    assert folder(tmp_path / "out") == folder(taught)


@pytest.fixture(scope="module")
def rounded(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an INT8 variant, whose grid reaches half as far as what the new part needs."""
    return add_rounded(base, tmp_path_factory.mktemp("rounded") / "toy", 0.5)


def test_int8_networks_go_on_with_the_new_bank_and_ranges_that_hold_the_new_part(
    rounded: Path, good: Path, tmp_path: Path
):
    out = tmp_path / "out"
    done = run_on_the_box("teach", rounded, "--good", good, "--out", out, "--name", "x")
    assert done.returncode == 0, done.stderr
    assert "openvino/int8 added" in done.stderr
    assert {one.variant: one.holds for one in verify(out)} == {
        "openvino/fp32": True,
        "onnxruntime/fp32": True,
        "openvino/int8": True,
    }
    with Inspector(out) as exact, Inspector(out, precision="int8") as quantized:
        gate = exact.bundle.manifest.metrics["int8_gate"]
        assert (gate["n_good"], gate["n_bad"], gate["flips"]) == (COUNT, 0, 0)
        new = pictures(8, seed=6)
        new[4:, 20:36, 30:46] = np.random.default_rng(0).integers(90, 170, size=(4, 16, 16, 3))
        found = [(exact.inspect(one), quantized.inspect(one)) for one in new]
        scores = np.array([[one.pred_score for one in both] for both in found])
        # Eight bits of what the part needs, and not the half that the grid held before.
        assert np.abs(scores[:, 0] - scores[:, 1]).max() < 0.02 * np.ptp(scores[:, 0])
        assert all(one.verdict == other.verdict for one, other in found)
        health = exact.health
        assert health is not None
        assert set(health.score_limits) == {one.key for one in exact.bundle.manifest.variants}


def test_int8_that_judges_otherwise_is_refused_and_fp32_is_written(
    rounded: Path, good: Path, tmp_path: Path, monkeypatch, caplog
):
    monkeypatch.setattr(carrying, "widen_ranges", lambda *_: None)
    monkeypatch.setattr(parts, "SYNTHETIC_DEFECTS", 40)
    found = teach(rounded, good, tmp_path / "out", "x")
    assert "openvino/int8: not taught, the new bundle is fp32: expected" in caplog.text
    assert "scores correlate by" in caplog.text
    assert {one.key for one in found.manifest.variants} == {one.key for one in VARIANTS}
    assert not (tmp_path / "out" / "openvino" / "int8").exists()


@pytest.fixture(scope="module")
def blank(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blanked(base, tmp_path_factory.mktemp("blank") / "blank")


def test_a_blank_bundle_is_taught_and_judges_nothing(blank: Path, good: Path, tmp_path: Path):
    assert all(one.holds for one in verify(blank, engine="openvino"))
    with pytest.raises(BundleError, match="found a blank one, which judges nothing; teach it"):
        Inspector(blank)
    with pytest.raises(BundleError, match="found a blank one"):
        Inspector(blank, scores_only=True)
    for command in (
        ("inspect", blank, good / "000.png"),
        ("calibrate", blank, "--good", good),
        ("bench", blank),
        ("index", blank, "--images", good, "--store", tmp_path / "store"),
        ("teach", blank, "--good", good, "--add", "--out", tmp_path / "out"),
    ):
        assert "teach it a part first: lineside teach" in lineside(*command).line()
    found = teach(blank, good, tmp_path / "new", "stripes")
    assert not found.manifest.is_blank
    with Inspector(tmp_path / "new") as inspector:
        assert inspector.inspect(pictures(1)[0]).verdict == "good"
    # At a station that is yet to be taught every part is one that cannot be judged.
    with Inspector(blank, blank_too=True) as inspector:
        said = inspector.inspect(pictures(1)[0])
        assert (said.verdict, said.has_score, said.is_fault) == ("cannot_judge", False, True)
        assert "teach it a part" in said.reason
        with pytest.raises(BundleError, match="teach it a part first"):
            inspector.inspect(pictures(1)[0], strict=True)
    assert [one.state for one in bundle_findings(blank)] == ["warning", "ok"]


def test_more_pictures_are_learned_beside_what_was_known(taught: Path, good: Path, tmp_path: Path):
    def lit(count: int, seed: int) -> np.ndarray:
        return np.clip(pictures(count, seed).astype(np.int16) + 24, 0, 255).astype(np.uint8)

    more = write_pictures(tmp_path / "more", [*lit(12, 5), pictures(1)[0]])
    (more / "012.png").write_bytes(b"no picture")
    shutil.copy(good / "000.png", more / "known.png")
    arguments = ("teach", taught, "--good", more, "--add")
    done = lineside(*arguments, "--out", tmp_path / "new", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["taken"], said["known_before"], said["without_picture"]) == (12, 1, 1)
    new = lit(6, 9)
    with Inspector(taught) as before, Inspector(tmp_path / "new") as after:
        old, now = before.health, after.health
        assert old is not None
        assert now is not None
        for name, limit in now.limits.items():
            assert limit.low is None or limit.low <= old.limits[name].low
            assert limit.high is None or limit.high >= old.limits[name].high
        # What the line looks like from now on.
        assert now.values["brightness"].min() > old.values["brightness"].max()
        assert now.n_good == COUNT + 12
        assert all(before.inspect(one).verdict != "good" for one in new)
        assert sum(after.inspect(one).verdict == "good" for one in new) >= 5
        same = pictures(6, seed=8)
        assert sum(after.inspect(one).verdict == "good" for one in same) >= 5
        assert len(learned_digests(after.bundle)) == COUNT + 12
    again = tmp_path / "again"
    assert (
        "12 are learned already"
        in lineside(
            "teach",
            tmp_path / "new",
            "--good",
            write_pictures(again, lit(12, 5)),
            "--add",
            "--dry-run",
        ).line()
    )
    for words in (("--add", "--out", "z"), ("--good", more, "--records", "x", "--out", "z")):
        assert lineside("teach", taught, *words).returncode == 2


def test_taught_says_it_in_json(base: Path, good: Path, tmp_path: Path):
    found = teach(base, good, tmp_path / "out", "stripes", max_false_rejects=0.1)
    said = json.loads(json.dumps(found.to_json()))
    assert (said["n_good"], said["method"]) == (COUNT, "leave_one_out")
    assert said["image_threshold"] == found.threshold.image_threshold
