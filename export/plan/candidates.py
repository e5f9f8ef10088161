"""Models to choose from: one training for each input size, every smaller bank a prefix of the largest.

The greedy coreset is nested: its first k patches are the greedy coreset of size k, so a bank of k
prototypes is the first k rows of a larger one, exactly what a training with ``max_prototypes = k``
would have kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from export.bundling import Work
from export.data.photographs import read_photographs
from export.recipe import MIN_EFFICIENTAD_SIDE, EfficientAdRecipe, PatchCoreRecipe, Recipe
from export.training import train
from runtime.errors import TrainingError
from runtime.images.dataset import Category

log = logging.getLogger("lineside")


@dataclass(frozen=True)
class Grid:
    """What is varied.

    Attributes:
        sides: input heights and widths in pixels.
        prototypes: sizes of PatchCore's bank.
    """

    sides: tuple[int, ...]
    prototypes: tuple[int, ...]


def check_grid(recipe: Recipe, grid: Grid) -> list[Recipe]:
    """One recipe for each input size that the model can have, the largest bank in each, before anything is trained.

    Raises:
        TrainingError: a value out of range, or no size is left.
    """
    if isinstance(recipe, PatchCoreRecipe):
        if recipe.learn_held_out:
            raise TrainingError(
                "plan: expected held-out parts to compare candidates on, found learn_held_out = "
                "true, which learns them; "
                "leave it out, and train the chosen settings with: lineside train --learn-held-out"
            )
        least = recipe.num_neighbors + 1
        if min(grid.prototypes) < least:
            raise TrainingError(
                f"--prototypes: expected at least {least} (one more than the neighbours of the "
                "re-weighting), "
                f"found {min(grid.prototypes)}"
            )
        most = max(grid.prototypes)
        return [
            replace(recipe, size_hw=(side, side), coreset_ratio=1.0, max_prototypes=most)
            for side in grid.sides
        ]
    possible = [side for side in grid.sides if side >= MIN_EFFICIENTAD_SIDE and side % 64 == 0]
    if not possible:
        raise TrainingError(
            f"--sizes: efficientad expects multiples of 64, at least {MIN_EFFICIENTAD_SIDE}, "
            "found "
            f"{', '.join(map(str, grid.sides))}; add 256"
        )
    return [replace(recipe, size_hw=(side, side)) for side in possible]


def count_candidates(recipes: Sequence[Recipe], grid: Grid) -> int:
    """How many bundles the recipes make at most."""
    banks = len(set(grid.prototypes))
    return sum(banks if isinstance(recipe, PatchCoreRecipe) else 1 for recipe in recipes)


def candidates(recipe: Recipe, category: Category, grid: Grid, seed: int) -> Iterator[Work]:
    """Train once, then yield the model with each bank, the largest first.

    The model is one object whose bank shrinks: use what is yielded before asking for the next.

    Args:
        recipe: from :func:`check_grid`.
        category: the data set.
        grid: the sizes of the bank.
        seed: of everything random.
    """
    photographs = read_photographs(category, recipe.size_hw, seed)
    log.info(
        f"{recipe.model} at {recipe.size_hw[0]} px: training on {len(photographs.train)} good parts"
    )
    trained = train(recipe, photographs, seed)
    if isinstance(recipe, EfficientAdRecipe):
        yield Work(recipe, category, photographs, trained, seed)
        return
    inner = trained.model.model
    bank = inner.memory_bank
    for count in sorted({min(count, len(bank)) for count in grid.prototypes}, reverse=True):
        inner.memory_bank = bank[:count].contiguous()
        yield Work(replace(recipe, max_prototypes=count), category, photographs, trained, seed)
