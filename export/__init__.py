"""Training with anomalib, conversion to ONNX and OpenVINO, and the parity certificate."""

from runtime.engines.reporters import silence_reporters

# anomalib imports OpenVINO.
silence_reporters()
