"""What words say of a threshold: the suggestion against trying everything, and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.page.choice import Station
from edge_app.review.suggesting import FEWEST, Confirmed, mistakes, suggested
from edge_app.similar import SEEN_BEFORE
from edge_app.store import PartPoint, give_word
from tests.edge_app.served import api_served, picture, station_of
from tests.edge_app.test_api import problem
from tests.edge_app.tiny_bundle import LENGTH, write_tiny_bundle

SCORES = st.integers(0, 40).map(lambda value: value / 4)
PARTS = st.lists(st.builds(Confirmed, SCORES, st.booleans()), min_size=FEWEST, max_size=30)


def cost(parts: list[Confirmed], threshold: float, missed_cost: float) -> float:
    found = mistakes(parts, threshold)
    return found.false_rejects + missed_cost * found.misses


@given(PARTS, SCORES, st.sampled_from([1.0, 10.0]))
def test_no_threshold_is_better_than_the_one_that_is_suggested(
    parts: list[Confirmed], in_force: float, missed_cost: float
) -> None:
    median = 0.0
    found = suggested(parts, in_force, median, missed_cost)
    # Between any two scores nothing changes, so that these are all there are.
    most = max(mistakes(parts, in_force).false_rejects, 0.05 * sum(not one.is_bad for one in parts))
    tried = [one.raw_score for one in parts if one.raw_score > median]
    tried = [one for one in tried if mistakes(parts, one).false_rejects <= most]
    best = min((cost(parts, one, missed_cost) for one in tried), default=float("inf"))
    now = cost(parts, in_force, missed_cost)
    if found is None:
        assert best >= now
    else:
        assert found > median
        assert cost(parts, found, missed_cost) <= best
        assert cost(parts, found, missed_cost) < now


def test_bad_parts_among_the_good_ones_do_not_speak_for_rejecting_all() -> None:
    good = [Confirmed(score, is_bad=False) for score in (2, 2.5, 3, 3.5, 4.0)]
    bad = [Confirmed(score, is_bad=True) for score in (1.5, 1.6, 6, 7, 8, 9.0)]
    found = suggested([*good, *bad], 6.5, 1.0, 10)
    assert found == pytest.approx(5.5)


def test_a_suggestion_moves_no_further_than_it_has_to() -> None:
    good = [Confirmed(score, is_bad=False) for score in (1, 2, 3, 4, 5.0)]
    bad = [Confirmed(score, is_bad=True) for score in (9.0, 10, 11, 12, 13)]
    # The good part of 5 is rejected at 4.5: a tenth of its distance to a typical one beyond it.
    assert suggested([*good, *bad], 4.5, 1.0, 10) == pytest.approx(5.4)
    # The bad one of 9 passes at 9.5: likewise below it.
    assert suggested([*good, *bad], 9.5, 1.0, 10) == pytest.approx(8.2)
    assert suggested([*good, *bad], 6.0, 1.0, 10) is None
    assert suggested([*good, *bad][: FEWEST - 1], 4.5, 1.0, 10) is None


def point_of(station: Station, score: float, number: int, **more: object) -> PartPoint:
    line = station.lines["tile-tiny"]
    embedding = np.zeros(LENGTH, np.float32)
    embedding[number % LENGTH] = 1.0
    found = PartPoint(
        point_id=f"00000000-0000-4000-8000-{number:012d}",
        bundle=line.store.bundle,
        embedding=embedding,
        category="tile",
        path=f"{number:03d}.png",
        verdict="anomalous" if score > 64 else "good",
        raw_score=score,
        normalized_score=min(score / 128, 1.0),
        time=datetime.now(UTC).isoformat(timespec="microseconds"),
    )
    return replace(found, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Station]]:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tile-tiny")
    with station_of((bundle, "openvino")) as station, api_served(station) as client:
        yield client, station


def test_words_suggest_a_threshold_which_is_accepted_and_taken_back(
    box: tuple[httpx.Client, Station],
) -> None:
    client, station = box
    store = station.lines["tile-tiny"].store
    where = "v1/bundles/tile-tiny"
    assert client.get(f"{where}/review").json()["why_none"] == "too few words: 0 of 10"
    # Six good parts of which two are rejected at 64, six bad ones far above; four nobody knows.
    for number, score in enumerate((20, 30, 40, 50, 66, 68, 100, 101, 102, 103, 104, 105)):
        is_bad = score >= 100
        part = point_of(station, score, number)
        word = "right" if is_bad == (part.verdict == "anomalous") else "wrong"
        give_word(store, part, word, "ada")
    store.merge([point_of(station, score, 50 + score) for score in (25, 67, 69, 120)])
    found = client.get(f"{where}/review", params={"missed_cost": 10}).json()
    assert (found["confirmed_good"], found["confirmed_bad"], found["newest"]) == (6, 6, 16)
    assert [(one["right"], one["false_rejects"], one["misses"]) for one in found["days"]] == [
        (10, 2, 0)
    ]
    now, suggestion = found["now"], found["suggestion"]
    assert (now["image_threshold"], now["false_rejects"], now["rejected"]) == (64.0, 2, 11)
    # A typical good part has 10: a tenth of 58 beyond 68.
    then = suggestion["then"]
    assert then["image_threshold"] == pytest.approx(73.8)
    assert (then["false_rejects"], then["misses"], then["rejected"]) == (0, 0, 7)
    assert (suggestion["released"], suggestion["stopped"], suggestion["unconfirmed"]) == (4, 0, 2)
    assert {one["raw_score"] for one in suggestion["changed"]} == {66.0, 67.0, 68.0, 69.0}

    body = {"image_threshold": then["image_threshold"], "in_force": 64.0, "note": "twelve words"}
    client.post(f"{where}/threshold", json=body).raise_for_status()
    # In force with the next part, without a restart.
    (judged,) = client.post("v1/inspect", content=picture(128 + 70)).json()["inspections"]
    assert judged["threshold"] == pytest.approx(73.8)
    assert "look again" in problem(client.post(f"{where}/threshold", json=body), 409)
    assert client.get(f"{where}/review").json()["why_none"] == "no mistake to mend"
    back = client.post(f"{where}/threshold/rollback").json()
    assert [(one["state"], one["image_threshold"]) for one in back] == [
        ("in force", 64.0),
        ("undone", pytest.approx(73.8)),
    ]
    assert "expected an earlier threshold" in problem(
        client.post(f"{where}/threshold/rollback"), 409
    )


def test_a_card_tells_the_scores_and_where_the_threshold_comes_from(
    box: tuple[httpx.Client, Station],
) -> None:
    client, station = box
    found = client.get("v1/bundles/tile-tiny").json()
    scores = found["scores"]
    newest = station.lines["tile-tiny"].store.count()
    assert sum(scores["good"]) + sum(scores["bad"]) == newest
    assert len(scores["edges"]) == len(scores["good"]) + 1
    assert found["thresholds"][0]["method"] == "manual"
    assert found["variants"] == ["openvino/fp32"]
    assert "expected one of tile-tiny" in problem(client.get("v1/bundles/none"), 404)
    # The tiny bundle has no golden pictures.
    assert problem(client.post("v1/bundles/tile-tiny/verify"), 409)


def test_a_part_called_a_miss_is_searched_for_in_what_passed_last_week(
    box: tuple[httpx.Client, Station],
) -> None:
    client, station = box
    store = station.lines["tile-tiny"].store
    missed = point_of(station, 60, 800)
    old = (datetime.now(UTC) - timedelta(days=8)).isoformat(timespec="microseconds")
    near = missed.embedding.copy()
    near[(800 + 1) % LENGTH] = 0.5
    alike = point_of(station, 58, 900, embedding=near)
    others = [
        point_of(station, 58, 901, embedding=near, time=old),
        point_of(station, 90, 902, embedding=near),
        point_of(station, 58, 903),
    ]
    store.merge([missed, alike, *others])
    give_word(store, point_of(station, 58, 904, embedding=near), "right")
    give_word(store, missed, "wrong", defect="scratch")
    found = client.get(f"v1/parts/{missed.point_id}/missed").json()
    assert [one["part"]["id"] for one in found["neighbours"]] == [alike.point_id]
    assert found["floor"] == SEEN_BEFORE


def test_neighbours_of_a_box(box: tuple[httpx.Client, Station]) -> None:
    client, _ = box
    (made,) = client.post(
        "v1/inspect", content=picture(20), params={"record": True, "name": "x.png"}
    ).json()["inspections"]
    where = f"v1/parts/{made['part_id']}/neighbours"
    # No file is left of it, and no picture but its thumbnail.
    assert client.get(where, params={"box": "0,0,0.5,0.5"}).is_success
    for wrong in ("0,0,0.5", "0,0,2,1", "a,b,c,d", "0,0,-1,1"):
        assert client.get(where, params={"box": wrong}).status_code == 422
