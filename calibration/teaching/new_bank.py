"""An exported PatchCore graph, taken apart at its named tensors and built around another bank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from calibration.learning.components import Components
from calibration.learning.ir import compiled, constant, replace_constant, tensor
from calibration.learning.patch_scores import bound_and_scale
from calibration.teaching.names import (
    BANK_NORMS,
    CENTERED_BANK,
    CHUNK_ROWS,
    EXTENDED_PATCHES,
    GOOD_BOUND,
    GOOD_SCALE,
    MEMORY_BANK,
    NEAREST_PARTIALS,
    POOLED_PREFIX,
    PROJECTION_BIAS,
    PROJECTION_PREFIX,
    ROW_NUMBERS,
)
from calibration.teaching.onnx_file import Node, OnnxFile, make_node
from runtime.engines.base import FEATURES_PREFIX
from runtime.engines.quiet import opset13, ov
from runtime.errors import BundleError
from runtime.types import Float32, UInt8Image

PATCHES = f"{FEATURES_PREFIX}0"
_NEEDED = (
    PATCHES,
    f"{POOLED_PREFIX}0",
    ROW_NUMBERS,
    GOOD_BOUND,
    GOOD_SCALE,
    CENTERED_BANK,
    BANK_NORMS,
    EXTENDED_PATCHES,
    NEAREST_PARTIALS,
)
# A picture, uint8 (H, W, 3), to maps, float32 (C, h, w) each.
Network = Callable[[UInt8Image], list[Float32]]


class TeachableGraph:
    """The fp32 graph of a bundle.

    Args:
        path: its ONNX file.
        where: the bundle, for messages.
        model: the bundle's kind of model, for messages.

    Attributes:
        layers: how many are described by a patch.
        has_projection: whether components of them are.

    Raises:
        BundleError: a model without a memory bank, or an older export, which does not name what has
            to be replaced.
    """

    def __init__(self, path: Path, where: Path, model: str) -> None:
        self._path = path
        names = OnnxFile(path).tensors
        if MEMORY_BANK not in names:
            raise BundleError(
                f"{where}: expected PatchCore, which learns a part by remembering patches of it, "
                f"found {model}, whose networks have to be trained: teach the part from a "
                "PatchCore bundle, or train it on a workstation with: lineside train"
            )
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise BundleError(
                f"{where}: expected a bundle that can be taught, found one of an older export, "
                f"whose graph has no '{missing[0]}'; make it again on a workstation with: "
                "lineside train --model patchcore"
            )
        self.layers = sum(f"{POOLED_PREFIX}{index}" in names for index in range(len(names)))
        self.has_projection = PROJECTION_BIAS in names

    def pooled(self) -> Network:
        """The layers as the components are computed from them, (C, h, w) each."""
        return running(
            ov.Core().read_model(self._path),
            [f"{POOLED_PREFIX}{index}" for index in range(self.layers)],
        )

    def patches(self, components: Components | None) -> Network:
        """The patches of a picture, one map (D, h, w)."""
        model = ov.Core().read_model(self._path)
        if components is not None:
            project(model, components)
        return running(model, [PATCHES])

    def bank(self) -> Float32:
        """The prototypes, float32 (K, D).

        Raises:
            BundleError: the file holds none.
        """
        found = constant(ov.Core().read_model(self._path), MEMORY_BANK)
        if found is None:
            raise BundleError(
                f"{self._path}: expected the prototypes as a constant, found none; copy the bundle "
                "again"
            )
        return np.array(found.data, dtype=np.float32)

    def with_bank(
        self, bank: Float32, components: Components | None, good_scores: tuple[float, float]
    ) -> bytes:
        """The whole graph, as an ONNX file, around another bank.

        Args:
            bank: float32 (K, D), any K that the re-weighting has enough of.
            components: of the projection; None where there is none.
            good_scores: raw score of a typical good part and the bound that few exceed.
        """
        file = OnnxFile(self._path)
        file.set_constant(MEMORY_BANK, np.ascontiguousarray(bank, np.float32))
        file.set_constant(ROW_NUMBERS, np.arange(len(bank), dtype=np.float32))
        for name, value in zip(
            (GOOD_BOUND, GOOD_SCALE), bound_and_scale(*good_scores), strict=True
        ):
            file.set_constant(name, np.array(value, np.float32))
        for name, weights in _projection(components):
            file.set_constant(name, weights)
        _search(file, len(bank))
        return file.to_bytes()


def running(model: ov.Model, names: Sequence[str]) -> Network:
    """A part of a graph, compiled.

    Args:
        model: whole graph.
        names: of the tensors to give out.
    """
    results = [opset13.result(tensor(model, name)) for name in names]
    run = compiled(ov.Model(results, model.get_parameters(), "part"))

    def network(picture: UInt8Image) -> list[Float32]:
        found = run(picture[None])
        # A result is a view that the next call overwrites.
        return [np.array(found[index][0], dtype=np.float32) for index in range(len(names))]

    return network


def project(model: ov.Model, components: Components) -> None:
    """Put other components into a graph's projection.

    Args:
        model: changed.
        components: one matrix for each layer.
    """
    for name, value in _projection(components):
        old = constant(model, name)
        if old is not None:
            replace_constant(old, opset13.constant(value))


def _projection(components: Components | None) -> list[tuple[str, Float32]]:
    if components is None:
        return []
    weights = [
        (f"{PROJECTION_PREFIX}{index}", np.ascontiguousarray(one[:, :, None, None]))
        for index, one in enumerate(components.weights)
    ]
    return [*weights, (PROJECTION_BIAS, components.bias[None, :, None, None])]


def _search(file: OnnxFile, rows: int) -> None:
    """Write the search through the bank anew, as export does: chunk by chunk of its rows.

    Args:
        file: changed.
        rows: of the bank, K.
    """

    def name(what: str) -> str:
        return f"{NEAREST_PARTIALS}/{what}"

    def number(value: int) -> str:
        known = name(f"number_{value}")
        file.set_constant(known, np.array([value], np.int64))
        return known

    file.set_constant(name("minus_two"), np.array(-2.0, np.float32))
    nodes: list[Node] = [
        make_node("Mul", [CENTERED_BANK, name("minus_two")], name("doubled")),
        make_node("Unsqueeze", [BANK_NORMS, number(1)], name("norms")),
        make_node("Concat", [name("doubled"), name("norms")], name("rows"), {"axis": 1}),
    ]
    starts = range(0, rows, CHUNK_ROWS)
    smallest = ""
    for index, start in enumerate(starts):
        chunk, product = name(f"chunk_{index}"), name(f"product_{index}")
        bounds = [number(start), number(min(start + CHUNK_ROWS, rows)), number(0)]
        nodes += [
            make_node("Slice", [name("rows"), *bounds], chunk),
            make_node("Transpose", [chunk], f"{chunk}/columns", {"perm": [1, 0]}),
            make_node("MatMul", [EXTENDED_PATCHES, f"{chunk}/columns"], product),
        ]
        last = index == len(starts) - 1
        found = NEAREST_PARTIALS if last and index == 0 else name(f"least_{index}")
        nodes.append(make_node("ReduceMin", [product, number(1)], found, {"keepdims": 0}))
        if index:
            both = NEAREST_PARTIALS if last else name(f"least_to_{index}")
            nodes.append(make_node("Min", [smallest, found], both))
            found = both
        smallest = found
    file.compute(NEAREST_PARTIALS, nodes)
