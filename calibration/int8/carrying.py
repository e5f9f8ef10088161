"""A bundle's INT8 networks, carried over to a bundle that was taught from it.

The networks are those of the bundle that was taught from, with their quantized weights, so NNCF is
not needed. New are what teaching makes anew: the components behind the networks, the bank as these
networks see it, and its search.

The ranges of the activations are those of the other part, and what this part has beyond them would
be cut off: of MVTec AD's bottle in the networks of a procedural grid, channels of a depthwise
convolution that the grid hardly uses, and scores correlated by 0.73 with fp32's. So every range is
widened until it holds what good pictures of this part have, too (then: 0.95). The gate decides
whether that is enough.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calibration.int8.gate import Bounds
from calibration.int8.graph import networks_of
from calibration.int8.model import around_networks
from calibration.int8.networks import MAX_STATISTICS
from calibration.int8.parts import share_out
from calibration.int8.variant import GATE, INT8, Judge, Quantized, write_int8
from calibration.learning.components import Components
from calibration.learning.ir import compiled
from calibration.scoring import learned_digests
from calibration.teaching.new_bank import project
from runtime.bundle.folder import Bundle
from runtime.engines.quiet import opset13, ov
from runtime.engines.winograd import replace_output
from runtime.errors import ParityError
from runtime.progress import track
from runtime.types import Float32, UInt8Image


def carry_int8(
    path: Path,
    base: Bundle,
    components: Components | None,
    good: Sequence[Path],
    bounds: Bounds | None = None,
) -> Quantized:
    """Add the variant ``openvino/int8`` to a taught bundle, or refuse.

    Args:
        path: folder of the taught bundle, which is fp32; it is replaced as a whole, at the end.
        base: the bundle that it was taught from, which has the variant.
        components: of the projection; None where the base's own go on.
        good: pictures of good parts: those that the bundle has learned make the bank, others judge,
            or where they are fewer than five, learned ones mirrored.
        bounds: of the gate; None for the usual ones.

    Raises:
        BundleError: the base is an older export.
        DataError: too few pictures.
        ParityError: the variant judges parts otherwise; the bundle stays as it was.
    """
    with (
        Bundle.open(path) as bundle,
        tempfile.TemporaryDirectory(prefix="lineside-int8-") as name,
    ):
        manifest, folder = bundle.manifest, Path(name)
        roles = share_out(good, manifest.input.size_hw, learned_digests(bundle))
        before = base.model_path(base.manifest.variant(INT8.engine, INT8.precision))
        networks = networks_of(ov.Core().read_model(before))
        widen_ranges(networks, roles.learn[:MAX_STATISTICS])
        if components is not None:
            project(networks, components)
        onnx = bundle.model_path(manifest.variant("onnxruntime", "fp32"))
        ir = bundle.model_path(manifest.variant("openvino", "fp32"))
        target = folder / INT8.path
        target.parent.mkdir(parents=True)
        whole = around_networks(onnx, ir, networks, roles.learn)
        ov.save_model(whole, str(target), compress_to_fp16=False)
        left = tuple(map(str, base.manifest.metrics.get(GATE, {}).get("left_in_fp32", ())))
        found = Judge(bundle, roles.judge, (), bounds or Bounds()).of(target, left)
        if found.gate.problems:
            raise ParityError(
                f"expected {INT8.key} of the bundle that is taught from to judge this part as fp32 "
                f"does, found: {'; '.join(found.gate.problems)}"
            )
        write_int8(bundle, folder, roles, found)
    return found


def widen_ranges(networks: ov.Model, pictures: Sequence[UInt8Image]) -> None:
    """Let every quantized activation hold what it holds of some pictures, too.

    What it holds is taken from the networks with nothing but their weights quantized, so that no
    range that is too narrow hides what comes behind it.

    Args:
        networks: quantized; changed.
        pictures: uint8 (H, W, 3) at the model's size, of good parts.
    """
    free = networks.clone()
    inputs = [node.input_value(0) for node in _rounded(free)]
    for node in _rounded(free):
        replace_output(node.output(0), node.input_value(0))
    results = [opset13.result(found) for found in inputs]
    run = compiled(ov.Model(results, free.get_parameters(), "ranges"))
    nodes = _rounded(networks)
    ends = [
        [np.array(node.input_value(place).get_node().get_data()) for place in (1, 2)]
        for node in nodes
    ]
    for picture in track(pictures, "INT8: ranges"):
        found = run(picture[None])
        for place, (low, high) in enumerate(ends):
            value = found[place]
            # One range for all, or one for each channel.
            shape = (1,) * (value.ndim - low.ndim) + low.shape
            axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
            low[...] = np.minimum(low, value.min(axis=axes).reshape(low.shape))
            high[...] = np.maximum(high, value.max(axis=axes).reshape(high.shape))
    for node, both in zip(nodes, ends, strict=True):
        low, high = with_zero(both[0], both[1], int(node.get_attributes()["levels"]))
        for place, value in ((1, low), (2, high), (3, low), (4, high)):
            node.input(place).replace_source_output(opset13.constant(value).output(0))
    networks.validate_nodes_and_infer_types()


def with_zero(low: Float32, high: Float32, levels: int) -> tuple[Float32, Float32]:
    """A range that holds another, and whose grid has a zero: integers have one.

    Args:
        low: of the range, any shape.
        high: likewise.
        levels: of the grid, its ends among them.
    """
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    # Where nothing was ever seen, a range all the same.
    high = np.where(high > low, high, 1e-6)
    steps = levels - 1
    zero = np.round(-low / np.maximum(high - low, 1e-12) * steps)
    # Both sides keep a step where they have something.
    zero = np.clip(zero, np.where(low < 0.0, 1, 0), np.where(high > 0.0, steps - 1, steps))
    cell = np.maximum(-low / np.maximum(zero, 1), high / np.maximum(steps - zero, 1))
    return (-cell * zero).astype(np.float32), (cell * (steps - zero)).astype(np.float32)


def _rounded(model: ov.Model) -> list[ov.Node]:
    """Operations that round activations to a grid, in the order of computation."""
    return [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
