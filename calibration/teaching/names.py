"""Tensors of an exported PatchCore graph that another bank changes, by name."""

from __future__ import annotations

# Of each layer the locally averaged map, float32 (1, C, h, w): "pooled0", ...
POOLED_PREFIX = "pooled"
# Constants: of each layer the projection, float32 (D, C, 1, 1); its bias, float32 (1, D, 1, 1).
PROJECTION_PREFIX = "projection.weight_"
PROJECTION_BIAS = "projection.bias"
# Constant: the prototypes, float32 (K, D).
MEMORY_BANK = "memory_bank"
# Constants that the descriptor relates a score to.
GOOD_BOUND = "good_bound"
GOOD_SCALE = "good_scale"
# Constant: 0 to K - 1, float32 (K,).
ROW_NUMBERS = "row_numbers"
# What is computed from the bank alone: its mean, float32 (1, D); the prototypes around it, (K, D);
# their squared lengths, (K,).
BANK_CENTER = "bank_center"
CENTERED_BANK = "centered_bank"
BANK_NORMS = "bank_norms"
# Patches x around the mean, and a one behind each, float32 (P, D + 1).
EXTENDED_PATCHES = "extended_patches"
# The least |y|^2 - 2xy of each over all prototypes y, float32 (P,).
NEAREST_PARTIALS = "nearest_partials"
# Rows of the bank per product: with the patches' products they stay in a core's cache.
CHUNK_ROWS = 512
