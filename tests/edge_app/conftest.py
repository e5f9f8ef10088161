"""Where a neighbour store may lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge_app.qdrant_stand_in import qdrant


@pytest.fixture(params=["folder", "server"])
def location(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A folder, or the URL of a server that stands in for Qdrant."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if request.param == "folder":
        yield str(tmp_path / "neighbours")
        return
    with qdrant() as url:
        yield url
