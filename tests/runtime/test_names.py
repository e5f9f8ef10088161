"""Our top-level packages have plain names: nobody else in this environment may own one of them."""

from __future__ import annotations

import functools
import importlib.util
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

NAMES = ("lineside", "export", "runtime", "calibration", "edge_app")
ROOT = Path(__file__).resolve().parents[2]


OWNERS = functools.cache(packages_distributions)


def owners(name: str) -> set[str]:
    return set(OWNERS().get(name, []))


@pytest.mark.parametrize("name", NAMES)
def test_no_other_distribution_owns_our_names(name: str) -> None:
    assert owners(name) == {"lineside"}


@pytest.mark.parametrize("name", NAMES)
def test_the_name_leads_to_our_code(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(ROOT / name / "__init__.py")
    assert (ROOT / name / "py.typed").is_file()


def test_one_opencv_is_installed() -> None:
    # Two OpenCV distributions in one environment overwrite each other's files.
    assert owners("cv2") == {"opencv-python-headless"}
