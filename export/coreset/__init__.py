"""Coreset of PatchCore's patches: exact k-center greedy selection without a pass over all patches per step.

``select_coreset`` picks the patches, ``covering_radius`` measures how well a selection covers the
rest; docs/coreset.md explains both.
"""

from export.coreset.greedy import select_coreset
from export.coreset.radius import covering_radius

__all__ = ["covering_radius", "select_coreset"]
