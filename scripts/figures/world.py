"""What the figures are drawn from: procedural tile parts, and a PatchCore trained on them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.models.patchcore.recipe import PatchCoreRecipe
from export.sample_data import render_part, write_dataset
from export.training import train_bundle
from runtime.closing import Closeable
from runtime.images.dataset import Category, Part, load_category
from runtime.inspector import Inspector
from runtime.prediction import Prediction

CATEGORY = "tile"
# Pictures beyond the data set are drawn from seeds that it does not use.
FIRST_EXTRA_SEED = 10_000


@dataclass(frozen=True)
class Judged:
    """A test part and what the model says of it."""

    part: Part
    prediction: Prediction


class World(Closeable):
    """Parts and model, made when a figure first asks for them.

    Args:
        bundles: folder with a bundle ``tile-patchcore`` or ``tile-pc``; None trains one.
    """

    def __init__(self, bundles: Path | None) -> None:
        self._bundles = bundles
        self._folder = tempfile.TemporaryDirectory(prefix="lineside-figures-")

    def close(self) -> None:
        """Release the model, and what was made."""
        if "inspector" in self.__dict__:
            self.inspector.close()
        self._folder.cleanup()

    @cached_property
    def category(self) -> Category:
        """The data set that ``lineside sample-data parts --category tile`` draws."""
        root = Path(self._folder.name) / "parts"
        write_dataset(root, CATEGORY)
        return load_category(root, CATEGORY)

    @cached_property
    def inspector(self) -> Inspector:
        """PatchCore through the runtime, as the edge box runs it."""
        for name in (f"{CATEGORY}-patchcore", f"{CATEGORY}-pc") if self._bundles else ():
            if (self._bundles / name / "bundle.json").is_file():  # type: ignore[operator]
                return Inspector(self._bundles / name)  # type: ignore[operator]
        out = Path(self._folder.name) / f"{CATEGORY}-patchcore"
        train_bundle(PatchCoreRecipe(), self.category.train_good[0].parents[2], out, name=out.name)
        return Inspector(out)

    @cached_property
    def judged(self) -> list[Judged]:
        """All test parts, inspected."""
        return [Judged(part, self.inspector.inspect(part.path)) for part in self.category.test]

    @staticmethod
    def extra(number: int, defect: str | None = None, size: int = 512) -> npt.NDArray[np.uint8]:
        """A part that is not in the data set, uint8 (size, size, 3) RGB."""
        return render_part(
            CATEGORY, defect, np.random.default_rng(FIRST_EXTRA_SEED + number), size
        )[0]
