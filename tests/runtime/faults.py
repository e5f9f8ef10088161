"""Engines that go wrong in the ways that real ones do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.engines.base import Arrays, FakeEngine
from tests.runtime.tiny import computed

Handler = Callable[[Arrays], Arrays]


def scaled(**factors: float) -> Handler:
    """All is computed, and an output comes out times a factor."""

    def handler(inputs: Arrays) -> Arrays:
        found = computed(inputs)
        return {
            name: (value * np.float32(factors.get(name, 1.0))).astype(np.float32)
            for name, value in found.items()
        }

    return handler


def all_zero(inputs: Arrays) -> Arrays:
    return {name: np.zeros_like(value) for name, value in computed(inputs).items()}


def constant_score(score: float) -> Handler:
    def handler(inputs: Arrays) -> Arrays:
        return {**computed(inputs), "pred_score": np.array([score], np.float32)}

    return handler


def without(name: str) -> Handler:
    def handler(inputs: Arrays) -> Arrays:
        return {key: value for key, value in computed(inputs).items() if key != name}

    return handler


def reshaped(name: str, *shape: int) -> Handler:
    def handler(inputs: Arrays) -> Arrays:
        found = computed(inputs)
        return {**found, name: np.resize(found[name], shape)}

    return handler


def raising(error: Exception) -> Handler:
    def handler(_: Arrays) -> Arrays:
        raise error

    return handler


def hanging(inputs: Arrays) -> Arrays:
    """Comes back long after anybody waits."""
    threading.Event().wait(20.0)
    return computed(inputs)


class Stuck:
    """Computes the first picture and says the same of all others."""

    def __init__(self) -> None:
        self.said: Arrays | None = None

    def __call__(self, inputs: Arrays) -> Arrays:
        self.said = self.said or computed(inputs)
        return {name: value.copy() for name, value in self.said.items()}


class Opened:
    """Takes the place of ``open_engine``: the n-th engine runs the n-th handler, the last for ever.

    A handler may be an exception, which is then raised in the place of opening.
    """

    def __init__(self, *handlers: Handler | Exception) -> None:
        self.handlers, self.count = handlers, 0

    def __call__(self, *_: object) -> FakeEngine:
        handler = self.handlers[min(self.count, len(self.handlers) - 1)]
        self.count += 1
        if isinstance(handler, Exception):
            raise handler
        return FakeEngine(handler)


def opens(monkeypatch: pytest.MonkeyPatch, *handlers: Handler | Exception) -> Opened:
    """Engines that inspectors will open by name."""
    opened = Opened(*handlers)
    monkeypatch.setattr("runtime.inspector.open_engine", opened)
    return opened


class After:
    """Works for so many pictures, then goes wrong."""

    def __init__(self, good: int, then: Handler) -> None:
        self.good, self.then, self.count = good, then, 0

    def __call__(self, inputs: Arrays) -> Arrays:
        self.count += 1
        return computed(inputs) if self.count <= self.good else self.then(inputs)


def pictures(folder: Path, count: int, strength: int = 100) -> list[Path]:
    """Files of parts, anomalous from a strength of 70 or so on."""
    import cv2

    from tests.runtime.tiny import random_image

    folder.mkdir(exist_ok=True)
    paths = [folder / f"{index:02d}.png" for index in range(count)]
    for index, path in enumerate(paths):
        assert cv2.imwrite(str(path), random_image(50 + index, strength)[:, :, ::-1])
    return paths
