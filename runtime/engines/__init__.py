"""Inference engines behind one small protocol: arrays in, arrays out."""

from runtime.engines.base import Engine
from runtime.engines.factory import open_engine

__all__ = ["Engine", "open_engine"]
