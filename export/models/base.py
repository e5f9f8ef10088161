"""What a model brings: from its settings a network, a graph and a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from export.models.settings import Recipe

if TYPE_CHECKING:
    from torch import nn

    from calibration.learning.evidence import Scored
    from calibration.learning.photographs import Photographs
    from export.inference_graph import InferenceGraph


@dataclass(frozen=True)
class Grid:
    """What ``lineside plan`` varies.

    Attributes:
        sides: input heights and widths in pixels.
        prototypes: sizes of a memory bank, for models that have one.
    """

    sides: tuple[int, ...]
    prototypes: tuple[int, ...]


class ModelFamily(Protocol):
    """A kind of model; subclass it and hand one object to :func:`export.models.register`.

    Networks are anomalib's Lightning modules, or any module that takes float32 (1, 3, H, W) RGB in
    [0, 1] and returns ``pred_score`` and ``anomaly_map``. Heavy imports belong inside the methods.

    Attributes:
        name: in recipes and bundles.
        title: for people.
        recipe: the type of its settings, with ``model: Literal[name] = name``.
        int8_attempts: shares of the convolutions that stay in fp32, in the order in which
            ``lineside calibrate --int8`` tries them; 1 quantises a bank's search alone.
        takes_roi: whether it learns and judges inside of a region of interest alone, that of the
            photographs.
        leaves_out: whether training needs no held-out parts, for it learns all of them and leaves
            each out in turn to set the threshold.
    """

    name: str
    title: str
    recipe: type[Recipe]
    int8_attempts: tuple[float, ...] = (0.0, 1 / 8, 1 / 4, 1 / 2)
    leaves_out: bool = False
    takes_roi: bool = False

    def fit(
        self, recipe: Any, photographs: Photographs, seed: int, folder: Path
    ) -> tuple[nn.Module, Scored | None]:
        """Train.

        Args:
            recipe: settings.
            photographs: good parts; none is held out where the family leaves out in turn.
            seed: of everything random; torch, NumPy and Python are seeded already.
            folder: for whatever training writes; it is removed afterwards.

        Returns:
            The network, and where none was held out what each part scores with a network that
            has not seen it, in the order of ``photographs.train``.
        """

    def graph(
        self, recipe: Any, model: nn.Module, good_scores: tuple[float, float]
    ) -> InferenceGraph:
        """The inference graph.

        Args:
            recipe: settings.
            model: fitted.
            good_scores: raw score of a typical good part and the bound that few exceed.
        """

    def blank(self, recipe: Any) -> Recipe | None:
        """The same recipe with as little learned as a graph needs, for a box that is taught.

        Returns:
            None for a family that a box cannot teach.
        """
        del recipe
        return None

    def smoothing(self, model: nn.Module) -> nn.Module:
        """The module that smooths the anomaly map: what goes in is compared with the graph's."""

    def blur_sigma(self, model: nn.Module) -> float:
        """Deviation of that smoothing in input pixels; the runtime repeats it."""

    def checkpoint(self, model: nn.Module) -> dict[str, Any]:
        """Tensors and plain values that :meth:`restore` makes the network of."""

    def restore(self, recipe: Any, seed: int, parts: Mapping[str, Any]) -> nn.Module:
        """The network of a checkpoint."""

    def provenance(self, model: nn.Module) -> dict[str, Any]:
        """What training has chosen by itself, for the bundle."""
        del model
        return {}

    def plan(self, recipe: Any, grid: Grid) -> list[Recipe]:
        """What ``lineside plan`` trains: one recipe for each input size that the model can have.

        Raises:
            TrainingError: a value out of range, or no size is left.
        """

    def derived(
        self, recipe: Any, model: nn.Module, grid: Grid
    ) -> Iterator[tuple[Recipe, int | None]]:
        """Candidates that one training gives, as recipe and rows of the bank (None: no bank).

        The network is one object that changes: use it before asking for the next.
        """
        del model, grid
        yield recipe, None

    def count_derived(self, grid: Grid) -> int:
        """How many candidates one training gives at most."""
        del grid
        return 1
