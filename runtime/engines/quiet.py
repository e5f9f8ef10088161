"""OpenVINO without its reporter: import ``ov`` and ``opset13`` from here.

As soon as it is imported, OpenVINO tells its makers over the network, from a process of its own
that complains on stderr where there is none; NNCF does so too. A box beside a line does not talk to
strangers. Without the package that does the talking both use silent stand-ins of their own.
"""

from __future__ import annotations

from runtime.engines.reporters import silence_reporters

silence_reporters()

import openvino as ov  # noqa: E402  after the line above
from openvino import opset13  # noqa: E402

__all__ = ["opset13", "ov"]
