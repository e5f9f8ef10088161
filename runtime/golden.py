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
# Beside it, what a variant said itself that was let in by a gate, not by its nearness to anomalib's model.
OWN_FILE = "{engine}-{precision}.npz"
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
    _write(folder / REFERENCE_FILE, reference, score_range)


def record_golden(bundle: Bundle, inspector: Inspector, threshold: float) -> Parity:
    """Keep what a variant says now as the reference that :func:`replay_golden` holds it to, in place of anomalib's results.

    Args:
        bundle: open bundle; its folder is written to, so seal it again.
        inspector: of the same bundle, of the variant to record.
        threshold: raw, of this variant.

    Returns:
        How far what it says is from anomalib's results.
    """
    folder = bundle.root / GOLDEN_FOLDER
    reference, images, score_range = _load(folder, REFERENCE_FILE)
    found = _infer(inspector, images, threshold)
    _write(folder / _own_file(inspector), found, score_range)
    return compare(inspector.variant.key, str(inspector.device), reference, found, score_range)


def replay_golden(bundle: Bundle, inspector: Inspector) -> Parity:
    """Run the golden images through an inspector and compare with the reference: anomalib's, or what the variant recorded.

    Args:
        bundle: open bundle.
        inspector: of the same bundle, on the engine and device to check.

    Raises:
        BundleError: the golden folder is missing or unreadable.
    """
    folder = bundle.root / GOLDEN_FOLDER
    own = _own_file(inspector)
    reference, images, score_range = _load(folder, own if (folder / own).is_file() else REFERENCE_FILE)
    # An operator may move the threshold; parity is about the scores that export fixed.
    found = _infer(inspector, images, reference.threshold)
    return compare(inspector.variant.key, str(inspector.device), reference, found, score_range)


def _own_file(inspector: Inspector) -> str:
    return OWN_FILE.format(engine=inspector.variant.engine, precision=inspector.variant.precision)


def _infer(inspector: Inspector, images: Sequence[UInt8Image], threshold: float) -> Compared:
    found = [inspector.infer(image) for image in images]
    return Compared(
        np.array([raw.pred_score for raw in found]), [raw.anomaly_map for raw in found], threshold
    )


def _write(path: Path, said: Compared, score_range: float) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        scores=said.scores,
        maps=np.stack(list(said.maps)),
        threshold=np.float64(said.threshold),
        score_range=np.float64(score_range),
    )
    path.write_bytes(buffer.getvalue())


def _load(folder: Path, name: str) -> tuple[Compared, list[UInt8Image], float]:
    """A reference, the images that it is about, and the range of scores that differences relate to."""
    try:
        with np.load(folder / name, allow_pickle=False) as stored:
            scores, maps = stored["scores"], stored["maps"]
            threshold, score_range = float(stored["threshold"]), float(stored["score_range"])
        images = [decode_rgb(folder / f"{index}.png") for index in range(len(scores))]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, ImageError) as error:
        raise BundleError(
            f"{folder}: expected golden images with a reference, found {error}; copy the bundle again"
        ) from error
    return Compared(scores.astype(np.float64), list(maps), threshold), images, score_range
