"""An engine that computes nonsense never says "good": on the Inspector, in every command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lineside import FakeEngine
from runtime.engines import canary as canary_module
from runtime.errors import EngineError
from runtime.inspector import Inspector
from tests.cli import lineside
from tests.runtime.faults import (
    After,
    Stuck,
    all_zero,
    constant_score,
    opens,
    pictures,
    reshaped,
    scaled,
    without,
)
from tests.runtime.tiny import computed, random_image, write_bundle

GOOD, BAD = random_image(1, 20), random_image(2, 110)
BROKEN = {
    "all zero": (all_zero, "far below any good part"),
    "score zero": (constant_score(0.0), "far below any good part"),
    "score minus 1e30": (constant_score(-1e30), "far below any good part"),
    "score below its map": (constant_score(4.0), "does not go with its own heat map"),
    "embedding halved": (scaled(embedding=0.5), "descriptor of length 1"),
    "embedding zero": (scaled(embedding=0.0), "gave no descriptor"),
    "no score": (without("pred_score"), "pred_score: expected this output"),
    "no map": (without("anomaly_map"), "anomaly_map: expected this output"),
    "no descriptor": (without("embedding"), "embedding: expected this output"),
    "two scores": (reshaped("pred_score", 2), r"pred_score: expected the shape (1,), found (2,)"),
    "map cut": (reshaped("anomaly_map", 1, 1, 2, 4), "anomaly_map: expected the shape"),
    "short descriptor": (reshaped("embedding", 1, 5), "embedding: expected the shape"),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.mark.parametrize("kind", BROKEN)
def test_nonsense_is_no_verdict(bundle: Path, kind: str) -> None:
    handler, reason = BROKEN[kind]
    with Inspector(bundle, engine=FakeEngine(handler)) as inspector:
        for image in (BAD, GOOD):
            found = inspector.inspect(image)
            assert (found.verdict, found.is_fault) == ("cannot_judge", True)
            if image is BAD:
                assert reason in found.reason
            said = found.to_json()
            assert (said["verdict"], said["fault"]) == ("cannot_judge", True)
            json.dumps(said, allow_nan=False)


@pytest.mark.parametrize("first", [GOOD, BAD], ids=["good", "bad"])
def test_the_same_output_for_another_picture_is_no_verdict(bundle: Path, first: object) -> None:
    with Inspector(bundle, engine=FakeEngine(Stuck())) as inspector:
        inspector.inspect(first)
        for seed in range(3, 6):
            found = inspector.inspect(random_image(seed, 90))
            assert found.verdict == "cannot_judge"
            assert "exactly the same about the part before" in found.reason


def test_the_same_picture_twice_is_the_same_verdict_twice(bundle: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4, BAD.shape).astype(np.uint8)
    with Inspector(bundle, engine=FakeEngine(Stuck())) as inspector:
        # The noise of a camera may be below what a quantized model sees.
        found = [inspector.inspect(one).verdict for one in (BAD, BAD, BAD // 2 * 2, BAD | noise)]
    assert found == ["anomalous"] * 4


def test_parts_as_they_are_stay_judged(bundle: Path) -> None:
    for engine in ("openvino", "onnxruntime"):
        with Inspector(bundle, engine=engine, canary=True) as inspector:
            for seed in range(60):
                found = inspector.inspect(random_image(seed, 10 + 2 * seed))
                assert (found.verdict != "cannot_judge", found.reason) == (True, "")


def test_a_suspicious_engine_must_pass_the_canary_before_the_next_part(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = opens(monkeypatch, After(2, constant_score(0.0)), computed)
    with Inspector(bundle) as inspector:
        found = [inspector.inspect(random_image(seed, 110)) for seed in range(6)]
    assert [one.verdict for one in found] == ["anomalous"] * 2 + ["cannot_judge"] * 2 + [
        "anomalous"
    ] * 2
    assert "far below any good part" in found[2].reason
    assert "judges golden picture 0 otherwise than it should" in found[3].reason
    assert opened.count == 2, "opened again once"


def test_an_engine_that_is_wrong_in_a_plausible_way_is_caught_by_the_canary(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halved scores are believable one by one, and let bad parts pass."""
    opens(monkeypatch, scaled(pred_score=0.5, anomaly_map=0.5))
    with Inspector(bundle) as inspector:
        assert inspector.inspect(BAD).verdict == "good", "what the canary is for"
    with Inspector(bundle, canary=True) as inspector:
        for image in (BAD, GOOD):
            found = inspector.inspect(image)
            assert found.verdict == "cannot_judge"
            assert "golden picture 0 otherwise" in found.reason


@pytest.mark.parametrize(("limit", "value"), [("EVERY_PARTS", 5), ("EVERY_S", 0.0)])
def test_the_canary_sings_now_and_then(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(canary_module, limit, value)
    opens(monkeypatch, After(8, scaled(pred_score=0.5, anomaly_map=0.5)))
    with Inspector(bundle, canary=True) as inspector:
        found = [inspector.inspect(random_image(seed, 110)).verdict for seed in range(20)]
    first = found.index("cannot_judge")
    assert set(found[:first]) <= {"anomalous", "good"}
    assert set(found[first:]) == {"cannot_judge"}
    assert first <= 12


def test_every_command_says_so(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "in", 4)
    opens(monkeypatch, constant_score(0.0))
    for command in (
        ("inspect", bundle, tmp_path / "in"),
        ("watch", bundle, tmp_path / "in", "--once"),
    ):
        done = lineside(*command, "--json")
        assert done.returncode == 1
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(row["verdict"], row["fault"]) for row in rows] == [("cannot_judge", True)] * 4
        assert all("the engine" in row["reason"] for row in rows)
        assert "4 not judged because the engine" in done.stderr
        plain = lineside(*command)
        assert plain.stdout.count("cannot_judge") == 4
        assert "good" not in plain.stdout.replace("any good part", "")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_model_that_is_not_the_manifests_is_not_opened(tmp_path: Path, engine: str) -> None:
    path = write_bundle(tmp_path / "bundle") / "bundle.json"
    for field, name in (("map_height", "anomaly_map"), ("embedding_length", "embedding")):
        raw = json.loads(path.read_text())
        raw["outputs"][field] *= 2
        path.write_text(json.dumps(raw))
        with pytest.raises(EngineError, match=rf"expected {name} of shape .* as bundle\.json says"):
            Inspector(path.parent, engine=engine)
        raw["outputs"][field] //= 2
        path.write_text(json.dumps(raw))
