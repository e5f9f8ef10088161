"""Draw docs/images/page.png: the operator's page on what ``make demo CATEGORY=all`` made, in headless Chromium.

python -m scripts.screenshot [--demo demo] [--out docs/images/page.png]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.edge_app.browser import chromium, find, wait_until


def main() -> None:
    """Start the page, wait for the first verdict, save the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/page.png"))
    options = parser.parse_args()
    bundles = sorted(map(str, (options.demo / "bundles").glob("*-patchcore")), reverse=True)
    command = [
        sys.executable, "-m", "runtime.cli", "app", *bundles, "--store", str(options.demo / "neighbours"),
        "--samples", str(options.demo / "parts"), "--port", "0",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as window:
            window.get(url)
            wait_until(window, lambda: len(find(window, ".ls-card")) == 5)
            time.sleep(2)  # Gradio fades its blocks in.
            options.out.parent.mkdir(parents=True, exist_ok=True)
            window.save_screenshot(str(options.out))
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
