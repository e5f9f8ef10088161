"""INT8 variants of a bundle: networks and search in INT8, and a gate that can refuse them."""

from calibration.int8.variant import INT8, Quantized, add_int8

__all__ = ["INT8", "Quantized", "add_int8"]
