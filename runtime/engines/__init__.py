"""Inference engines behind one small protocol: arrays in, arrays out."""

from runtime.engines.base import Engine, open_engine

__all__ = ["Engine", "open_engine"]
