"""Charts: well-formed, everything in its place, no text taken for markup."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from export.plan.chart import HEIGHT, WIDTH, Panel, Series, draw, ticks
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = st.floats(-1e9, 1e9, allow_subnormal=False)
SVG = "{http://www.w3.org/2000/svg}"


def circles(svg: str) -> list[tuple[float, float]]:
    found = ElementTree.fromstring(svg).iter(f"{SVG}circle")
    return [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in found]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20))
def test_every_point_is_drawn_inside_the_chart(points: list[tuple[float, float]]) -> None:
    xs, ys = zip(*points, strict=True)
    found = circles(
        draw([Panel("p", "x", "y", [Series("", xs, ys, kind="dots")], from_zero=False)])
    )
    assert len(found) == len(points)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)
    for (x1, y1), (a1, b1) in zip(found, points, strict=True):
        for (x2, y2), (a2, b2) in zip(found, points, strict=True):
            assert a1 >= a2 or x1 <= x2
            assert b1 >= b2 or y1 >= y2, "up is more"


@given(st.text(max_size=20))
def test_text_is_never_markup(text: str) -> None:
    printable = "".join(c for c in text if c.isprintable())
    drawn = draw(
        [Panel(printable + "<script>", "a & b", "c", [Series('"', [0.0], [1.0], names=["<b>"])])]
    )
    root = ElementTree.fromstring(drawn)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg",
        "g",
        "rect",
        "text",
        "line",
        "polyline",
        "circle",
    }
    assert printable + "<script>" in [element.text for element in root.iter(f"{SVG}text")]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 1 <= len(found) <= 13
    tolerance = 1e-6 * (abs(low) + span)
    assert all(low - tolerance <= tick <= low + span + tolerance for tick in found)


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one panel"):
        draw([])
    with pytest.raises(ValueError, match="finite points"):
        draw([Panel("p", "x", "y", [Series("", [float("nan")], [float("nan")])])])
