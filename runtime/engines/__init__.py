"""Inference engines behind one small protocol: arrays in, arrays out."""

from runtime.engines.base import Engine, FakeEngine, open_engine

__all__ = ["Engine", "FakeEngine", "open_engine"]
