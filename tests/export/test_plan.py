"""The planner: its choice against brute force, nested banks, and the command as a whole."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from calibration.learning.photographs import read_photographs
from export.commands.plan import numbers
from export.models import family_of
from export.models.base import Grid
from export.models.efficientad.recipe import EfficientAdRecipe
from export.models.patchcore.recipe import PatchCoreRecipe
from export.models.settings import Recipe
from export.plan.choose import Budget, Measured, best_within, nearest, pareto
from export.plan.measuring import Exam, make_exam
from export.plan.planning import Plan, Question, candidates
from export.plan.show import legend, plot, table
from export.sample_data import write_dataset
from export.training import train
from runtime.bundle.folder import Bundle
from runtime.errors import TrainingError
from runtime.images.dataset import load_category
from runtime.inspector import Inspector
from tests.cli import COMMAND, lineside

pytestmark = pytest.mark.slow


def one(auroc: float = 0.9, ms: float = 10.0, mib: float = 200.0, **other: object) -> Measured:
    found = Measured("patchcore", 256, 500, "openvino", "fp32", auroc, ms, 1.2 * ms, mib, 900.0)
    return replace(found, **other)  # type: ignore[arg-type]


# Few distinct values, so that ties come up.
VARIANTS = st.lists(
    st.builds(
        one,
        st.sampled_from([0.8, 0.9, 1.0]),
        st.sampled_from([1.0, 5.0, 9.0]),
        st.sampled_from([90.0, 200.0]),
    ),
    min_size=1,
    max_size=12,
)
BUDGETS = st.builds(
    Budget, st.sampled_from([None, 0.5, 6.0, 20.0]), st.sampled_from([None, 50.0, 100.0, 300.0])
)


@given(VARIANTS)
def test_the_front_is_what_nothing_beats(found: list[Measured]) -> None:
    def beats(a: Measured, b: Measured) -> bool:
        return (a.auroc >= b.auroc and a.p50_ms <= b.p50_ms) and (a.auroc, a.p50_ms) != (
            b.auroc,
            b.p50_ms,
        )

    front = pareto(found)
    unbeaten = {(a.auroc, a.p50_ms) for a in found if not any(beats(b, a) for b in found)}
    assert {(a.auroc, a.p50_ms) for a in front} == unbeaten
    assert [a.p50_ms for a in front] == sorted(a.p50_ms for a in front)


@given(VARIANTS, BUDGETS)
def test_the_best_fits_and_none_that_fits_is_better(found: list[Measured], budget: Budget) -> None:
    def fits(a: Measured) -> bool:
        slow = budget.max_latency_ms is not None and a.p95_ms > budget.max_latency_ms
        large = budget.max_memory_mib is not None and a.peak_rss_mib > budget.max_memory_mib
        return not slow and not large

    best = best_within(found, budget)
    fitting = [a for a in found if fits(a)]
    assert (best is None) == (not fitting)
    if best is not None:
        assert fits(best)
        assert all(a.auroc <= best.auroc for a in fitting)
        assert all(a.p95_ms >= best.p95_ms for a in fitting if a.auroc == best.auroc)
    assert budget.excess(nearest(found, budget)) == min(budget.excess(a) for a in found)


def test_the_table_marks_the_front_and_what_was_written() -> None:
    found = [one(0.9, 5.0), one(0.95, 20.0, prototypes=2000), one(0.94, 30.0, engine="onnxruntime")]
    plan = Plan(Exam("labelled", [b""] * 6, [b""] * 20), found, found[0])
    console = Console(width=150, file=io.StringIO())
    console.print(table(plan, Budget(10.0)))
    text = console.file.getvalue().rstrip()
    head, *rows = text.splitlines()
    assert head.split() == [
        "model",
        "px",
        "prototypes",
        "variant",
        "AUROC",
        "p50",
        "ms",
        "p95",
        "ms",
        "MiB",
        "start",
        "ms",
        "fits",
    ]
    assert [row[0] for row in rows] == [">", "*", " "]
    assert [row.split()[-1] for row in rows] == ["yes", "no", "no"]
    assert "labelled test parts (6 good, 20 anomalous)" in legend(plan)


@pytest.mark.parametrize("best", [True, False])
def test_the_plot_names_the_front(best: bool, tmp_path: Path) -> None:
    found = [one(0.9, 5.0), one(0.95, 20.0, prototypes=2000)]
    exam, file = Exam("synthetic", [b""], [b""]), tmp_path / "plan.svg"
    plot(Plan(exam, found, found[1] if best else None), Budget(10.0, None), file)
    texts = [element.text for element in ElementTree.parse(file).iter()]
    assert {"256/500 fp32", "256/2000 fp32", "budget 10 ms (p95)"} <= set(texts)
    assert ("written" in texts) is best


@pytest.mark.parametrize("text", ["", "256,", "0", "-3", "a", "256;320"])
def test_numbers_that_are_none(text: str) -> None:
    with pytest.raises(TrainingError, match="--sizes: expected whole numbers"):
        numbers("--sizes", text)


def test_numbers_are_sorted_and_each_is_there_once() -> None:
    assert numbers("--sizes", "320, 256,256") == (256, 320)


def check(recipe: Recipe, *grid: tuple[int, ...]) -> list[Recipe]:
    return family_of(recipe.model).plan(recipe, Grid(*grid))


def test_a_grid_that_cannot_be_is_refused_before_training() -> None:
    with pytest.raises(TrainingError, match="--prototypes: expected at least 10"):
        check(PatchCoreRecipe(), (256,), (5, 100))
    with pytest.raises(TrainingError, match="multiples of 64"):
        check(EfficientAdRecipe(), (192, 300), (100,))
    sizes = [one.size_hw for one in check(EfficientAdRecipe(), (192, 256, 300), (1,))]
    assert sizes == [(256, 256)]


def test_a_smaller_bank_is_what_a_training_of_that_size_would_have_kept(sample_root: Path) -> None:
    category = load_category(sample_root, "tile")
    (recipe,) = check(PatchCoreRecipe(), (64,), (30, 100))
    question = Question([], Grid((64,), (30, 100)), sample_root, seed=3)
    found = {
        prototypes: (work.recipe, work.trained.model.model.memory_bank.clone())
        for work, prototypes in candidates(recipe, category, question)
    }
    assert list(found) == [100, 30]
    photographs = read_photographs(category, (64, 64), 3)
    for size, (exact, bank) in found.items():
        fresh = train(exact, photographs, 3).model.model.memory_bank
        assert len(bank) == size
        assert torch.equal(bank, fresh)


def test_synthetic_defects_are_small_faint_and_the_same_for_the_same_seed(
    sample_root: Path,
) -> None:
    paths = sorted((sample_root / "tile" / "train" / "good").iterdir())[:3]
    category = load_category(sample_root, "tile")
    first, second = (make_exam(category, paths, 128, 5, "synthetic") for _ in range(2))
    assert len(first.anomalous) >= 120
    pairs = zip(first.anomalous, second.anomalous, strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    changed = [
        min((np.abs(a.astype(int) - p.astype(int)).max(axis=2) > 0).mean() for p in first.good)
        for a in first.anomalous
    ]
    assert 0 < np.median(changed) < 0.1


# One training; sizes are one training each.
SMALL = ("--sizes", "64", "--prototypes", "20,100")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A few blocks of the backbone: what the network sees does not matter here."""
    recipe = tmp_path_factory.mktemp("recipe") / "quick.toml"
    recipe.write_text('model = "patchcore"\nlayers = ["blocks.1", "blocks.2"]\n')
    return "--recipe", recipe


def test_the_best_bundle_within_budget_is_written(
    tmp_path: Path, sample_root: Path, quick: tuple[str, Path]
) -> None:
    done = lineside(
        "plan",
        *quick,
        "--data",
        sample_root,
        "--category",
        "tile",
        "--max-latency-ms",
        5000,
        "--max-memory-mib",
        4000,
        "--out",
        tmp_path / "best",
        "--plot",
        tmp_path / "plan.svg",
        "--json",
        *SMALL,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    variants = found["variants"]
    shapes = {
        (v["side"], v["prototypes"], v["engine"]) for v in variants if v["precision"] == "fp32"
    }
    assert shapes == {(64, p, e) for p in (20, 100) for e in ("openvino", "onnxruntime")}
    assert (found["accuracy_on"], found["n_good"]) == ("labelled", 6)
    chosen = found["chosen"]
    assert chosen["auroc"] == max(v["auroc"] for v in variants)
    category = load_category(sample_root, "tile")
    labels = [part.is_anomalous for part in category.test]
    with Bundle.open(tmp_path / "best") as bundle:
        assert bundle.manifest.input.height == chosen["side"]
        assert bundle.manifest.recipe["max_prototypes"] == chosen["prototypes"]
        assert bundle.manifest.metrics["plan"]["accuracy_on"].startswith("labelled test parts")
        with Inspector(bundle, engine=chosen["engine"], precision=chosen["precision"]) as inspector:
            scores = np.array([inspector.inspect(part.path).pred_score for part in category.test])
    # AUROC by its definition: the share of pairs in the right order.
    good, bad = scores[~np.array(labels)], scores[np.array(labels)]
    pairs = (bad[:, None] > good[None]).mean() + 0.5 * (bad[:, None] == good[None]).mean()
    assert chosen["auroc"] == pytest.approx(pairs, abs=1e-3)
    assert ElementTree.parse(tmp_path / "plan.svg").getroot().tag.endswith("svg")


@pytest.mark.nightly
def test_int8_is_planned_too_and_a_refusal_is_told(tmp_path: Path, quick: tuple[str, Path]) -> None:
    write_dataset(tmp_path / "parts", "tile", train=40, test_good=6, per_defect=2, size=64)
    done = lineside(
        "plan",
        *quick,
        "--data",
        tmp_path / "parts",
        "--category",
        "tile",
        "--out",
        tmp_path / "best",
        "--int8",
        "--sizes",
        64,
        "--prototypes",
        "300",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    precisions = [v["precision"] for v in json.loads(done.stdout)["variants"]]
    assert precisions == ["fp32", "fp32", "int8"]
    with Bundle.open(tmp_path / "best") as bundle:
        assert bundle.manifest.metrics["int8_gate"]["n_good"] >= 5
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted((tmp_path / "parts" / "tile" / "train" / "good").iterdir())[:5]:
        shutil.copy(path, few)
    done = lineside(
        "plan",
        *quick,
        "--data",
        few,
        "--out",
        tmp_path / "second",
        "--int8",
        "--sizes",
        64,
        "--prototypes",
        20,
    )
    assert done.returncode == 0, done.stderr
    assert "left out: INT8: " in done.stderr
    assert "INT8 expected at least 5 pictures of good parts to judge it" in done.stderr


def test_where_nothing_fits_the_nearest_is_named_and_nothing_written(
    tmp_path: Path, sample_root: Path, quick: tuple[str, Path]
) -> None:
    folder = tmp_path / "good"
    shutil.copytree(sample_root / "tile" / "train" / "good", folder)
    done = lineside(
        "plan",
        *quick,
        "--data",
        folder,
        "--max-latency-ms",
        0.01,
        "--out",
        tmp_path / "best",
        "--sizes",
        64,
        "--prototypes",
        20,
    )
    assert done.returncode == 1
    assert "synthetic defects on held-out good parts" in done.stderr
    assert "expected a variant within 0.01 ms, found none" in done.stderr
    assert "Nearest: patchcore 64 px, 20 prototypes" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("patchcore") >= 2, "the table is there all the same"
    assert not (tmp_path / "best").exists()


@pytest.mark.nightly
def test_ctrl_c_leaves_nothing(tmp_path: Path, sample_root: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    where = map(str, ("--data", sample_root, "--category", "tile", "--out", tmp_path / "best"))
    process = subprocess.Popen(
        [*COMMAND, "plan", *where],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    stop = time.monotonic() + 120
    while not list(temporary.glob("lineside-plan-*")) and time.monotonic() < stop:
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "best").exists()
    assert list(temporary.glob("lineside-*")) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--steps", 5), "--model efficientad"),
        (("--prototypes", "3"), "--prototypes: expected at least 10"),
        (("--sizes", "x"), "--sizes: expected whole numbers"),
        (("--plot", "plan.png"), "ends in .svg"),
        (("--category", "bottle"), "expected the category 'bottle'"),
    ],
)
def test_bad_input_is_refused_before_training(
    tmp_path: Path, arguments: tuple[object, ...], expected: str
) -> None:
    good = tmp_path / "parts" / "train" / "good"
    good.mkdir(parents=True)
    (good / "0.png").write_bytes(b"not looked at")
    given = ["--data", tmp_path / "parts", "--out", tmp_path / "best", *arguments]
    assert expected in lineside("plan", *given).line()
    assert not (tmp_path / "best").exists()
