"""The API on a trained bundle, and what it costs: the benchmark itself, shortened."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.http import latency, load, served
from edge_app.page.choice import open_station
from runtime.images.dataset import list_images
from runtime.inspector import Inspector
from tests.edge_app.served import api_served
from tests.edge_app.tiny_bundle import write_tiny_bundle

pytestmark = pytest.mark.slow


def test_every_part_has_the_librarys_verdict_over_http(
    patchcore_bundle: Path, sample_root: Path
) -> None:
    pictures = list_images(sample_root / "tile" / "test")
    with (
        Inspector(patchcore_bundle) as inspector,
        open_station([patchcore_bundle], "memory:") as station,
        api_served(station) as client,
    ):
        expected = [inspector.inspect(path) for path in pictures]
        files = [("file", (path.name, path.read_bytes())) for path in pictures]
        answer = client.post("v1/inspect", files=files, params={"record": True})
        found = answer.json()["inspections"]
        assert [one["verdict"] for one in found] == [one.verdict for one in expected]
        assert [one["raw_score"] for one in found] == [one.pred_score for one in expected]
        assert {one["verdict"] for one in found} >= {"good", "anomalous"}
        flagged = next(one for one in found if one["verdict"] == "anomalous")
        like = client.get(f"v1/parts/{flagged['part_id']}/neighbours").json()["neighbours"]
        assert len(like) == 5
        assert like[0]["part"]["verdict"] == "anomalous"


def test_clients_at_once_get_their_own_answers(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tile-tiny")
    with served(bundle) as (url, process):
        # It compares the scores itself; how long they took is no matter of a test.
        latency(bundle, url, 10)
        found = load(url, process.pid, clients=4, seconds=3.0)
    assert found["verdicts"] > 0
    assert (found["errors"], found["mixed_up"]) == (0, 0)
