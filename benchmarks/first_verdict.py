"""From the drop of a picture to its verdict on the screen ``/inspect``, in Chromium.

    python -m benchmarks.first_verdict tile-patchcore

The server is a process of its own, ``lineside app``; the browser shares the processor with it. A
round is a JPEG of 512 x 512 pixels that the screen has not seen. The time ends with the frame that
shows the verdict: judged and recorded. The first round is told apart, for nothing is warm there but
the engine.
"""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

import click
import numpy as np

from benchmarks.http import part, served
from tests.edge_app.browser import chromium, find, wait_until

_DROP = """
const [content, name, done] = arguments, data = new DataTransfer();
const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
data.items.add(new File([bytes], name));
const banner = document.querySelector("#banner"), begin = performance.now();
new MutationObserver((_, watch) => {
  if (banner.dataset.verdict === "none") return;
  if (!document.querySelector("#part").textContent.includes(name)) return;
  watch.disconnect();
  requestAnimationFrame(() => done(performance.now() - begin));
}).observe(banner, { subtree: true, childList: true, attributes: true });
const how = { dataTransfer: data, bubbles: true, cancelable: true };
document.body.dispatchEvent(new DragEvent("drop", how));
"""


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--rounds", default=20, show_default=True)
def main(bundle: Path, rounds: int) -> None:
    """Measure and print milliseconds."""
    with (
        served(bundle) as (url, _),
        tempfile.TemporaryDirectory() as profile,
        chromium(Path(profile)) as window,
    ):
        window.get(f"{url}inspect")
        wait_until(window, lambda: find(window, "#bundle option"))
        wait_until(window, lambda: find(window, "#word")[0].text)
        times = [
            float(
                window.execute_async_script(
                    _DROP, base64.b64encode(part(seed)).decode(), f"{seed}.jpg"
                )
            )
            for seed in range(rounds + 1)
        ]
    first, rest = times[0], np.array(times[1:])
    low, middle, high = np.percentile(rest, [0, 50, 95])
    said = f"least {low:.0f}, median {middle:.0f}, 95 % {high:.0f} ms"
    click.echo(f"first {first:.0f} ms; then {rounds}: {said}")


if __name__ == "__main__":
    main()
