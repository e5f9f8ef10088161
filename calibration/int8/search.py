"""PatchCore's search for the nearest prototype in INT8, and a second look in fp32 at the patches that matter.

Patches and prototypes are rounded to one grid. Distances between the rounded points are computed as they are, products in
integers and norms of the same points in fp32, so nothing cancels: all that is lost is where in its cell a point lay. The
most anomalous patches, more than the score is made of, are then compared with the whole bank once more, in fp32.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13

from calibration.int8.graph_parts import memory_bank
from runtime.errors import BundleError

Float32 = npt.NDArray[np.float32]

ANOMALY_MAP = "anomaly_map"
# A smaller bank takes no time to search.
MIN_ROWS = 256
# Rows of the bank per product.
CHUNK_ROWS = 1024
# Share of the patches, the most anomalous ones, that are looked at again; by default the score is the mean of 1 %.
SECOND_LOOK = 1 / 32
# Cells of the grid from the bank's mean to its farthest component. Six bits and a sign: without VNNI products are added in
# pairs in 16 bits, which two factors of eight bits overflow. Patches have eight bits on the same grid, so one that reaches
# twice as far as the bank is still told apart.
_BANK_CELLS = 63
_PATCH_CELLS = 127


def quantize_search(whole: ov.Model, features: ov.Output) -> None:
    """Replace what computes the map of a PatchCore graph.

    Args:
        whole: graph whose score and descriptor read the output ``anomaly_map``; it is changed.
        features: the patches inside it, float32 (1, D, h, w).

    Raises:
        BundleError: an older export, whose score does not read the map.
    """
    bank = memory_bank(whole)
    target = whole.output(ANOMALY_MAP).get_node().input_value(0)
    # The result is one reader.
    if bank is None or len(target.get_target_inputs()) == 1:
        raise BundleError(
            "INT8: expected a graph whose score reads the anomaly map, found one of an older export; "
            "make the bundle again with: lineside train"
        )
    prototypes = np.array(bank.get_data(), dtype=np.float32)
    if len(prototypes) < MIN_ROWS:
        return
    center = prototypes.mean(axis=0, dtype=np.float64).astype(np.float32)
    patches = opset13.subtract(features, opset13.constant(center[None, :, None, None]))
    # A bank of nearly the same patch many times says little of how far patches lie.
    reach = max(float(np.abs(prototypes - center).max()), 0.1 * float(np.abs(prototypes).max()), 1e-12)
    coarse = _coarse_distances(patches, prototypes - center, np.float32(reach / _BANK_CELLS))
    squared = _second_look(patches, coarse, opset13.subtract(bank, opset13.constant(center[None])))
    found = opset13.sqrt(opset13.relu(squared)).output(0)
    names = target.get_names()
    for reader in target.get_target_inputs():
        reader.replace_source_output(found)
    target.set_names(set())
    found.set_names(names)
    whole.validate_nodes_and_infer_types()


def _coarse_distances(patches: ov.Node, bank: Float32, cell: np.float32) -> ov.Node:
    """Squared distance of every rounded patch (1, D, h, w) to the nearest rounded prototype, (1, 1, h, w)."""
    ends = [opset13.constant(np.float32(cells * cell)) for cells in (-_PATCH_CELLS - 1, _PATCH_CELLS)]
    rounded = opset13.fake_quantize(patches, *ends, *ends, 2 * (_PATCH_CELLS + 1))
    rows = np.round(bank / cell).astype(np.int8)
    norms = ((rows.astype(np.float64) * float(cell)) ** 2).sum(axis=1).astype(np.float32)
    smallest: ov.Node | None = None
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        # OpenVINO takes a convolution for integers where weights are integers that are scaled.
        integers = opset13.convert(opset13.constant(rows[chunk, :, None, None]), "f32")
        weights = opset13.multiply(integers, opset13.constant(np.float32(-2.0) * cell))
        product = opset13.convolution(rounded, weights, [1, 1], [0, 0], [0, 0], [1, 1])
        partial = opset13.add(product, opset13.constant(norms[None, chunk, None, None]))
        found = opset13.reduce_min(partial, _axis(1), True)
        smallest = found if smallest is None else opset13.minimum(smallest, found)
    return opset13.add(opset13.reduce_sum(opset13.multiply(rounded, rounded), _axis(1), True), smallest)


def _second_look(patches: ov.Node, squared: ov.Node, bank: ov.Node) -> ov.Node:
    """The largest squared distances once more, in fp32; the bank is (K, D), the result (1, 1, h, w)."""
    _, channels, height, width = (int(size) for size in patches.get_output_shape(0))
    flat = opset13.reshape(squared, opset13.constant(np.array([height * width])), False)
    count = max(1, round(SECOND_LOOK * height * width))
    top = opset13.topk(flat, opset13.constant(count), 0, "max", "value", "i32").output(1)
    columns = opset13.reshape(patches, opset13.constant(np.array([channels, height * width])), False)
    chosen = opset13.transpose(
        opset13.gather(columns, top, opset13.constant(1)), opset13.constant(np.array([1, 0]))
    )
    norms = opset13.reduce_sum(opset13.multiply(bank, bank), _axis(1), False)
    products = opset13.matmul(opset13.multiply(chosen, opset13.constant(np.float32(-2.0))), bank, False, True)
    nearest = opset13.reduce_min(opset13.add(products, opset13.unsqueeze(norms, _axis(0))), _axis(1), False)
    exact = opset13.add(opset13.reduce_sum(opset13.multiply(chosen, chosen), _axis(1), False), nearest)
    mixed = opset13.scatter_elements_update(flat, top, exact, opset13.constant(0))
    return opset13.reshape(mixed, opset13.constant(np.array([1, 1, height, width])), False)


def _axis(number: int) -> ov.Node:
    return opset13.constant(np.array([number]))
