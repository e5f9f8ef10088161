"""Cold start and peak memory, measured where they are what they are: in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from runtime.errors import EngineError

# One picture in a fresh interpreter; the moment of the first verdict and the peak memory go to
# stdout.
_COLD_START = """
import json, sys, time
from pathlib import Path
from runtime.inspector import Inspector
options = json.loads(sys.argv[2])
inspector = Inspector(Path(sys.argv[1]), **options)
inspector.inspect(Path(sys.argv[3]), strict=True)
at = time.time()
from runtime.bench.start import peak_rss_mib
print(json.dumps({"at": at, "peak_rss_mib": peak_rss_mib()}))
"""


def measure_cold_start(
    bundle: Path, picture: Path, options: Mapping[str, object]
) -> tuple[float, float]:
    """Start a fresh interpreter, inspect one picture, stop.

    Args:
        bundle: the bundle's folder or archive.
        picture: file to inspect.
        options: keyword arguments of :class:`runtime.inspector.Inspector`, as plain JSON.

    Returns:
        Milliseconds from process start to the first verdict, and the process's peak memory in MiB.

    Raises:
        EngineError: the process failed.
    """
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-P", "-c", _COLD_START, str(bundle), json.dumps(options), str(picture)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineError(
            f"cold start: expected a verdict from a fresh process, found: {reason}; run lineside "
            "verify"
        )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return (float(found["at"]) - started) * 1000.0, float(found["peak_rss_mib"])


def peak_rss_mib() -> float:
    """Peak resident memory of this process in MiB; NaN where the platform does not say.

    getrusage would report the parent's peak where that was larger, since the kernel carries it over
    exec.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return float("nan")
    peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return float(peak[0]) / 1024.0 if peak else float("nan")
