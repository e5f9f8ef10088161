"""anomalib's data module and Engine over the one preprocessing that the edge has too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from anomalib.data import AnomalibDataModule, AnomalibDataset, ImageItem
from anomalib.data.utils import Split
from anomalib.engine import Engine
from anomalib.models.components import AnomalibModule
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from calibration.learning.photographs import Photographs
from runtime.images.preprocess import load_image
from runtime.types import UInt8Image


def to_batch(image_rgb: UInt8Image) -> torch.Tensor:
    """A picture, uint8 (H, W, 3), as anomalib's models take it: float32 (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image_rgb).permute(2, 0, 1)[None].contiguous().float() / 255.0


class GoodParts(AnomalibDataset):  # type: ignore[misc]
    """Good parts as float32 (3, H, W) RGB in [0, 1]: the uint8 tensor of the edge over 255.

    Args:
        paths: pictures.
        size_hw: model input size.
        split: which split the parts belong to.
    """

    def __init__(self, paths: Sequence[Path], size_hw: tuple[int, int], split: Split) -> None:
        super().__init__()
        self._size_hw = size_hw
        self._category = "parts"
        columns = {"split": str(split.value), "label_index": 0, "mask_path": ""}
        samples = pd.DataFrame({"image_path": [str(path) for path in paths], **columns})
        samples.attrs["task"] = "classification"
        self.samples = samples

    def __getitem__(self, index: int) -> ImageItem:
        """One part."""
        path = str(self.samples.iloc[index].image_path)
        image = to_batch(load_image(Path(path), self._size_hw))[0]
        return ImageItem(image=image, gt_label=torch.tensor(0), image_path=path)


class GoodPartsModule(AnomalibDataModule):  # type: ignore[misc]
    """Training and held-out good parts; no test part ever enters it.

    Args:
        photographs: good parts; those held out are for map quantiles only.
        size_hw: model input size.
        batch_size: of training.
        seed: order of the training parts.
    """

    def __init__(
        self, photographs: Photographs, size_hw: tuple[int, int], batch_size: int, seed: int
    ) -> None:
        super().__init__(train_batch_size=batch_size, eval_batch_size=1, num_workers=0, seed=seed)
        self.train_data = GoodParts(photographs.train, size_hw, Split.TRAIN)
        self.val_data = GoodParts(photographs.held_out, size_hw, Split.VAL)
        self.test_data = self.val_data

    def setup(self, stage: str | None = None) -> None:
        """The splits are given, so there is nothing to split."""

    def _setup(self, _stage: str | None = None) -> None:
        """The splits are given, so there is nothing to set up."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Training parts in a seeded random order."""
        order = torch.Generator().manual_seed(int(self.seed or 0))
        return self._loader(self.train_data, self.train_batch_size, generator=order, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Held-out good parts."""
        return self._loader(self.val_data, 1)

    @staticmethod
    def _loader(data: GoodParts, batch_size: int, **options: Any) -> DataLoader[Any]:
        return DataLoader(
            data, batch_size=batch_size, collate_fn=data.collate_fn, num_workers=0, **options
        )


def fit_with_engine(
    model: AnomalibModule,
    data: GoodPartsModule,
    folder: Path,
    advance: Callable[[float], None],
    **options: Any,
) -> None:
    """Train with anomalib's Engine, without validation.

    Args:
        model: not yet fitted.
        data: good parts.
        folder: for the Engine's files.
        advance: told the number of the step after each.
        options: of Lightning's Trainer.

    Raises:
        KeyboardInterrupt: interrupted.
    """
    engine = Engine(
        callbacks=[_Progress(advance)],
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
    def __init__(self, advance: Callable[[float], None]) -> None:
        self._advance = advance

    def on_train_batch_end(self, trainer: Any, *_args: Any, **_kwargs: Any) -> None:
        """Lightning's hook."""
        batch = trainer.fit_loop.batch_idx + 1
        self._advance(trainer.global_step if trainer.max_steps > 0 else batch)
