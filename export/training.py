"""Fitting a recipe with anomalib's Engine: seeded, with progress and the time left, nothing left behind."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import numpy.typing as npt
import torch
from anomalib.engine import Engine
from anomalib.models.components import AnomalibModule
from lightning.pytorch.callbacks import Callback

from export.certificate import Scored, load_images, score_reference
from export.data.datamodule import GoodPartsModule
from export.data.photographs import Photographs
from export.efficientad import LinesideEfficientAd
from export.feature_student import make_efficientad
from export.map_tuning import choose_reading
from export.patchcore import LinesidePatchcore
from export.recipe import EfficientAdRecipe, PatchCoreRecipe, Recipe
from export.reference import ReferenceModel
from export.residuals import whiten_residuals
from export.sample_data.distractors import write_scenes
from runtime.images.preprocess import load_image
from runtime.progress import task, track

PROCEDURAL_SCENES = 200
# Thousands of patches each: more parts change the covariance of the errors little.
WHITENING_PARTS = 40


@dataclass(frozen=True)
class Trained:
    """A fitted model.

    Attributes:
        model: anomalib's, in eval mode on the CPU.
        seconds: that training took.
        unseen: what the held-out parts scored before they were learned too; None if they were not.
    """

    model: AnomalibModule
    seconds: float
    unseen: Scored | None = None


def train(recipe: Recipe, photographs: Photographs, seed: int) -> Trained:
    """Fit a model.

    Args:
        recipe: settings.
        photographs: good parts, split.
        seed: of everything random.

    Raises:
        TrainingError: unusable weights or features.
        KeyboardInterrupt: interrupted; nothing is left behind.
    """
    start = time.perf_counter()
    lightning.seed_everything(seed, verbose=False)
    with tempfile.TemporaryDirectory(prefix="lineside-train-") as folder, _quiet():
        unseen = None
        if isinstance(recipe, PatchCoreRecipe):
            model, unseen = _fit_patchcore(recipe, photographs, seed, Path(folder))
        else:
            model = _fit_efficientad(recipe, photographs, seed, Path(folder))
    return Trained(model.cpu().eval(), time.perf_counter() - start, unseen)


def _fit_patchcore(
    recipe: PatchCoreRecipe, photographs: Photographs, seed: int, folder: Path
) -> tuple[AnomalibModule, Scored | None]:
    data = GoodPartsModule(
        photographs.train, photographs.held_out, recipe.size_hw, batch_size=4, seed=seed
    )
    model = LinesidePatchcore(recipe, seed)
    if recipe.learn_held_out:
        model.pictures_to_come = len(photographs.held_out)
    steps = len(data.train_dataloader())
    with task("patchcore: features", steps) as advance, task("patchcore: coreset") as coreset:
        model.on_coreset_progress = coreset
        _run(model, data, folder, _Progress(advance), max_epochs=1)
    if not recipe.learn_held_out:
        return model, None
    model.cpu()
    held_out = load_images(photographs.held_out, recipe.size_hw)
    unseen = score_reference(ReferenceModel(model), held_out, "threshold")
    with task("patchcore: coreset", None) as coreset:
        model.on_coreset_progress = coreset
        model.learn(map(_as_tensor, held_out))
    return model, unseen


def _fit_efficientad(
    recipe: EfficientAdRecipe, photographs: Photographs, seed: int, folder: Path
) -> AnomalibModule:
    data = GoodPartsModule(
        photographs.train, photographs.held_out, recipe.size_hw, batch_size=1, seed=seed
    )
    scenes, steps = recipe.imagenet_dir, recipe.resolved_steps()
    if scenes is None and recipe.teacher == "backbone":
        scenes = folder / "scenes"
        write_scenes(scenes, PROCEDURAL_SCENES, seed, recipe.size_hw[0])
    model = make_efficientad(recipe, scenes)
    # A fifth faster on CPUs: their convolutions want the channels last.
    model.model.to(memory_format=torch.channels_last)
    with task("efficientad", steps) as advance:
        precision = "bf16-mixed" if _bf16_is_fast() else "32-true"
        _run(model, data, folder, _Progress(advance), max_steps=steps, precision=precision)
    finish_efficientad(model, data, photographs, recipe, scenes)
    return model


def finish_efficientad(
    model: LinesideEfficientAd,
    data: GoodPartsModule,
    photographs: Photographs,
    recipe: EfficientAdRecipe,
    scenes: Path | None,
) -> None:
    """After training: errors evened out, map quantiles of the held-out good parts, then how the map is read."""
    model.cpu().eval()
    model.model.to(memory_format=torch.contiguous_format)
    if recipe.student == "pixels":
        learned = track(photographs.train[:WHITENING_PARTS], "efficientad: errors on good parts")
        pictures = (_as_tensor(load_image(path, recipe.size_hw)) for path in learned)
        whiten_residuals(model.model, pictures, recipe.whitening)
    model.model.quantiles.update(model.map_norm_quantiles(data.val_dataloader()))
    if scenes is not None:
        reading = choose_reading(
            model.model, photographs.held_out, recipe.size_hw, scenes, model.student_shares
        )
        model.model.read_as(reading)


def _as_tensor(image_rgb: npt.NDArray[np.uint8]) -> torch.Tensor:
    """A picture (H, W, 3) as anomalib's model takes it, float32 (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image_rgb).permute(2, 0, 1)[None].float() / 255.0


def _run(
    model: AnomalibModule, data: GoodPartsModule, folder: Path, progress: Callback, **options: Any
) -> None:
    engine = Engine(
        callbacks=[progress],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=True,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        **options,
    )
    try:
        engine.fit(model=model, datamodule=data)
    except SystemExit as stop:
        # Lightning turns Ctrl-C into an exit; callers clean up and report an interruption.
        raise KeyboardInterrupt from stop


class _Progress(Callback):  # type: ignore[misc]
    """Advances a bar after every training batch."""

    def __init__(self, advance: Any) -> None:
        self._advance = advance

    def on_train_batch_end(self, trainer: Any, *_args: Any, **_kwargs: Any) -> None:
        """Lightning's hook."""
        self._advance(
            trainer.global_step if trainer.max_steps > 0 else trainer.fit_loop.batch_idx + 1, None
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep libraries' own progress and advice off the terminal."""
    import tqdm

    logging.disable(logging.WARNING)
    original = tqdm.tqdm.__init__

    def silent(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "disable": True})

    tqdm.tqdm.__init__ = silent
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tqdm.tqdm.__init__ = original
        logging.disable(logging.NOTSET)


def _bf16_is_fast() -> bool:
    """Whether bf16 autocast pays: tensor cores, AMX or AVX-512 with bf16; elsewhere it is emulated."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
