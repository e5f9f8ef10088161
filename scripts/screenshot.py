"""Draw docs/images/page.png and report.png in headless Chromium, from ``make demo CATEGORY=all``.

python -m scripts.screenshot [--demo demo] [--out docs/images]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from edge_app.serving import serving
from tests.cli import lineside
from tests.edge_app.browser import chromium, find, wait_until


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    draw_page(options.demo, options.out / "page.png")
    draw_report(options.demo, options.out / "report.png")


def draw_page(demo: Path, out: Path) -> None:
    """The operator's page: start it, wait for the first verdict, save the picture."""
    bundles = sorted((demo / "bundles").glob("*-patchcore"), reverse=True)
    page = serving(bundles, str(demo / "neighbours"), samples=demo / "parts", port=0)
    with page as url, tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as window:
        window.get(url)
        wait_until(window, lambda: len(find(window, ".ls-card")) == 5)
        time.sleep(2)  # Gradio fades its blocks in.
        window.save_screenshot(str(out))


def draw_report(demo: Path, out: Path) -> None:
    """The report of both models on tile: its first screen, and its chapter on neighbours below."""
    bundles = sorted((demo / "bundles").glob("tile-*"), reverse=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.html")
        done = lineside("report", *bundles, "--data", demo / "parts", "--out", report)
        if done.returncode:
            raise SystemExit(done.stderr)
        with chromium(Path(folder)) as window:
            window.set_window_size(1000, 1500)
            window.get(report.as_uri())
            window.save_screenshot(str(out))


if __name__ == "__main__":
    main()
