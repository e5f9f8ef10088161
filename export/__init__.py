"""Training with anomalib, conversion to ONNX and OpenVINO, and the parity certificate."""
