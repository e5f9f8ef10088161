"""Leather: warm brown with fine creases in slanting light; after MVTec AD's ``leather``."""

from __future__ import annotations

import cv2
import numpy as np

from export.sample_data.drawing import Field, blob, draw_path, mix, place, smooth_noise, wander

BROWN = (0.465, 0.295, 0.235)
_LIGHT = (0.55, -0.65)


def good(rng: np.random.Generator, size: int) -> Field:
    """A flawless piece of leather, float32 (size, size, 3), RGB in [0, 1]."""
    height = _cells(rng, size) + 0.10 * smooth_noise(rng, size, 1.1 * size / 512)
    color = (
        np.ones((size, size, 3), np.float32)
        * np.asarray(BROWN, np.float32)
        * rng.uniform(0.94, 1.06)
    )
    color *= 1 + 0.035 * smooth_noise(rng, size, size / 9)[..., None]
    crease = np.clip(0.5 - height, 0, 1)[..., None]
    return np.asarray(
        color * (1 + 1.5 * _shade(height)[..., None]) * (1 + 0.16 * crease), np.float32
    )


def color(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A small stain of greyish-blue paint, rubbed thin."""
    size = image.shape[0]
    stain = blob(rng, size, place(rng, size), rng.uniform(0.025, 0.055) * size, 1.1)
    worn = np.clip(0.7 + 0.35 * smooth_noise(rng, size, 2.0 * size / 512), 0, 1)
    paint = ((0.40, 0.46, 0.48), (0.36, 0.42, 0.50), (0.52, 0.36, 0.20))[int(rng.integers(3))]
    return mix(image, paint, stain * worn * rng.uniform(0.75, 1.0)), stain


def cut(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A short dark slit with a bright fibre at one end."""
    size = image.shape[0]
    path = wander(
        rng, place(rng, size), rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.14) * size, 0.08
    )
    width = rng.uniform(2.0, 4.0) * size / 512
    slit = draw_path(size, path, width)
    lip = np.clip(np.asarray(cv2.GaussianBlur(slit, (0, 0), width), np.float32) * 2.0 - slit, 0, 1)
    torn = mix(mix(image, (0.60, 0.40, 0.31), 0.45 * lip), (0.10, 0.055, 0.04), 0.9 * slit)
    end = (float(path[-1, 0]), float(path[-1, 1]))
    fibre = blob(rng, size, end, rng.uniform(1.5, 4.0) * size / 512, 0.5)
    return mix(torn, (0.93, 0.88, 0.80), 0.9 * fibre), np.maximum(np.maximum(slit, lip), fibre)


def fold(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A raised ridge: lit on one side, in shadow on the other."""
    size = image.shape[0]
    path = wander(
        rng, place(rng, size, 0.25), rng.uniform(0, 2 * np.pi), rng.uniform(0.12, 0.32) * size, 0.05
    )
    width = rng.uniform(5, 11) * size / 512
    ridge = np.asarray(
        cv2.GaussianBlur(draw_path(size, path, width), (0, 0), width * 0.55), np.float32
    )
    ridge /= ridge.max() + 1e-6
    shade = np.clip(_shade(ridge * width * 1.6), -0.7, 0.9) * rng.uniform(0.8, 1.1)
    return np.asarray(image * (1 + shade[..., None]), np.float32), np.clip(ridge * 1.4, 0, 1)


def glue(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A glossy dome of dried glue: darker rim, a bright window of light."""
    size = image.shape[0]
    center, radius = place(rng, size), rng.uniform(0.022, 0.055) * size
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    distance = np.hypot(columns - center[0], rows - center[1]) / radius
    distance = distance * (1 + 0.06 * smooth_noise(rng, size, radius))
    inside = np.asarray(1 / (1 + np.exp(np.clip((distance - 1) * 14, -30, 30))), np.float32)
    dome = np.sqrt(np.clip(1 - distance**2, 0, 1)).astype(np.float32)
    slant = ((columns - center[0]) * _LIGHT[0] + (rows - center[1]) * _LIGHT[1]) / radius
    body = (
        np.asarray(BROWN, np.float32)
        * (0.85 + 0.35 * slant * (1 - dome))[..., None]
        * np.array([1.35, 1.1, 0.95], np.float32)
    )
    drop = mix(image, body, inside * 0.85)
    shine = blob(
        rng, size, (center[0] + 0.3 * radius, center[1] - 0.4 * radius), radius * 0.28, 0.4
    )
    return mix(drop, (1.0, 0.93, 0.85), 0.85 * shine), inside


def poke(rng: np.random.Generator, image: Field) -> tuple[Field, Field]:
    """A prick of an awl: a dark hole in a shallow dent."""
    size = image.shape[0]
    center, radius = place(rng, size), rng.uniform(4.0, 8.0) * size / 512
    hole = blob(rng, size, center, radius * 0.55, 0.3)
    dent = blob(rng, size, center, radius * 1.6, 0.3)
    shade = np.clip(_shade(-dent * radius * 0.9), -0.6, 0.7)
    dented = image * (1 + shade[..., None])
    return mix(dented, (0.11, 0.06, 0.045), hole * rng.uniform(0.7, 0.95)), np.maximum(hole, dent)


def _cells(rng: np.random.Generator, size: int) -> Field:
    """Pebbles between creases: distance to the border of jittered, stretched cells."""
    pitch = size / 512 * rng.uniform(15, 18)
    stretch, turn = rng.uniform(1.15, 1.5), rng.normal(0.5, 0.25)
    count = int(size / pitch) + 6
    grid = (
        np.stack(np.meshgrid(np.arange(count * 2), np.arange(count * 2)), axis=-1)
        .reshape(-1, 2)
        .astype(np.float64)
    )
    seeds = (grid - count + rng.uniform(-0.48, 0.48, grid.shape)) * pitch * np.array([stretch, 1.0])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    seeds = seeds @ rotation.T + size / 2 + rng.uniform(-pitch, pitch, 2)
    seeds = seeds[((seeds > -pitch) & (seeds < size + pitch)).all(axis=1)]
    border = np.full((size, size), 255, np.uint8)
    division = cv2.Subdiv2D((-size, -size, 3 * size, 3 * size))
    division.insert([(float(x), float(y)) for x, y in seeds])
    facets, _ = division.getVoronoiFacetList([])
    # A wavy warp keeps the creases from being straight.
    for facet in facets:
        cv2.polylines(
            border,
            [np.round(np.asarray(facet) * 16).astype(np.int32)],
            isClosed=True,
            color=0,
            thickness=1,
            lineType=cv2.LINE_AA,
            shift=4,
        )
    distance = np.asarray(
        cv2.distanceTransform((border > 128).astype(np.uint8), cv2.DIST_L2, 5), np.float32
    )
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    bend = 2.2 * size / 512
    distance = cv2.remap(
        distance,
        columns + bend * smooth_noise(rng, size, pitch / 3),
        rows + bend * smooth_noise(rng, size, pitch / 3),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(1 - np.exp(-distance / (pitch * 0.16)), np.float32)


def _shade(height: Field) -> Field:
    """Brightness of a height map under slanting light."""
    dx = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) / 8
    dy = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) / 8
    return np.asarray(-(dx * -_LIGHT[0] + dy * -_LIGHT[1]) * 1.0, np.float32)
