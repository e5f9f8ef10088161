"""Real models, trained by anomalib once per run and shared by every test that needs a bundle."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import settings

from tests.cli import Done, lineside

# A worker has a core of its own: the threads of torch and of both engines wait in loops, and those
# of two workers on the same cores would wait for one another.
if worker := os.environ.get("PYTEST_XDIST_WORKER", ""):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})

if TYPE_CHECKING:
    from export.bundling import Work
    from export.models.efficientad.recipe import EfficientAdRecipe

# Path of a folder, made by the function at the first call in any worker.
Shared = Callable[[str, Callable[[Path], None]], Path]

# The tests' compiled models stay out of the user's cache.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

# Machines are shared: how long one example took says nothing about the code.
settings.register_profile("lineside", deadline=None)
settings.load_profile("lineside")

# A suite started in the background ignores Ctrl-C, and so would every command that a test means to
# interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

CATEGORY = "tile"
FEW_GOOD = 10
MEMORY_DISK = Path("/dev/shm")
MEMORY_DISK_GIB = 8


def pytest_configure() -> None:
    """Put the tests' files on a disk in memory, for stores wait for a real one to sync."""
    if "TMPDIR" in os.environ or not os.access(MEMORY_DISK, os.W_OK):
        return
    if shutil.disk_usage(MEMORY_DISK).free >= MEMORY_DISK_GIB * 2**30:
        folder = MEMORY_DISK / f"lineside-tests-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without the slow tests, files that hold no others are not imported: anomalib takes long."""
    if config.option.markexpr != "not slow" or not collection_path.name.startswith("test_"):
        return None
    return "\npytestmark = pytest.mark.slow\n" in collection_path.read_text("utf-8") or None


@pytest.fixture(scope="session", autouse=True)
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OpenVINO's compiled models of this run."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["LINESIDE_CACHE_DIR"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def few_made_up_defects() -> None:
    """For what they say of the tests' small models is of no interest."""
    from calibration.int8 import parts
    from calibration.learning import made_up

    made_up.MADE_UP = 3
    parts.SYNTHETIC_DEFECTS = 120


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """A folder that one worker fills and all of them read."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if worker else root

    def made(name: str, make: Callable[[Path], None]) -> Path:
        with FileLock(root / f"{name}.lock"):
            if not (root / name).exists():
                make(root / name)
        return root / name

    return made


@pytest.fixture(scope="session")
def sample_root(shared: Shared) -> Path:
    """A small procedural data set: ROOT/tile/{train,test,ground_truth}."""
    counts = {"--train": 24, "--test-good": 6, "--per-defect": 4, "--size": 256}
    flat = [word for pair in counts.items() for word in pair]
    return shared(
        "parts",
        lambda root: _done(lineside("sample-data", root, "--category", CATEGORY, *flat)),
    )


@pytest.fixture(scope="session")
def patchcore_bundle(shared: Shared, sample_root: Path) -> Path:
    """A PatchCore bundle trained on ``sample_root``."""
    data = ("--data", sample_root, "--category", CATEGORY)
    options = ("--model", "patchcore", "--max-prototypes", 500, "--size", 128)
    return shared(
        "tile-patchcore", lambda out: _done(lineside("train", *options, *data, "--out", out))
    )


@pytest.fixture(scope="session")
def efficientad_work(sample_root: Path) -> Work:
    """An EfficientAD trained briefly: its figures say nothing, its graph is whole."""
    from export.models.efficientad.recipe import EfficientAdRecipe

    return _few_parts(sample_root, EfficientAdRecipe(steps=20))


@pytest.fixture(scope="session")
def paper_efficientad_work(sample_root: Path) -> Work:
    """The same with the paper's student, which takes its time on every part."""
    from export.models.efficientad.recipe import EfficientAdRecipe

    return _few_parts(sample_root, EfficientAdRecipe(student="pixels", steps=2, crop=64), 4, 1)


def _few_parts(
    root: Path, recipe: EfficientAdRecipe, good: int = FEW_GOOD, kinds: int | None = None
) -> Work:
    """A fitted EfficientAD, few good parts, a good test part and one of each kind."""
    from calibration.learning.photographs import read_photographs
    from export.bundling import Work
    from export.training import train
    from runtime.images.dataset import load_category

    whole = load_category(root, CATEGORY)
    one_of_each = {part.defect_type: part for part in whole.test}
    chosen = {"good", *list(one_of_each)[:kinds]}
    test = tuple(part for kind, part in one_of_each.items() if kind in chosen)
    category = replace(whole, train_good=whole.train_good[:good], test=test)
    photographs = read_photographs(category, recipe.size_hw, 0)
    return Work(recipe, category, photographs, train(recipe, photographs, 0), 0)


@pytest.fixture(scope="session")
def efficientad_bundle(shared: Shared, request: pytest.FixtureRequest) -> Path:
    """The bundle of that model; one core trains the same one for the same seed."""

    def make(out: Path) -> None:
        from export.bundling import write_bundle

        write_bundle(request.getfixturevalue("efficientad_work"), out, "tile-efficientad")

    return shared("tile-efficientad", make)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real photographs, given by LINESIDE_REAL_DATA; users' machines do not have it."""
    folder = os.environ.get("LINESIDE_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("LINESIDE_REAL_DATA names no folder of real photographs")
    return Path(folder)


def _done(done: Done) -> None:
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
