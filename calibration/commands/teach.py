"""``lineside teach``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.options import first_threshold_option, json_option

if TYPE_CHECKING:
    from calibration.learning.copies import Augment
    from calibration.teaching.feedback import Grown
    from calibration.teaching.teach import Taught


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--good",
    type=click.Path(path_type=Path),
    help="Folder of pictures of good parts; 20 or more make a useful model.",
)
@click.option(
    "--from-feedback",
    "store",
    metavar="STORE",
    help="Go on learning BUNDLE's own part from what operators have said: the folder of a "
    "station's records.",
)
@click.option(
    "--add",
    is_flag=True,
    help="With --good: pictures of BUNDLE's own part, which it learns beside what it knows.",
)
@click.option(
    "--records",
    metavar="STORE",
    help="With --add: the folder of a station's records, on which the new bundle is tried.",
)
@click.option("--out", type=click.Path(path_type=Path), help="New bundle folder to write.")
@click.option("--name", metavar="PART", help="Name of the new part, with --good.")
@first_threshold_option
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option(
    "--augment",
    type=click.Choice(["none", "rotate", "flip"]),
    help="With --good: copies of each part to learn too, see lineside train.  [default: as BUNDLE]",
)
@click.option(
    "--look",
    is_flag=True,
    help="With --good: say how new each picture is and which are suspects, write nothing. With "
    "--add, too: against what BUNDLE knows.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="With --from-feedback or --add: say what would change, write nothing.",
)
@json_option
def command(
    bundle: Path,
    good: Path | None,
    store: str | None,
    add: bool,
    records: str | None,
    out: Path | None,
    name: str | None,
    max_false_rejects: float,
    seed: int,
    augment: Augment | None,
    look: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a bundle of a new part on the box, from a PatchCore bundle and good pictures.

    BUNDLE is any PatchCore bundle: its network describes the new part, and its size of pictures and
    settings are kept. It stays as it is. No torch is needed, and no internet: see docs/teach.md.

    With --from-feedback it goes on learning its own part: from false alarms that operators have
    overruled, and from good parts that they have confirmed. Parts that they have called defective
    are never learned; nothing is written where one of them would pass that was found before, unless
    a lower threshold finds it at no cost. With --good and --add it learns more pictures of its own
    part, for instance as the line sees them after its light has changed, and --records tries it on
    what the line has recorded.

    \b
    Example:
      lineside teach tile-patchcore --good photographs/good --out screw-patchcore --name screw
      lineside teach screw-patchcore --from-feedback neighbours --out screw-2 --dry-run
      lineside teach screw-patchcore --good today --add --records neighbours --out screw-3
    """
    from runtime.console import emit_json

    if (good is None) == (store is None):
        raise click.UsageError("give either --good DIR or --from-feedback STORE")
    if augment is not None and (add or store is not None):
        raise click.UsageError(
            "--augment goes with --good DIR alone: a bundle goes on learning as it has begun"
        )
    if look and good is not None:
        _look(bundle, good, seed, add=add, as_json=as_json)
        return
    if out is None and not dry_run:
        raise click.UsageError("--out: expected a new folder, found none")
    if (add and good is None) or (records and not add):
        raise click.UsageError("--add goes with --good DIR, and --records STORE with --add")
    if store is not None or add:
        from calibration.teaching.feedback import teach_from_feedback

        place = None if dry_run else out
        grown = teach_from_feedback(
            bundle,
            records if add else store,
            place,
            good=good,
            seed=seed,
            max_false_rejects=max_false_rejects,
        )
        if as_json:
            emit_json({"path": place and str(place), **grown.to_json()})
        _tell_grown(grown, place, as_json=as_json)
        return
    from calibration.teaching.teach import teach

    if dry_run or good is None or out is None or name is None:
        raise click.UsageError("--good goes with --out NEW and --name PART, and without --dry-run")
    found = teach(
        bundle, good, out, name, augment=augment, seed=seed, max_false_rejects=max_false_rejects
    )
    if as_json:
        emit_json({"path": str(out), **found.to_json()})
    _tell(found, out, max_false_rejects)


def _look(bundle: Path, good: Path, seed: int, *, add: bool, as_json: bool) -> None:
    from calibration.teaching.looking import look_at
    from runtime.console import emit_json, figure, printable, say

    found = look_at(bundle, good, add=add, seed=seed)
    if as_json:
        emit_json(found.to_json())
        return
    for one in found.pictures:
        mark = "  SUSPECT: look at it" if one.suspect else ""
        click.echo(f"{figure(one.novelty, 2):>6}  {printable(one.name)}{mark}")
    for name in found.skipped:
        say(f"cannot be read: {printable(name)}")
    if found.repeated:
        say(f"{len(found.repeated)} exact repeats, each of which counts once")
    if found.gain is not None:
        say(
            f"twice as many pictures bring each {100 * found.gain:.0f} % nearer to the others"
            + (": new ones teach hardly anything any more" if found.enough else "")
        )


def _tell(found: Taught, out: Path, max_false_rejects: float) -> None:
    from calibration.learning.made_up import METRIC, PICTURE_FILE, tell_what_to_expect
    from runtime.console import say

    if found.photographs.skipped:
        say(f"{len(found.photographs.skipped)} pictures could not be read and were skipped")
    picture = out / PICTURE_FILE
    tell_what_to_expect(
        found.manifest.metrics.get(METRIC, {}),
        max_false_rejects,
        len(found.photographs.train),
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


def _tell_grown(grown: Grown, out: Path | None, *, as_json: bool) -> None:
    from runtime.console import say

    trial = grown.trial
    rows = [
        ("", "parts", "now", "new"),
        ("good by a word: stopped", trial.good, trial.rejected_before, trial.rejected_after),
        ("defective by a word: found", trial.defective, trial.found_before, trial.found_after),
        ("without a word: stopped", trial.unsaid, trial.flagged_before, trial.flagged_after),
    ]
    if not as_json:
        for what, *figures in rows:
            click.echo(f"{what:28}" + "".join(f"{one:>7}" for one in figures))
    say(
        f"verdicts that change: {trial.to_good} to good, {trial.to_anomalous} to anomalous; parts "
        "that are learned are judged without their own patches"
    )
    if grown.unseen or grown.known:
        say(
            f"left aside: {grown.unseen} parts whose picture is gone or cannot be read, "
            f"{grown.known} that the bundle has learned already"
        )
    say(
        f"{len(grown.taken)} parts taken in, {grown.prototypes} prototypes "
        f"({grown.prototypes_before} before, {grown.left} of them left); threshold "
        f"{grown.threshold.image_threshold:.4g} (before {grown.threshold_before:.4g}): "
        f"{grown.threshold.note}"
    )
    say("nothing was written" if out is None else f"bundle written: {out}")
