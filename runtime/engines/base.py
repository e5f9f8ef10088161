"""What an engine is."""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[np.generic]]


class Engine(Protocol):
    """A compiled graph. Results never share memory with the engine: they survive the next call. Safe under threads."""

    @property
    def description(self) -> dict[str, Any]:
        """Engine, device and library version, as plain JSON."""

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once.

        Args:
            inputs: arrays by input name.

        Returns:
            Arrays by output name; each is the caller's own copy.
        """

    def close(self) -> None:
        """Release the compiled model."""


def available_cores() -> int:
    """CPU cores that this process may use: a container's share, not the machine's."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not on this platform
        return os.cpu_count() or 1
