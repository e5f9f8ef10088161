"""Lineside beside anomalib's OpenVINOInferencer, its torch model and plain ONNX Runtime, and how its cost grows."""
