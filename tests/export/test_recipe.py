"""Recipes: from TOML and flags, printed back as they are, refused where they make no sense."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.commands.train import recipe_from
from export.models import families
from export.models.efficientad.recipe import EfficientAdRecipe
from export.models.patchcore.recipe import PatchCoreRecipe
from export.recipes import make_recipe, read_recipe_file
from runtime.errors import TrainingError


def from_file(file: Path) -> object:
    return make_recipe(read_recipe_file(file))


def test_flags_alone_give_the_defaults():
    assert recipe_from("patchcore", None, {}) == PatchCoreRecipe()
    assert recipe_from("efficientad", None, {}) == EfficientAdRecipe()


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path):
    file = tmp_path / "recipe.toml"
    file.write_text(
        'model = "patchcore"\ncoreset_ratio = 0.05\nmax_prototypes = 500\nsize_hw = [320, 256]\n'
    )
    recipe = recipe_from(None, file, {"max_prototypes": 700})
    assert recipe == PatchCoreRecipe(coreset_ratio=0.05, max_prototypes=700, size_hw=(320, 256))


def test_paths_are_relative_to_the_file(tmp_path: Path):
    file = tmp_path / "recipe.toml"
    file.write_text('model = "efficientad"\nteacher = "pdn"\nteacher_weights = "pdn.pth"\n')
    assert from_file(file).teacher_weights == tmp_path / "pdn.pth"
    typed = recipe_from(None, file, {"teacher_weights": Path("mine.pth")})
    assert typed.teacher_weights == Path("mine.pth")


@pytest.mark.parametrize("recipe", [PatchCoreRecipe(num_neighbors=1), EfficientAdRecipe(steps=7)])
def test_what_is_printed_into_the_bundle_makes_the_same_recipe(recipe, tmp_path: Path):
    printed = recipe.to_json()
    file = tmp_path / "recipe.toml"
    lines = [
        f"{name} = {str(value).replace('(', '[').replace(')', ']').replace('False', 'false')}"
        if not isinstance(value, str)
        else f'{name} = "{value}"'
        for name, value in printed.items()
        if value is not None
    ]
    file.write_text("\n".join(lines))
    again = from_file(file)
    assert again.to_json() == printed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected model"),
        ('model = "yolo"', "expected model"),
        ('model = "patchcore"\nsteps = 3', "found 'steps'"),
        (
            'model = "patchcore"\ncoreset_ratio = "much"',
            "coreset_ratio: expected a number, found text",
        ),
        ('model = "patchcore"\nsize_hw = [1, 2, 3]', "size_hw"),
        ('model = "patchcore"\nlayers = [1]', r"layers: \[0\]: expected text"),
        ('model = "patchcore"\nlayers = "blocks.2"', "layers: expected a list"),
        ('model = "patchcore"\nsize_hw = "256"', "size_hw: expected a list"),
        ('model = "patchcore"\nnum_neighbors = "five"', "num_neighbors: expected a whole number"),
        (
            'model = "patchcore"\ncoreset_ratio = 1' + "0" * 400,
            "coreset_ratio: Number out of range",
        ),
        (
            'model = "efficientad"\nmodel_size = "large"',
            "model_size: .*'large'; choose 'small' or 'medium'",
        ),
        ('model = "efficientad"\nteacher = "foo"', "teacher: .*choose 'backbone' or 'pdn'"),
        (
            'model = "efficientad"\nteacher_weights = 3',
            "teacher_weights: expected text, found a whole number",
        ),
        ("model = [", "expected a recipe in TOML"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, expected: str):
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    with pytest.raises(TrainingError, match=expected) as caught:
        from_file(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_a_missing_model_and_a_foreign_flag(tmp_path: Path):
    with pytest.raises(TrainingError, match="expected a recipe in TOML"):
        recipe_from(None, tmp_path / "none.toml", {})
    with pytest.raises(TrainingError, match="found neither"):
        recipe_from(None, None, {})
    with pytest.raises(TrainingError, match="--steps: expected settings of patchcore"):
        recipe_from("patchcore", None, {"steps": 3})
    with pytest.raises(TrainingError, match="--tile: expected settings of efficientad"):
        recipe_from("efficientad", None, {"tile": 64})


def test_a_layer_twice_and_a_folder_that_is_not_there_are_named(tmp_path: Path):
    with pytest.raises(TrainingError, match="--layers: expected different layers, found a,a"):
        PatchCoreRecipe(layers=("a", "a"))
    with pytest.raises(
        TrainingError, match=r"--imagenet-dir: expected a folder .* found no folder at .*nowhere"
    ):
        EfficientAdRecipe(imagenet_dir=tmp_path / "nowhere")


def test_fewer_prototypes_than_neighbors_are_refused():
    assert PatchCoreRecipe(max_prototypes=10).num_neighbors == 9
    with pytest.raises(
        TrainingError, match="--max-prototypes: expected more than --num-neighbors, 9, found 9"
    ):
        PatchCoreRecipe(max_prototypes=9)


def test_a_student_of_features_has_its_own_layers_and_steps():
    recipe = EfficientAdRecipe()
    assert recipe.student == "features"
    assert recipe.resolved_layers() == PatchCoreRecipe().resolved_layers()
    paper = EfficientAdRecipe(student="pixels")
    assert recipe.to_json()["steps"] > paper.to_json()["steps"] > 0
    assert EfficientAdRecipe(steps=7).resolved_steps() == 7
    with pytest.raises(TrainingError, match="--student: expected auto or features or pixels"):
        EfficientAdRecipe(student="neither")


@pytest.mark.parametrize(
    ("papers", "said"),
    [
        ({"teacher": "pdn"}, "--teacher pdn"),
        ({"model_size": "medium"}, "--model-size medium"),
        ({"imagenet_dir": Path(__file__).parent}, "--imagenet-dir"),
    ],
)
def test_what_the_papers_student_alone_has_brings_it(papers: dict[str, Any], said: str):
    assert EfficientAdRecipe(**papers).student == "pixels"
    assert EfficientAdRecipe(student="pixels", **papers).student == "pixels"
    with pytest.raises(TrainingError, match=rf"found {said}; take --student pixels"):
        EfficientAdRecipe(student="features", **papers)


@pytest.mark.parametrize("rate", ["0.0", "-1.0", "inf", "nan", "1e6"])
def test_a_learning_rate_that_trains_nothing(tmp_path: Path, rate: str):
    file = tmp_path / "recipe.toml"
    file.write_text(f'model = "efficientad"\nlearning_rate = {rate}')
    with pytest.raises(TrainingError, match=r"learning_rate: expected a number in \(0, 0.1\]"):
        from_file(file)


@given(st.text(max_size=200))
def test_any_text_is_a_recipe_or_an_error(tmp_path_factory: pytest.TempPathFactory, text: str):
    file = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    file.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(TrainingError):
        from_file(file)


def test_every_field_has_a_line_in_the_docs():
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    for family in families():
        for field in fields(family.recipe):
            assert f"`{field.name}`" in text
