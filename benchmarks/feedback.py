"""A bundle that goes on learning from an operator's words, beside the same one that does not.

    python -m benchmarks.feedback BASE --data ROOT [--first 200] [--rounds 4] > feedback.json
    python -m benchmarks.feedback --draw feedback.json docs/images/feedback.png

BASE, a PatchCore bundle of any part, is taught the first good parts. The other ones arrive in
rounds, with half of the defective parts among them. An operator says of every flagged part whether
that was right; of parts that pass nobody says anything. After each round the bundle learns from the
words, and the next round is judged by what came of it. The other half of the defective parts and
the good test parts arrive never: on them both are measured after each round.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from calibration.metrics import image_auroc
from calibration.teaching.feedback import teach_from_feedback
from calibration.teaching.teach import teach
from edge_app.fingerprint import bundle_fingerprint
from edge_app.indexing import make_point
from edge_app.records import Database, PartRecords
from edge_app.store.schema import checked_point
from runtime.errors import EngineError, TrainingError
from runtime.images.dataset import Part, load_category
from runtime.images.preprocess import decode_rgb
from runtime.inspector import Inspector
from runtime.progress import track

# Machines that simulate may have other work.
PATIENCE_S = 300.0
Result = TypeVar("Result")


@click.command(help=__doc__)
@click.argument("base", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--data", type=click.Path(path_type=Path, exists=True))
@click.option("--category", help="Below --data.")
@click.option("--first", default=200, show_default=True, help="Good parts learned first.")
@click.option("--rounds", default=4, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--draw", type=click.Path(path_type=Path), nargs=2, help="JSON of a run, and a PNG.")
def main(
    base: Path | None,
    data: Path | None,
    category: str | None,
    first: int,
    rounds: int,
    seed: int,
    draw: tuple[Path, Path] | None,
) -> None:
    """One JSON object."""
    if draw is not None:
        drawn(json.loads(draw[0].read_text()), draw[1])
        return
    if base is None or data is None:
        raise click.UsageError("give BASE and --data, or --draw JSON PNG")
    click.echo(json.dumps(simulated(base, data, category, first, rounds, seed)))


def simulated(
    base: Path, data: Path, category: str | None, first: int, rounds: int, seed: int
) -> dict[str, Any]:
    """The whole story."""
    parts = load_category(data, category)
    rng = np.random.default_rng(seed)
    good = [parts.train_good[place] for place in rng.permutation(len(parts.train_good))]
    bad = [one for one in parts.test if one.is_anomalous]
    bad = [bad[place] for place in rng.permutation(len(bad))]
    arriving, kept = bad[: len(bad) // 2], bad[len(bad) // 2 :]
    test = [*kept, *(one for one in parts.test if not one.is_anomalous)]
    stream: list[Part] = [*(Part(path, "good") for path in good[first:]), *arriving]
    stream = [stream[place] for place in rng.permutation(len(stream))]
    found: dict[str, Any] = {"data": parts.name, "first": first, "seed": seed, "rounds": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "good").mkdir()
        for number, path in enumerate(good[:first]):
            (folder / "good" / f"{number:04}{path.suffix}").symlink_to(path.absolute())
        alone = now = folder / "version-0"
        patiently(lambda: teach(base, folder / "good", alone, parts.name))
        start = measured(now, test)
        found["start"] = start
        size = -(-len(stream) // rounds)
        for number in range(rounds):
            some = stream[number * size : (number + 1) * size]
            without = judged(alone, some)
            with_words = judged(now, some, folder / "store")
            said: dict[str, Any] = {"parts": len(some)}
            new = folder / f"version-{number + 1}"
            try:
                before = now
                grown = patiently(
                    lambda: teach_from_feedback(before, str(folder / "store"), new)  # noqa: B023
                )
                said["taught"] = grown.to_json()
                now = new
            except TrainingError as error:
                said["refused"] = str(error)
            said["arriving"] = {"with": with_words, "without": without}
            said["test"] = {"with": measured(now, test) if now == new else None, "without": start}
            if now != new:
                said["test"]["with"] = found["rounds"][-1]["test"]["with"] if number else start
            found["rounds"].append(said)
            click.echo(json.dumps(said), err=True)
    return found


def patiently(work: Callable[[], Result]) -> Result:
    """Again where the machine was so busy that an inference took longer than it may."""
    for _ in range(5):
        try:
            return work()
        except EngineError as error:
            click.echo(f"again: {error}", err=True)
    return work()


def judged(bundle: Path, parts: Sequence[Part], store: Path | None = None) -> dict[str, Any]:
    """Verdicts on parts as they arrive, recorded with an operator's words where there is a store.

    Returns:
        parts of either kind, and which of them were judged wrongly.
    """
    flags: list[bool] = []
    database = None if store is None else Database(store, durable=False)
    with Inspector(bundle, deadline_s=PATIENCE_S) as inspector:
        fingerprint = bundle_fingerprint(inspector.bundle)
        length = inspector.bundle.manifest.outputs.embedding_length
        records = None if database is None else PartRecords(database, fingerprint, length)
        for part in track(parts, "arriving"):
            content = part.path.read_bytes()
            shown = decode_rgb(content)
            prediction = inspector.inspect(shown, strict=True)
            flagged = prediction.pred_score > prediction.threshold.image_threshold
            flags.append(flagged)
            if records is None:
                continue
            point = make_point(
                prediction, content, shown, bundle=fingerprint, category="", path=part.path
            )
            if flagged:
                word = "right" if part.is_anomalous else "wrong"
                point = replace(point, confirmed=word, confirmed_at=point.time)
            records.merge([checked_point(point, fingerprint, length)])
    if database is not None:
        database.close()
    return counted(flags, [one.is_anomalous for one in parts])


def measured(bundle: Path, parts: Sequence[Part]) -> dict[str, Any]:
    """A bundle on parts that never arrive."""
    with Inspector(bundle, deadline_s=PATIENCE_S) as inspector:
        found = [inspector.inspect(part.path, strict=True) for part in track(parts, "test parts")]
        threshold = inspector.threshold.image_threshold
    bad = [one.is_anomalous for one in parts]
    scores = np.array([one.pred_score for one in found])
    return {
        **counted([bool(score > threshold) for score in scores], bad),
        "image_auroc": image_auroc(np.array(bad), scores),
        "threshold": threshold,
    }


def counted(flags: Sequence[bool], bad: Sequence[bool]) -> dict[str, int]:
    """How many of either kind there are, and how many of them were judged wrongly."""
    flagged, is_bad = np.array(flags, np.bool_), np.array(bad, np.bool_)
    return {
        "good": int((~is_bad).sum()),
        "false_rejects": int((flagged & ~is_bad).sum()),
        "bad": int(is_bad.sum()),
        "misses": int((~flagged & is_bad).sum()),
    }


def drawn(found: dict[str, Any], out: Path) -> None:
    """False rejects and misses over the rounds."""
    from scripts.figures import style

    style.apply()
    figure = style.figure(3.4)
    rounds = range(len(found["rounds"]) + 1)
    sides = (("false_rejects", "good", "good test parts stopped"), ("misses", "bad", "bad passed"))
    for axes, (what, of, title) in zip(figure.subplots(1, 2), sides, strict=True):
        for name, color, label in (
            ("without", style.NEUTRAL, "as taught first"),
            ("with", style.ACCENT, "with an operator's words"),
        ):
            steps = [found["start"], *(one["test"][name] for one in found["rounds"])]
            shares = [100 * one[what] / one[of] for one in steps]
            axes.plot(rounds, shares, marker="o", color=color, lw=2, label=label)
        axes.set(title=f"{title}, %", xlabel="round", ylim=(0, None))
        axes.legend(fontsize=8.5, loc="best")
    style.save(figure, out)


if __name__ == "__main__":
    main()
