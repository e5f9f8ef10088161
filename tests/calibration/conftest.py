"""A toy bundle, and one that was taught from it: shared by every test of teaching."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.calibration.teachable import write_toy_bundle

    return write_toy_bundle(tmp_path_factory.mktemp("toy") / "toy")


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.calibration.teachable import COUNT, pictures, write_pictures

    return write_pictures(tmp_path_factory.mktemp("stripes") / "good", pictures(COUNT))


@pytest.fixture(scope="session")
def taught(base: Path, good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from calibration.teaching.teach import teach

    out = tmp_path_factory.mktemp("taught") / "stripes"
    teach(base, good, out, "stripes")
    return out
