"""Names of the tensors of an exported graph: what it gives out, and where inside it one part can take another's place."""

from __future__ import annotations

PRED_SCORE = "pred_score"
ANOMALY_MAP = "anomaly_map"
EMBEDDING = "embedding"
OUTPUTS = (PRED_SCORE, ANOMALY_MAP, EMBEDDING)
# What the networks say, before distances are computed from it: "features0", ...
FEATURES_PREFIX = "features"
# PatchCore's few most anomalous patches, float32 (n, D) around the bank's mean, the most anomalous
# one first.
TOP_PATCHES = "top_patches"
# |y|^2 - 2xy of those patches x and all prototypes y, float32 (n, K).
TOP_PARTIALS = "top_partials"
# Row of the prototype nearest to each, (n,).
TOP_PROTOTYPES = "top_prototypes"
# Rows of the prototypes nearest to the first one's, for the paper's re-weighting, (neighbours,).
SUPPORT = "support"
