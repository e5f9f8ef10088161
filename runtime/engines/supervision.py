"""An engine under supervision: every failure is told, bounded in time, and mended where it can be.

A failed engine judges nothing. Before the next part it is opened again, after growing pauses and a
bounded number of times, and must judge a golden picture as it should before it is believed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from runtime.engines.base import Arrays, Engine
from runtime.engines.canary import Canary
from runtime.engines.outputs import INPUT, Shape, check_model, raw_outputs
from runtime.engines.watchdog import Watchdog
from runtime.errors import EngineError, sentence
from runtime.prediction import RawOutputs
from runtime.types import UInt8Image

log = logging.getLogger("lineside")

# How long one inference may take unless somebody says otherwise.
DEADLINE_S = 10.0
# Compiling for a device may take minutes.
OPENING_S = 300.0
_FIRST_S = 60.0
# Before each attempt to open a failed engine again.
PAUSES_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 60.0, 60.0, 60.0)
# So many parts without a failure, and the attempts are counted anew.
STEADY_PARTS = 100


class Supervisor:
    """Runs an engine that may fail, hang, or compute something else than it should.

    Args:
        engine: open.
        expected: shapes of inputs and outputs, from :func:`runtime.engines.outputs.shapes_of`.
        canary: the golden pictures, or None where nothing is known of them.
        reopen: opens the engine anew; None for one that can only be tried again as it is.
        deadline_s: seconds that one inference may take.

    Raises:
        EngineError: the engine's model is not the manifest's.
    """

    def __init__(
        self,
        engine: Engine,
        expected: dict[str, Shape],
        canary: Canary | None = None,
        reopen: Callable[[], Engine] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        check_model(engine, expected)
        self._engine, self._expected = engine, expected
        self._canary, self._reopen = canary, reopen
        self._deadline_s = deadline_s
        self._watchdog = Watchdog()
        self._lock = threading.Lock()
        self._problem = ""
        self._attempts = 0
        self._steady = 0
        self._next_at = 0.0
        # Elsewhere than on a CPU the first inference compiles the rest.
        self._ready = reopen is None or str(engine.description.get("device")) == "CPU"
        self._attempt: threading.Event | None = None
        self._closed = False

    @property
    def description(self) -> dict[str, Any]:
        """Of the engine, see :class:`runtime.engines.base.Engine`."""
        return self._engine.description

    def infer(self, image_rgb: UInt8Image) -> RawOutputs:
        """Run the engine once, after the canary where that is due.

        Args:
            image_rgb: uint8 (H, W, 3), RGB, at the model's size.

        Raises:
            EngineError: it failed, hung, said nonsense or is not open; in one plain sentence.
        """
        engine = self._recovered() if self._problem else self._engine
        try:
            if self._canary is not None and self._canary.is_due():
                self._canary.check(partial(self._once, engine))
            found = self._once(engine, image_rgb)
        except Exception as error:
            raise self._failed(engine, error) from error
        self._steady += 1
        if self._attempts and self._steady >= STEADY_PARTS:
            self._attempts = 0
        return found

    def suspect(self) -> None:
        """Check the engine before the next part: it has said something that is hard to believe."""
        if self._canary is not None:
            self._canary.suspect()

    def close(self) -> None:
        """Release the engine; one that hangs is left behind."""
        with self._lock:
            self._closed = True
        self._let_go(self._engine)
        self._watchdog.close()

    def _once(self, engine: Engine, image_rgb: UInt8Image) -> RawOutputs:
        seconds = self._deadline_s if self._ready else max(self._deadline_s, _FIRST_S)
        inputs: Arrays = {INPUT: np.ascontiguousarray(image_rgb)[None]}
        found = raw_outputs(
            self._watchdog.call(partial(engine.run, inputs), seconds), self._expected
        )
        self._ready = True
        return found

    def _failed(self, engine: Engine, error: Exception) -> EngineError:
        with self._lock:
            # Another thread may have opened it again meanwhile.
            if engine is self._engine and not self._problem:
                self._problem = sentence(error)
                self._steady = 0
                self._next_at = time.monotonic() + self._pause()
                log.warning(f"warning: the engine failed: {self._problem}; no part is judged")
        return EngineError(f"the engine failed: {sentence(error)}")

    def _recovered(self) -> Engine:
        """The engine after another attempt, which no part waits for longer than for an inference.

        Raises:
            EngineError: it is not time yet, the attempt failed or lasts, or there were too many.
        """
        with self._lock:
            if not self._problem:
                return self._engine
            down = f"the engine failed: {self._problem}"
            if self._attempt is None:
                self._refuse_another(down)
                self._attempts += 1
                self._attempt = threading.Event()
                threading.Thread(
                    target=self._try, args=(self._attempt,), name="lineside-reopen", daemon=True
                ).start()
            attempt = self._attempt
        attempt.wait(self._deadline_s)
        with self._lock:
            if not self._problem:
                return self._engine
            if self._attempt is attempt:
                raise EngineError(f"{down}; it is being opened again")
            raise EngineError(f"the engine failed and could not be opened again: {self._problem}")

    def _refuse_another(self, down: str) -> None:
        if self._attempts >= len(PAUSES_S):
            raise EngineError(
                f"{down}; it was opened again {self._attempts} times in vain: check the device, "
                "then start Lineside again"
            )
        wait = self._next_at - time.monotonic()
        if wait > 0:
            raise EngineError(f"{down}; it is opened again in {wait:.0f} s")

    def _try(self, attempt: threading.Event) -> None:
        problem, engine = "", self._engine
        try:
            engine = self._opened_again(engine)
        except Exception as error:
            problem = sentence(error)
        with self._lock:
            self._engine, self._problem = engine, problem
            self._next_at = time.monotonic() + self._pause()
            self._attempt = None
            closed = self._closed
        if not problem:
            log.info("the engine was opened again; parts are judged again")
        attempt.set()
        if closed:
            self._let_go(engine)

    def _opened_again(self, engine: Engine) -> Engine:
        if self._reopen is not None:
            self._let_go(engine)
            engine = self._watchdog.call(self._reopen, OPENING_S)
            self._ready = str(engine.description.get("device")) == "CPU"
            check_model(engine, self._expected)
        if self._canary is not None:
            self._canary.check(partial(self._once, engine))
        return engine

    def _let_go(self, engine: Engine) -> None:
        try:
            self._watchdog.call(engine.close, self._deadline_s)
        except Exception as error:
            log.debug(f"the engine could not be closed: {sentence(error)}")

    def _pause(self) -> float:
        return PAUSES_S[min(self._attempts, len(PAUSES_S) - 1)]
