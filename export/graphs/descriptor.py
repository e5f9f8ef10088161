"""The defect descriptor: which way a part differs from good ones, and whether it differs at all.

The direction alone makes a slightly unusual good part as near to a defect as another defect is. One
more dimension carries how far the part's score is from those of good parts: two flagged parts agree
in it, a flagged and a good one disagree. It is bounded, so that the direction decides among parts
of one kind.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812

# Patches that speak for the part: fewer are noisy, more dilute small defects
# (benchmarks/descriptors.py).
DESCRIPTOR_PATCHES = 10
# Weight of the last dimension against the direction, which has length 1, and its bounds.
_JUDGEMENT_WEIGHT = 0.7
_BOUNDS = (-1.0, 2.0)


def good_scores_buffer(good_scores: tuple[float, float]) -> torch.Tensor:
    """The two scores as the graph's constant.

    Args:
        good_scores: raw score of a typical good part, and the bound that few good ones exceed.

    Returns:
        float32 (2,): the bound, and one over the span between the two.
    """
    typical, bound = good_scores
    # Good parts that all score the same leave no span; what exceeds them is then as far as the
    # bounds allow.
    return torch.tensor([bound, 1.0 / max(bound - typical, 1e-6 * max(abs(bound), 1.0))])


def defect_descriptor(
    direction: torch.Tensor, score: torch.Tensor, good_scores: torch.Tensor
) -> torch.Tensor:
    """Direction and judgement as one unit vector.

    Args:
        direction: float32 (1, C), any length.
        score: the raw score, float32 with one element.
        good_scores: from :func:`good_scores_buffer`.

    Returns:
        float32 (1, C + 1), L2-normalised.
    """
    excess = (score.reshape(1, 1) - good_scores[0]) * good_scores[1]
    judgment = _JUDGEMENT_WEIGHT * excess.clamp(*_BOUNDS)
    return F.normalize(torch.cat([F.normalize(direction, dim=1), judgment], dim=1), dim=1)
