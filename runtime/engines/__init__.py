"""Inference engines behind one small protocol: arrays in, arrays out."""
