"""INT8 variants of a bundle: networks quantised, distances in fp32, memory bank rebuilt, and a gate that can refuse."""
