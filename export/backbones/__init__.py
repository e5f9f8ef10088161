"""Pretrained backbones: their names, layers, weights, and what reads them."""
