"""Training with anomalib, conversion to ONNX and OpenVINO, and the parity certificate."""

import runtime  # noqa: F401 - keeps OpenVINO silent, whatever is imported next
