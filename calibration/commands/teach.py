"""``lineside teach``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.options import first_threshold_option, json_option

if TYPE_CHECKING:
    from calibration.teaching.teach import Taught


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--good",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of pictures of good parts; 20 or more make a useful model.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="New bundle folder to write."
)
@click.option("--name", required=True, metavar="PART", help="Name of the part.")
@first_threshold_option
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@json_option
def command(
    bundle: Path,
    good: Path,
    out: Path,
    name: str,
    max_false_rejects: float,
    seed: int,
    as_json: bool,
) -> None:
    """Make a bundle of a new part on the box, from a PatchCore bundle and good pictures.

    BUNDLE is any PatchCore bundle: its network describes the new part, and its size of pictures and
    settings are kept. It stays as it is. No torch is needed, and no internet: see docs/teach.md.

    \b
    Example:
      lineside teach tile-patchcore --good photographs/good --out screw-patchcore --name screw
    """
    from calibration.teaching.teach import teach
    from runtime.console import emit_json

    found = teach(bundle, good, out, name, seed=seed, max_false_rejects=max_false_rejects)
    if as_json:
        emit_json({"path": str(out), **found.to_json()})
    _tell(found, out, max_false_rejects)


def _tell(found: Taught, out: Path, max_false_rejects: float) -> None:
    from calibration.learning.made_up import METRIC, PICTURE_FILE, tell_what_to_expect
    from runtime.console import say

    if found.photographs.skipped:
        say(f"{len(found.photographs.skipped)} pictures could not be read and were skipped")
    picture = out / PICTURE_FILE
    tell_what_to_expect(
        found.manifest.metrics.get(METRIC, {}),
        max_false_rejects,
        picture if picture.is_file() else None,
    )
    for key, parity in found.manifest.certificate["variants"].items():
        say(
            f"certificate {key}: max score difference {parity['max_score_difference']:.1e} of the "
            f"range, {parity['verdict_flips']} verdict flips on {parity['images']} images"
        )
    say(
        f"taught {len(found.photographs.train)} good parts in {found.seconds:.0f} s, "
        f"{found.prototypes} prototypes; threshold {found.threshold.image_threshold:.4g}: "
        f"{found.threshold.note}"
    )
    say(f"bundle written: {out}")
    say(f"next: lineside inspect {out} PICTURES…")
