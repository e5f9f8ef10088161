"""Turned and mirrored copies of good parts, for parts that lie any way before the camera.

A bank of patches knows a part as it lay. Copies show it as it may lie (Damm et al., "AnomalyDINO",
WACV 2025, turn the few good parts that they have). A turned picture has corners that no camera has
seen: they are filled with the picture's reflection, so that networks see no edge there, and their
patches are not learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from calibration.learning.distances import Places
from runtime.images.preprocess import decode_rgb, resize
from runtime.images.roi import RegionOfInterest
from runtime.progress import track
from runtime.types import Float32, Mask, UInt8Image

Augment = Literal["none", "rotate", "flip"]
# In a bundle's provenance: how many were learned.
COPIES = "copies"
# Poses of a part when it is turned, its own among them.
ANGLES = 12
# Of all parts: what copies cost in time and memory does not grow with the parts for ever, and many
# parts that lie any way show most of it themselves.
MOST_COPIES = 512
# Turns from part to part, so that together they show every angle: the golden section.
_STAGGER = (5**0.5 - 1) / 2
_WHOLE = 0.999
_UNLEARNED_TURN = 37.0


@dataclass(frozen=True)
class Pose:
    """How a copy lies.

    Attributes:
        degrees: counterclockwise.
        mirrored: axes along which it is mirrored before: 0 is top to bottom, 1 left to right.
    """

    degrees: float = 0.0
    mirrored: tuple[int, ...] = ()

    def of(self, picture: UInt8Image, center_xy: tuple[float, float] = (0.5, 0.5)) -> UInt8Image:
        """A copy of the same shape, what the picture does not show being its reflection.

        Args:
            picture: uint8 (H, W, 3), best at its own size: a model's may have squeezed it.
            center_xy: around which it is turned, in shares of the picture.
        """
        return np.asarray(self._moved(picture, center_xy, cv2.BORDER_REFLECT_101), np.uint8)

    def seen(
        self, known: Mask, own_hw: tuple[int, int], center_xy: tuple[float, float] = (0.5, 0.5)
    ) -> Mask:
        """Which pixels of a copy the picture shows, bool (h, w).

        Args:
            known: pixels of the picture that count, bool (h, w) at the model's size.
            own_hw: height and width of the picture before it was brought to the model's size.
            center_xy: as of :meth:`of`.
        """
        whole = cv2.resize(known.astype(np.uint8), own_hw[::-1], interpolation=cv2.INTER_NEAREST)
        moved = self._moved(whole * np.uint8(255), center_xy, cv2.BORDER_CONSTANT)
        shares = cv2.resize(moved, known.shape[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(shares >= 255 * _WHOLE, np.bool_)

    def _moved(
        self, picture: UInt8Image, center_xy: tuple[float, float], border: int
    ) -> UInt8Image:
        for axis in self.mirrored:
            picture = np.flip(picture, axis)
        picture = np.ascontiguousarray(picture)
        if not self.degrees:
            return picture
        height, width = picture.shape[:2]
        center = (center_xy[0] * width - 0.5, center_xy[1] * height - 0.5)
        turn = cv2.getRotationMatrix2D(center, self.degrees, 1.0)
        return np.asarray(
            cv2.warpAffine(
                picture, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=border
            ),
            np.uint8,
        )


@dataclass(frozen=True)
class Copies:
    """Patches of copies.

    Attributes:
        patches: float32 (m, D).
        part: place of the part that each shows, (m,).
        count: copies that they are of.
    """

    patches: Float32
    part: Places
    count: int


def as_unseen(picture: UInt8Image, augment: Augment) -> UInt8Image:
    """A learned picture, mirrored so that it is none that was learned; turned where copies are."""
    return (Pose(_UNLEARNED_TURN, (1,)) if augment == "flip" else Pose(0.0, (1,))).of(picture)


def with_copies(patches: Float32, copies: Copies | None) -> Float32:
    """All patches of parts (n, P, D) as rows, and those of their copies behind them."""
    rows = patches.reshape(-1, patches.shape[-1])
    return rows if copies is None else np.concatenate([rows, copies.patches])


def stand_in(picture: UInt8Image, augment: Augment) -> UInt8Image:
    """A single part in a pose that is not learned, in the place of another good part.

    The part itself, whose patches are prototypes, scores far below every other good part. It is
    turned upside down, or mirrored where turned copies are learned.
    """
    return (Pose(mirrored=(1,)) if augment == "rotate" else Pose(mirrored=(0, 1))).of(picture)


def poses(augment: Augment, parts: int) -> list[list[Pose]]:
    """Poses of the copies of each part: at most :data:`MOST_COPIES` in all, spread evenly.

    Args:
        augment: ``rotate`` turns a part into :data:`ANGLES` poses, from part to part a bit
            further; ``flip`` mirrors it along each axis and both.
        parts: how many there are.
    """
    if augment == "none":
        return [[] for _ in range(parts)]
    # Of a single part the pose of its stand-in is not learned.
    each = ANGLES - 1 if augment == "rotate" else (3 if parts > 1 else 2)
    wanted = min(each * parts, MOST_COPIES)
    counts = [wanted * (place + 1) // parts - wanted * place // parts for place in range(parts)]
    return [list(_poses_of(augment, place, count)) for place, count in enumerate(counts)]


def _poses_of(augment: Augment, place: int, count: int) -> Iterator[Pose]:
    if augment == "flip":
        mirrored = ((1,), (0,), (0, 1))
        yield from (Pose(mirrored=mirrored[(place + turn) % 3]) for turn in range(count))
        return
    shift = (place * _STAGGER) % 1.0 - 0.5
    for turn in range(1, count + 1):
        yield Pose(degrees=360.0 * (turn + shift) / (count + 1))


def copies_of(
    describe: Callable[[UInt8Image], Float32],
    paths: Sequence[Path],
    augment: Augment,
    size_hw: tuple[int, int],
    roi: RegionOfInterest | None = None,
) -> Copies | None:
    """Describe the copies of good parts.

    Args:
        describe: from a picture at the model's size, uint8 (H, W, 3), to its patches as a map,
            float32 (D, h, w).
        paths: of the parts' pictures.
        augment: which copies.
        size_hw: the model's input height and width.
        roi: inside which alone patches are learned; parts turn around its middle.

    Returns:
        Their patches, but for those that see what no camera has seen; None for ``none``.

    Raises:
        ImageError: a picture has gone since it was first read.
    """
    if augment == "none":
        return None
    known = np.ones(size_hw, np.bool_) if roi is None else roi.mask
    center_xy = _middle(known)
    found: list[Float32] = []
    part: list[Places] = []
    planned = poses(augment, len(paths))
    for place, path in enumerate(track(paths, f"copies ({augment})")):
        if not planned[place]:
            continue
        own = decode_rgb(path)
        for pose in planned[place]:
            patches = describe(resize(pose.of(own, center_xy), size_hw))
            seen = pose.seen(known, own.shape[:2], center_xy) & known
            found.append(patches.reshape(len(patches), -1).T[cells_seen(seen, patches.shape[1:])])
            part.append(np.full(len(found[-1]), place, np.intp))
    return Copies(np.concatenate(found), np.concatenate(part), sum(map(len, planned)))


def _middle(known: Mask) -> tuple[float, float]:
    """Of the box around what counts, in shares of the picture."""
    rows, columns = (np.flatnonzero(known.any(axis=axis)) for axis in (1, 0))
    height, width = known.shape
    return (
        float(columns[0] + columns[-1] + 1) / 2 / width,
        float(rows[0] + rows[-1] + 1) / 2 / height,
    )


def cells_seen(seen: Mask, grid_hw: tuple[int, int]) -> Mask:
    """Which patches see nothing but what the picture shows, bool (h * w,)."""
    shares = cv2.resize(seen.astype(np.float32), grid_hw[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(shares.ravel() >= _WHOLE, np.bool_)
