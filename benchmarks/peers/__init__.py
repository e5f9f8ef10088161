"""Lineside beside anomalib's inferencer and plain ONNX Runtime, and how its cost grows."""
