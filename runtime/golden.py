"""golden/: a few images with the reference's outputs, replayed on the box's own device before the first part."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from runtime.bundle import Bundle
from runtime.errors import BundleError, ImageError
from runtime.inspector import Inspector
from runtime.parity import Compared, Parity, compare
from runtime.preprocess import decode_rgb

GOLDEN_FOLDER = "golden"
REFERENCE_FILE = "reference.npz"
UInt8Image = npt.NDArray[np.uint8]


def write_golden(root: Path, images: Sequence[UInt8Image], reference: Compared, score_range: float) -> None:
    """Write the golden images and the reference outputs.

    Args:
        root: bundle folder being built.
        images: uint8 (H, W, 3) RGB at the model's size.
        reference: anomalib's scores, maps and threshold for these images.
        score_range: range of the reference scores over the whole certificate set.
    """
    folder = root / GOLDEN_FOLDER
    folder.mkdir()
    for index, image in enumerate(images):
        done, data = cv2.imencode(".png", image[:, :, ::-1])
        if not done:
            raise BundleError(
                f"{folder}: expected golden image {index} to be written as PNG, it was not; try again"
            )
        (folder / f"{index}.png").write_bytes(data.tobytes())
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        scores=reference.scores,
        maps=np.stack(list(reference.maps)),
        threshold=np.float64(reference.threshold),
        score_range=np.float64(score_range),
    )
    (folder / REFERENCE_FILE).write_bytes(buffer.getvalue())


def replay_golden(bundle: Bundle, inspector: Inspector) -> Parity:
    """Run the golden images through an inspector and compare with the reference.

    Args:
        bundle: open bundle.
        inspector: of the same bundle, on the engine and device to check.

    Raises:
        BundleError: the golden folder is missing or unreadable.
    """
    folder = bundle.root / GOLDEN_FOLDER
    try:
        with np.load(folder / REFERENCE_FILE, allow_pickle=False) as stored:
            scores, maps = stored["scores"], stored["maps"]
            threshold, score_range = float(stored["threshold"]), float(stored["score_range"])
        images = [decode_rgb(folder / f"{index}.png") for index in range(len(scores))]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, ImageError) as error:
        raise BundleError(
            f"{folder}: expected golden images with a reference, found {error}; copy the bundle again"
        ) from error
    found = [inspector.infer(image) for image in images]
    return compare(
        inspector.variant.key,
        str(inspector.device),
        Compared(scores.astype(np.float64), list(maps), threshold),
        Compared(
            np.array([raw.pred_score for raw in found]),
            [raw.anomaly_map for raw in found],
            # An operator may move the threshold; parity is about the scores that export fixed.
            threshold,
        ),
        score_range,
    )
