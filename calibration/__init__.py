"""Thresholds, evaluation and reports, measured through the exported bundle."""

import runtime  # noqa: F401 - keeps OpenVINO silent, whatever is imported next
