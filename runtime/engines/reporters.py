"""Keeps libraries from reporting their use over the network, see :mod:`runtime.engines.quiet`."""

from __future__ import annotations

import sys


def silence_reporters() -> None:
    """Call it before OpenVINO, NNCF or anomalib is imported."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
