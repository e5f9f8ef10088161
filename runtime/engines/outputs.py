"""What a graph gives out for one picture, checked before anybody believes it."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np

from runtime.bundle.manifest import Manifest
from runtime.engines.base import ANOMALY_MAP, EMBEDDING, OUTPUTS, PRED_SCORE, Arrays, Engine
from runtime.errors import EngineError
from runtime.prediction import RawOutputs

Shape = tuple[int, ...]
INPUT = "image"
# A descriptor has the length 1; a device that computes in fp16 misses it by a few thousandths.
_NORM_ROOM = 0.05
_ADVICE = "run: lineside verify BUNDLE"


@runtime_checkable
class Shaped(Protocol):
    """An engine that knows the shapes of its model's inputs and outputs without running it."""

    @property
    def shapes(self) -> dict[str, Shape]:
        """Static shapes by tensor name; a dynamic dimension is -1."""


def shapes_of(manifest: Manifest) -> dict[str, Shape]:
    """The shapes that a bundle's manifest promises, by tensor name."""
    spec = manifest.outputs
    return {
        INPUT: (1, *manifest.input.size_hw, 3),
        PRED_SCORE: (1,),
        ANOMALY_MAP: (1, 1, spec.map_height, spec.map_width),
        EMBEDDING: (1, spec.embedding_length),
    }


def check_model(engine: Engine, expected: dict[str, Shape]) -> None:
    """Compare an opened model with the manifest, before the first part.

    Args:
        engine: one that cannot tell its shapes is checked with every output instead.
        expected: from :func:`shapes_of`.

    Raises:
        EngineError: the model lacks a tensor, or has one of another shape.
    """
    if not isinstance(engine, Shaped):
        return
    found = engine.shapes
    for name, shape in expected.items():
        if name not in found:
            raise EngineError(
                f"model: expected the tensor '{name}', found {', '.join(sorted(found)) or 'none'}; "
                "export or copy the bundle again"
            )
        if found[name] != shape:
            raise EngineError(
                f"model: expected {name} of shape {shape} as bundle.json says, found "
                f"{found[name]}; export or copy the bundle again"
            )


def raw_outputs(outputs: Arrays, expected: dict[str, Shape]) -> RawOutputs:
    """The graph's outputs as typed values.

    Args:
        outputs: by name, as an engine returned them.
        expected: from :func:`shapes_of`.

    Raises:
        EngineError: one is missing, has another shape, is not finite, or is no descriptor.
    """
    for name in OUTPUTS:
        if name not in outputs:
            raise EngineError(f"{name}: expected this output, found none; {_ADVICE}")
        if outputs[name].shape != expected[name]:
            raise EngineError(
                f"{name}: expected the shape {expected[name]}, found {outputs[name].shape}; "
                f"{_ADVICE}"
            )
    score = float(outputs[PRED_SCORE].item())
    anomaly_map = np.asarray(outputs[ANOMALY_MAP], dtype=np.float32)[0, 0]
    embedding = np.asarray(outputs[EMBEDDING], dtype=np.float32)[0]
    # A NaN goes through the extremes and the sum of squares: one look at each array is enough.
    low, high = float(anomaly_map.min()), float(anomaly_map.max())
    square = float(embedding @ embedding)
    for name, values in (
        (PRED_SCORE, (score,)),
        (ANOMALY_MAP, (low, high)),
        (EMBEDDING, (square,)),
    ):
        if not all(map(math.isfinite, values)):
            raise EngineError(f"{name}: expected finite numbers, found others; {_ADVICE}")
    length = math.sqrt(square)
    # Where nothing is anomalous there is nothing to describe: see runtime.health.plausibility.
    if length > 0 and abs(length - 1.0) > _NORM_ROOM:
        raise EngineError(
            f"{EMBEDDING}: expected a descriptor of length 1, found {length:.3g}; {_ADVICE}"
        )
    return RawOutputs(score, anomaly_map, embedding, low, high, length > 0)
