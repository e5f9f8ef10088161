"""PatchCore's search in INT8, with a second look in fp32 at the patches that matter.

Patches and prototypes are first described by fewer numbers (:mod:`calibration.int8.bank`),
then rounded to one grid. Distances between the rounded points are computed as they are, products in
integers and norms of the same points in fp32, so nothing cancels. The most anomalous patches, more
than the score is made of, are then compared with the whole bank once more, in fp32 and in all their
numbers. Score and descriptor come from that one product; for the paper's re-weighting the
neighbours of every prototype stand in a table.

Of a large bank the first look takes the first prototypes only. They stand in the order of greedy
selection, so these alone are a coreset too (of the parts that were learned first), with a somewhat
larger radius, and what they find is somewhat too far. How much, the second look shows, for it knows
the distances of its patches in both: the others are scaled as its less anomalous half, which is
most like them, has to be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.int8.bank import Reduction, nearest_prototypes, reduce_bank
from calibration.int8.graph import INSIDE, memory_bank
from calibration.learning.ir import constant, tensor
from runtime.engines.base import ANOMALY_MAP, SUPPORT, TOP_PARTIALS, TOP_PATCHES, TOP_PROTOTYPES
from runtime.engines.quiet import opset13, ov
from runtime.engines.winograd import replace_output
from runtime.errors import BundleError
from runtime.types import Float32

# A smaller bank takes no time to search.
MIN_ROWS = 256
# Of a bank so much larger that it pays, the first look takes so many.
MAX_COARSE_ROWS = 20_480
# What a number costs in the second look's fp32, as a multiple of one in the first look's integers:
# measured with WideResNet-50, 1,536 numbers a patch of which 256 are compared, where both ways
# would take equally long with some 50,000 prototypes.
_FP32_COST = 3.3
# Rows of the bank per product.
CHUNK_ROWS = 1024
# Share of the patches, the most anomalous ones, that are looked at again; by default the score is
# the mean of 1 %.
SECOND_LOOK = 1 / 32
# At least so many times those that the descriptor is made of: the first look orders them roughly.
MORE_THAN_TOP = 1.5
# And where the first look did not see the whole bank.
WIDE_SECOND_LOOK = 1 / 16
# Cells of the grid from the bank's mean to its farthest component. Six bits and a sign: without
# VNNI products are added in pairs in 16 bits, which two factors of eight bits overflow. Patches
# have eight bits on the same grid, so one that reaches twice as far as the bank is still told
# apart.
_BANK_CELLS = 63
_PATCH_CELLS = 127


@dataclass(frozen=True)
class SecondLook:
    """What the second look found.

    Attributes:
        distances: of all patches, squared, (1, 1, h, w); exact where looked at again.
        patches: the most anomalous ones, in that order, float32 (n, D).
        partials: |y|^2 - 2xy of those patches x and all prototypes y, float32 (n, K).
    """

    distances: ov.Node
    patches: ov.Node
    partials: ov.Node


def quantize_search(whole: ov.Model, features: ov.Output) -> None:
    """Replace what a PatchCore graph needs its whole bank for.

    Args:
        whole: graph that names what it reads (:mod:`runtime.engines.base`); it is changed.
        features: the patches inside it, float32 (1, D, h, w).

    Raises:
        BundleError: an older export, which does not name it.
    """
    bank, top = memory_bank(whole), tensor(whole, TOP_PATCHES)
    partials, prototypes = tensor(whole, TOP_PARTIALS), tensor(whole, TOP_PROTOTYPES)
    if bank is None or top is None or partials is None or prototypes is None:
        raise BundleError(
            "INT8: expected a graph that names what its search finds, found one of an older "
            "export; make the bundle again with: lineside train"
        )
    rows = np.array(bank.get_data(), dtype=np.float32)
    if len(rows) < MIN_ROWS:
        return
    center = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    # A bank of nearly the same patch many times says little of how far patches lie.
    least_reach = max(0.1 * float(np.abs(rows).max()), 1e-12)
    rows -= center
    patches = opset13.subtract(features, opset13.constant(center[None, :, None, None]))
    reduction = reduce_bank(rows[:MAX_COARSE_ROWS])
    partly = _pays(len(rows), rows.shape[1], len(reduction.matrix))
    coarse = _coarse_distances(patches, reduction if partly else reduce_bank(rows), least_reach)
    inside = constant(whole, INSIDE)
    if inside is not None:
        coarse = opset13.multiply(coarse, inside)
    centered = opset13.subtract(bank, opset13.constant(center[None]))
    found = _second_look(patches, coarse, centered, top.get_shape()[0], inside, partly=partly)
    anomaly_map = opset13.sqrt(opset13.relu(found.distances))
    if inside is not None:
        anomaly_map = opset13.multiply(anomaly_map, inside)
    replace_output(whole.output(ANOMALY_MAP).get_node().input_value(0), anomaly_map.output(0))
    replace_output(top, found.patches.output(0))
    replace_output(partials, found.partials.output(0))
    support = tensor(whole, SUPPORT)
    if support is not None:
        table = opset13.constant(nearest_prototypes(rows, support.get_shape()[0]))
        row = opset13.gather(prototypes, opset13.constant(0), _whole(0))
        looked_up = opset13.gather(table, row, _whole(0))
        replace_output(support, opset13.convert(looked_up, support.get_element_type()).output(0))
    whole.validate_nodes_and_infer_types()


def _pays(rows: int, numbers: int, compared: int) -> bool:
    """Whether a first look at a part of the bank saves more than a wider second look costs.

    Args:
        rows: of the bank.
        numbers: of a patch.
        compared: numbers of it that the first look compares.
    """
    saved = max(rows - MAX_COARSE_ROWS, 0) * compared
    return saved > (WIDE_SECOND_LOOK - SECOND_LOOK) * rows * numbers * _FP32_COST


def _coarse_distances(patches: ov.Node, reduction: Reduction, least_reach: float) -> ov.Node:
    """Squared distance of every patch, reduced and rounded, to the nearest prototype.

    Args:
        patches: centered, (1, D, h, w).
        reduction: of the bank.
        least_reach: of the grid.

    Returns:
        (1, 1, h, w).
    """
    components = _product(patches, reduction.matrix)
    bank, constant = reduction.rows, np.zeros(len(reduction.rows))
    if not reduction.is_whole:
        outside = opset13.relu(opset13.subtract(_squares(patches), _squares(components)))
        share = np.float32(np.sqrt(reduction.cosine))
        middle = share * reduction.remainders.mean()
        length = opset13.multiply(opset13.sqrt(outside), opset13.constant(share))
        components = opset13.concat(
            [components, opset13.subtract(length, opset13.constant(middle))], 1
        )
        bank = np.column_stack([bank, share * reduction.remainders - middle])
        constant = (1.0 - reduction.cosine) * reduction.remainders.astype(np.float64) ** 2
    cell = np.float32(max(float(np.abs(bank).max()), least_reach) / _BANK_CELLS)
    ends = [_real(cells * cell) for cells in (-_PATCH_CELLS - 1, _PATCH_CELLS)]
    rounded = opset13.fake_quantize(components, *ends, *ends, 2 * (_PATCH_CELLS + 1))
    rows = np.round(bank / cell).astype(np.int8)
    norms = ((rows.astype(np.float64) * float(cell)) ** 2).sum(axis=1) + constant
    squared = opset13.add(
        _squares(rounded), _nearest_partial(rounded, rows, cell, norms.astype(np.float32))
    )
    if reduction.is_whole:
        return squared
    return opset13.add(squared, opset13.multiply(outside, _real(1.0 - reduction.cosine)))


def _nearest_partial(
    rounded: ov.Node, rows: npt.NDArray[np.int8], cell: np.float32, norms: Float32
) -> ov.Node:
    """Minimum over the prototypes of |y|^2 - 2xy, chunk by chunk, (1, 1, h, w)."""
    smallest: ov.Node | None = None
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        # OpenVINO takes a convolution for integers where weights are integers that are scaled.
        integers = opset13.convert(opset13.constant(rows[chunk, :, None, None]), "f32")
        weights = opset13.multiply(integers, opset13.constant(np.float32(-2.0) * cell))
        product = opset13.convolution(rounded, weights, [1, 1], [0, 0], [0, 0], [1, 1])
        partial = opset13.add(product, opset13.constant(norms[None, chunk, None, None]))
        found = opset13.reduce_min(partial, _whole(1), True)
        smallest = found if smallest is None else opset13.minimum(smallest, found)
    return smallest


def _second_look(
    patches: ov.Node,
    squared: ov.Node,
    bank: ov.Node,
    most_anomalous: int,
    inside: ov.Node | None,
    *,
    partly: bool,
) -> SecondLook:
    """The largest squared distances once more, in fp32.

    Args:
        patches: float32 (1, D, h, w).
        squared: (1, 1, h, w).
        bank: float32 (K, D).
        most_anomalous: patches to return.
        inside: 1 for patches that may be returned, else 0, (1, 1, h, w); None for all.
        partly: the first look was at a part of the bank.
    """
    _, channels, height, width = (int(size) for size in patches.get_output_shape(0))
    flat = opset13.reshape(squared, _whole(height * width), False)
    share = WIDE_SECOND_LOOK if partly else SECOND_LOOK
    patches_there = height * width
    wanted = max(round(MORE_THAN_TOP * most_anomalous), round(share * patches_there))
    count = min(wanted, patches_there)
    coarse, worst = opset13.topk(flat, opset13.constant(count), 0, "max", "value", "i32").outputs()
    # The engine keeps the channels of a patch together, so this copies nothing but the rows that
    # are chosen.
    last = opset13.transpose(patches, _whole(0, 2, 3, 1))
    rows = opset13.reshape(last, _whole(height * width, channels), False)
    chosen = opset13.gather(rows, worst, _whole(0))
    norms = opset13.reduce_sum(opset13.multiply(bank, bank), _whole(1), False)
    products = opset13.matmul(opset13.multiply(chosen, _real(-2.0)), bank, False, True)
    partials = opset13.add(products, opset13.unsqueeze(norms, _whole(0)))
    nearest = opset13.reduce_min(partials, _whole(1), False)
    exact = opset13.add(
        opset13.reduce_sum(opset13.multiply(chosen, chosen), _whole(1), False), nearest
    )
    if partly:
        flat = opset13.multiply(flat, _ratio(exact, coarse))
    mixed = opset13.scatter_elements_update(flat, worst, exact, opset13.constant(0))
    if inside is not None:
        counting = opset13.reshape(inside, _whole(height * width), False)
        exact = opset13.multiply(exact, opset13.gather(counting, worst, _whole(0)))
    order = opset13.topk(exact, opset13.constant(most_anomalous), 0, "max", "value", "i32").output(
        1
    )
    return SecondLook(
        opset13.reshape(mixed, _whole(1, 1, height, width), False),
        opset13.gather(chosen, order, _whole(0)),
        opset13.gather(partials, order, _whole(0)),
    )


def _ratio(exact: ov.Node, coarse: ov.Output) -> ov.Node:
    """How much nearer patches are than the first look found, at most 1, (1,).

    Args:
        exact: squared distances of the patches looked at again, (n,).
        coarse: the same from the first look, the largest first, (n,).
    """
    count = int(exact.get_output_shape(0)[0])
    half = opset13.constant(np.arange(count // 2, count))
    sums = [
        opset13.reduce_sum(opset13.relu(opset13.gather(found, half, _whole(0))), _whole(0), True)
        for found in (exact, coarse)
    ]
    least = opset13.constant(np.array([np.finfo(np.float32).tiny]))
    share = opset13.divide(sums[0], opset13.maximum(sums[1], least))
    return opset13.minimum(share, opset13.constant(np.ones(1, np.float32)))


def _product(patches: ov.Node, matrix: Float32) -> ov.Node:
    """A matrix (d, D) times every patch of (1, D, h, w)."""
    return opset13.convolution(
        patches, opset13.constant(matrix[:, :, None, None]), [1, 1], [0, 0], [0, 0], [1, 1]
    )


def _squares(patches: ov.Node) -> ov.Node:
    return opset13.reduce_sum(opset13.multiply(patches, patches), _whole(1), True)


def _whole(*numbers: int) -> ov.Node:
    return opset13.constant(np.array(numbers))


def _real(number: float | np.float32) -> ov.Node:
    return opset13.constant(np.float32(number))
