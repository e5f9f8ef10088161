"""A tiny real bundle and pictures whose score is known: the largest deviation from mid gray."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np

from runtime.bundle.folder import Bundle, seal
from runtime.bundle.manifest import Variant
from runtime.bundle.thresholds import THRESHOLDS_FILE, Threshold, Thresholds, write_thresholds
from tests.edge_app.tiny_bundle import SIDE, write_tiny_bundle

KEYS = ("openvino/fp32", "openvino/fp16")


def two_variant_bundle(folder: Path, image_threshold: float = 64.0) -> Path:
    """The tiny bundle with a second variant of the same graph, and thresholds from good parts."""
    write_tiny_bundle(folder)
    manifest = Bundle.open(folder).manifest
    shutil.copytree(folder / "openvino" / "fp32", folder / "openvino" / "fp16")
    second = Variant("openvino", "fp16", "openvino/fp16/model.xml")
    recorded = Threshold(image_threshold, image_threshold, 5.0, "conformal", 100, 0.01)
    write_thresholds(folder / THRESHOLDS_FILE, Thresholds(dict.fromkeys(KEYS, recorded)))
    seal(folder, dataclasses.replace(manifest, variants=(*manifest.variants, second)))
    return folder


def picture(path: Path, deviation: int, *, corner: int = 0) -> None:
    """Write a mid-gray picture; one cell is brighter by ``deviation``.

    It is number ``corner`` along the diagonal. Two pictures with the same arguments are copies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((SIDE, SIDE, 3), 128, np.uint8)
    cell = slice(corner * 8, corner * 8 + 8)
    image[cell, cell] = 128 + deviation
    cv2.imwrite(str(path), image)


def good_folder(folder: Path, deviations: list[int]) -> Path:
    """Good parts with these raw scores; equal scores get different pictures (another cell)."""
    seen: dict[int, int] = {}
    for index, deviation in enumerate(deviations):
        turn = seen.get(deviation, 0)
        seen[deviation] = turn + 1
        picture(folder / f"{index:03d}.png", deviation, corner=turn % 4)
    return folder


def data_root(root: Path, *, masks: bool = True) -> Path:
    """ROOT/tile with six good parts (scores 0 to 50) and six bad ones of two kinds (40 to 120)."""
    tile = root / "tile"
    good_folder(tile / "train" / "good", [1, 2, 3])
    good_folder(tile / "test" / "good", [0, 10, 20, 30, 35, 50])
    for kind, deviations in (("dent", [100, 110, 120]), ("scratch", [40, 70, 80])):
        for index, deviation in enumerate(deviations):
            picture(tile / "test" / kind / f"{index}.png", deviation, corner=index)
            if masks:
                mask = np.zeros((SIDE, SIDE), np.uint8)
                mask[index * 8 : index * 8 + 8, index * 8 : index * 8 + 8] = 255
                target = tile / "ground_truth" / kind / f"{index}_mask.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(target), mask)
    return root
