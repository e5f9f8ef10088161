"""No pickle is ever loaded by runtime, calibration and edge_app: it would run what it says."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime.bundle.folder import Bundle
from runtime.bundle.reference import reference_file
from tests.cli import lineside
from tests.runtime.faults import pictures
from tests.runtime.tiny import reseal, write_bundle

ROOT = Path(runtime.__file__).parents[1]
LOADERS = {"pickle", "_pickle", "cPickle", "shelve", "dill", "cloudpickle", "joblib", "marshal"}
SOURCES = [
    path for name in ("runtime", "calibration", "edge_app") for path in (ROOT / name).rglob("*.py")
]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_none_of_their_modules_has_a_loader() -> None:
    assert len(SOURCES) > 100
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not LOADERS & set(imported(tree)), path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
                allowed = [key.value for key in node.keywords if key.arg == "allow_pickle"]
                assert [ast.unparse(one) for one in allowed] == ["False"], path


TRAPPED: list[str] = []


class Bomb:
    """What runs where it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return TRAPPED.append, ("it ran",)


def trap(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class" and "test_no_pickle" in str(arguments):
        TRAPPED.append(str(arguments))


@pytest.mark.parametrize("whole", [True, False], ids=["an array", "the file"])
def test_one_in_a_bundle_is_refused_and_never_run(tmp_path: Path, *, whole: bool) -> None:
    import pickle

    sys.addaudithook(trap)
    bundle = write_bundle(tmp_path / "bundle")
    with Bundle.open(bundle) as opened:
        target = reference_file(bundle, opened.manifest.variant("openvino", "fp32"))
    if whole:
        arrays = dict(np.load(target))
        arrays[next(iter(arrays))] = np.array([Bomb()], dtype=object)
        np.savez(target, **arrays)
    else:
        target.write_bytes(pickle.dumps(Bomb()))
    reseal(bundle)
    pictures(tmp_path / "in", 1)
    for command in (("inspect", bundle, tmp_path / "in"), ("verify", bundle), ("bench", bundle)):
        assert str(target) in lineside(*command).line()
    assert TRAPPED == []
