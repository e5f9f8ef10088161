"""INT8 variants of a bundle: networks and search in INT8, and a gate that can refuse them."""
