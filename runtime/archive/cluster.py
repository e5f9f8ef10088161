"""Ray, as every command that shares its work out uses it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runtime.errors import EngineError, require_extra, sentence

LOCAL = "local"
# Of Ray's own store, through which results pass; its default is a third of the memory.
_STORE_BYTES = 256 << 20


@contextmanager
def connected(address: str, cpus: int) -> Iterator[Any]:
    """Ray, started here for ``local``, and left as it was found afterwards.

    Args:
        address: ``local``, ``auto`` or HOST:PORT.
        cpus: of a Ray that is started here; 0 for all of this machine.

    Yields:
        The module.

    Raises:
        EngineError: there is no such cluster.
        MissingExtraError: Ray is not installed.
    """
    require_extra("ray", "ray")
    # Ray tells its makers what it is used for, unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    started: dict[str, Any] = {"address": address}
    if address == LOCAL:
        started |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
        started |= {"num_cpus": cpus} if cpus else {}
    try:
        ray.init(**started, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:
        raise EngineError(
            f"{address}: expected a Ray cluster, found none that answers ({sentence(error)}); "
            "start one with: ray start --head, or use --ray local"
        ) from error
    try:
        # Ray's own would end this process without closing anything.
        for one, handler in handlers.items():
            signal.signal(one, handler)
        yield ray
    finally:
        ray.shutdown()
