"""anomalib's data module over :func:`runtime.images.preprocess.load_image`, so that training sees what the edge will see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from anomalib.data import AnomalibDataModule, AnomalibDataset, ImageItem
from anomalib.data.utils import Split
from torch.utils.data import DataLoader

from runtime.images.preprocess import load_image


class GoodParts(AnomalibDataset):  # type: ignore[misc]
    """Good parts as float32 (3, H, W) RGB in [0, 1], each exactly the uint8 tensor of the edge divided by 255.

    Args:
        paths: pictures.
        size_hw: model input size.
        split: which split the parts belong to.
    """

    def __init__(self, paths: Sequence[Path], size_hw: tuple[int, int], split: Split) -> None:
        super().__init__()
        self._size_hw = size_hw
        self._category = "parts"
        samples = pd.DataFrame(
            {
                "image_path": [str(path) for path in paths],
                "split": str(split.value),
                "label_index": 0,
                "mask_path": "",
            }
        )
        samples.attrs["task"] = "classification"
        self.samples = samples

    def __getitem__(self, index: int) -> ImageItem:
        """One part."""
        path = str(self.samples.iloc[index].image_path)
        image_rgb = torch.from_numpy(load_image(Path(path), self._size_hw))
        image = image_rgb.permute(2, 0, 1).contiguous().float().div_(255.0)
        return ImageItem(image=image, gt_label=torch.tensor(0), image_path=path)


class GoodPartsModule(AnomalibDataModule):  # type: ignore[misc]
    """Training and held-out good parts; no test part ever enters it.

    Args:
        train: pictures to learn from.
        held_out: good pictures kept out of training, used for map quantiles only.
        size_hw: model input size.
        batch_size: training batch size.
        seed: order of the training parts.
    """

    def __init__(
        self,
        train: Sequence[Path],
        held_out: Sequence[Path],
        size_hw: tuple[int, int],
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(train_batch_size=batch_size, eval_batch_size=1, num_workers=0, seed=seed)
        self.train_data = GoodParts(train, size_hw, Split.TRAIN)
        self.val_data = GoodParts(held_out, size_hw, Split.VAL)
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
