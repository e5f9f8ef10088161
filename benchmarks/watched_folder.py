"""How many files of a watched folder are judged that live for a moment only.

``python -m benchmarks.watched_folder [--looks] [--files 60]``. A file is written, and after its
life removed, or moved on, before the next one comes. With ``--looks`` the folder is looked at, and
the system's events are left aside, as on a share.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from runtime.errors import ImageError
from runtime.images.preprocess import decoded
from runtime.sources import arrivals, filling


def seen(life_s: float, files: int, *, move: bool) -> tuple[int, float]:
    """How many of the files could be read, and the processor's seconds a minute for all of it."""
    generator = np.random.default_rng(0)
    stop, read = threading.Event(), set[str]()
    with tempfile.TemporaryDirectory() as root:
        incoming = Path(root) / "incoming"
        incoming.mkdir()

        def watch() -> None:
            for part in arrivals(str(incoming), stop):
                try:
                    decoded(part.checked())
                    read.add(part.name)
                except ImageError:
                    continue

        thread = threading.Thread(target=watch)
        thread.start()
        time.sleep(0.5)
        work, start = sum(os.times()[:2]), time.monotonic()
        for number in range(files):
            noise = generator.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            path = incoming / f"{number:04}.png"
            path.write_bytes(cv2.imencode(".png", noise)[1].tobytes())
            time.sleep(life_s)
            path.rename(Path(root) / path.name) if move else path.unlink()
        time.sleep(1.0)
        spent, took = sum(os.times()[:2]) - work, time.monotonic() - start
        stop.set()
        thread.join()
    return len(read), 60 * spent / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--looks", action="store_true")
    parser.add_argument("--files", type=int, default=60)
    arguments = parser.parse_args()
    absent = mock.patch.object(filling, "FolderEvents", side_effect=OSError)
    if arguments.looks:
        absent.start()
    for life_s in (0.3, 0.1):
        for move in (False, True):
            found, spent = seen(life_s, arguments.files, move=move)
            how = "moved on" if move else "removed"
            print(
                f"{how:8} after {life_s} s: {found} of {arguments.files} read; "
                f"{spent:.2f} s of processor time a minute"
            )


if __name__ == "__main__":
    main()
