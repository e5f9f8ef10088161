"""Nothing that is used here reports to anybody over the network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Each starts an interpreter that imports OpenVINO and NNCF.
pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]


def reports(code: str, home: Path) -> bool:
    """Whether OpenVINO's reporter woke up: it keeps an identity in the user's home."""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment.update(HOME=str(home), PYTHONPATH=str(REPOSITORY))
    # A closed port, so that a report that is sent all the same goes nowhere.
    environment.update(https_proxy="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9")
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    return (home / "intel").exists()


@pytest.mark.parametrize(
    "module",
    [
        "runtime.engines.openvino",
        "calibration.int8.networks",
        pytest.param("export.inference_graph", marks=pytest.mark.nightly),
    ],
)
def test_openvino_is_silent_after_any_of_our_modules_that_use_it(module, tmp_path):
    assert not reports(f"import {module}, openvino, nncf", tmp_path)


def test_openvino_alone_would_not_be(tmp_path):
    assert reports("import openvino", tmp_path)
