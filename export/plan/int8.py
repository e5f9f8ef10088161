"""An INT8 variant for a candidate, made by the command that makes it for everyone: the two packages meet in the bundle alone."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from calibration.threshold_rules import MAX_FALSE_REJECTS
from export.data.photographs import Photographs

log = logging.getLogger("lineside")


def add_int8(bundle: Path, photographs: Photographs) -> None:
    """Run ``lineside calibrate --int8``; where the variant is refused, say so and leave the bundle as it is.

    Args:
        bundle: folder of a candidate.
        photographs: what it learnt from, which sets ranges and bank, and what was held out, which
            judges.
    """
    with tempfile.TemporaryDirectory(prefix="lineside-plan-good-") as name:
        for index, path in enumerate((*photographs.train, *photographs.held_out)):
            shutil.copyfile(path, Path(name) / f"{index:06d}{path.suffix}")
        command = [
            sys.executable,
            "-P",
            "-m",
            "lineside",
            "calibrate",
            str(bundle),
            "--good",
            name,
            "--int8",
            "--precision",
            "int8",
            "--max-false-rejects",
            str(MAX_FALSE_REJECTS),
            "--on-average",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.strip()]
        log.info(f"left out: INT8: {told[-1] if told else f'exit code {done.returncode}'}")
