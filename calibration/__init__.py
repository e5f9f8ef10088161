"""Thresholds, evaluation and reports, measured through the exported bundle."""
