"""bundle.json as text: any JSON either parses or is refused as a bundle error, and what parses is
what was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.bundle.manifest import Manifest, parse_manifest
from runtime.errors import BundleError

SHA = "ab" * 32
WHOLE: dict[str, Any] = {
    "schema_version": 1,
    "name": "tile-patchcore",
    "model": "patchcore",
    "category": "tile",
    "input": {"height": 256, "width": 320, "color_order": "RGB", "resize": "area"},
    "outputs": {"map_height": 32, "map_width": 40, "embedding_length": 152},
    "anomaly_map": {"blur_sigma": 4.0},
    "variants": [{"engine": "openvino", "precision": "fp32", "path": "openvino/fp32/model.xml"}],
    "files": {"openvino/fp32/model.xml": {"size": 10, "sha256": SHA}},
    "recipe": {"seed": 0},
    "provenance": {"python": "3.11"},
    "metrics": {},
    "certificate": {"images": 8},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def places(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Path of every value inside a JSON value."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [
        found for key, inner in items for found in ((*prefix, key), *places(inner, (*prefix, key)))
    ]


def replaced(place: tuple[Any, ...], new: Any) -> dict[str, Any]:
    """A copy of the whole manifest with one value replaced."""
    raw: dict[str, Any] = json.loads(json.dumps(WHOLE))
    holder: Any = raw
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = new
    return raw


def parse_or_refuse(text: str) -> Manifest | None:
    try:
        return parse_manifest(text)
    except BundleError as error:
        assert str(error).startswith("bundle.json: ")
        return None


def test_what_was_written_is_read() -> None:
    manifest = parse_manifest(json.dumps(WHOLE))
    assert manifest.to_json() == {**WHOLE, "variants": tuple(WHOLE["variants"])}
    assert manifest.input.size_hw == (256, 320)
    assert parse_manifest(json.dumps(manifest.to_json())) == manifest


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_arbitrary_json_is_no_manifest(value: Any) -> None:
    with pytest.raises(BundleError):
        parse_manifest(json.dumps(value))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_arbitrary_text_is_no_manifest(text: str) -> None:
    with pytest.raises(BundleError):
        parse_manifest(text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(places(WHOLE)), JSON)
def test_a_manifest_with_one_value_replaced_parses_or_is_refused(
    place: tuple[Any, ...], value: Any
) -> None:
    manifest = parse_or_refuse(json.dumps(replaced(place, value)))
    if manifest is not None:
        assert manifest.variants
        assert min(manifest.input.size_hw) >= 1
        assert all(variant.path in manifest.files for variant in manifest.variants)


@pytest.mark.parametrize(
    "place",
    [p for p in places(WHOLE) if p[0] not in {"recipe", "provenance", "metrics", "certificate"}],
    ids=str,
)
def test_a_missing_field_is_refused(place: tuple[Any, ...]) -> None:
    raw = replaced(place, None)
    holder: Any = raw
    for key in place[:-1]:
        holder = holder[key]
    del holder[place[-1]]
    with pytest.raises(BundleError):
        parse_manifest(json.dumps(raw))


@pytest.mark.parametrize(
    "text",
    ["1e999", "1" * 5000, "[" * 100_000, "-Infinity"],
    ids=["1e999", "5000 digits", "deep", "-inf"],
)
@pytest.mark.parametrize("key", ["size", "blur_sigma", "whole"])
def test_numbers_beyond_any_range_are_refused(text: str, key: str) -> None:
    whole = json.dumps(WHOLE)
    hostile = {
        "size": whole.replace('"size": 10', f'"size": {text}'),
        "blur_sigma": whole.replace('"blur_sigma": 4.0', f'"blur_sigma": {text}'),
        "whole": text,
    }[key]
    assert hostile != whole
    with pytest.raises(BundleError):
        parse_manifest(hostile)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_blur_that_cannot_be_drawn_is_refused(value: float) -> None:
    with pytest.raises(BundleError):
        parse_manifest(json.dumps(replaced(("anomaly_map", "blur_sigma"), value)))


@pytest.mark.parametrize(("field", "value"), [("resize", "bilinear"), ("color_order", "BGR")])
def test_a_preprocessing_that_this_version_does_not_do_is_refused(field: str, value: str) -> None:
    # Read on regardless, every picture would be prepared in another way than the model was trained
    # on.
    with pytest.raises(BundleError, match=value):
        parse_manifest(json.dumps(replaced(("input", field), value)))


@pytest.mark.parametrize("engine", ["tensorrt", "", None, 3, ["openvino"]])
def test_an_unknown_engine_is_refused(engine: Any) -> None:
    with pytest.raises(BundleError, match="engine"):
        parse_manifest(json.dumps(replaced(("variants", 0, "engine"), engine)))


@pytest.mark.parametrize("value", [0, -1, 1.5, "256", True, None])
@pytest.mark.parametrize("place", [("input", "height"), ("outputs", "embedding_length")])
def test_sizes_are_positive_whole_numbers(place: tuple[str, str], value: Any) -> None:
    with pytest.raises(BundleError, match="expected a whole number"):
        parse_manifest(json.dumps(replaced(place, value)))


def test_a_variant_whose_file_is_not_listed_is_refused() -> None:
    with pytest.raises(BundleError, match=r"other\.xml"):
        parse_manifest(json.dumps(replaced(("variants", 0, "path"), "other.xml")))
    with pytest.raises(BundleError, match="no variant at all"):
        parse_manifest(json.dumps(replaced(("variants",), [])))
