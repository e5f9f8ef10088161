"""Camera health on photographs: what is refused, how soon a change is noticed, false alarms.

    python benchmarks/drift.py BUNDLE --data ROOT --category NAME

Pictures that training has not seen (``test``) are photographed anew in software: blurred, dimmed,
tinted, with dirt on the lens, shifted, of another batch. Each changed picture goes through the
Inspector once. Streams of parts are then drawn from these with replacement: unchanged ones first,
changed ones after them. The delay is counted in changed parts until the alarm. For false alarms the
good photographs are the baseline and the stream at once, so nothing has changed by construction;
"as calibrated" keeps the bundle's own baseline, so whatever differs between its photographs and
these counts.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from calibration.evaluation import find_category
from runtime.errors import LinesideError
from runtime.health.baseline import Health
from runtime.health.drift import DriftMonitor
from runtime.images.preprocess import decode_rgb
from runtime.inspector import Inspector
from runtime.progress import track

Picture = npt.NDArray[np.uint8]
Change = Callable[[Picture], Picture]
AGEING_STEPS = 8


@dataclass(frozen=True)
class Seen:
    """What the drift test is told of a part, and why it could not be judged."""

    statistics: dict[str, float]
    score: float
    reason: str


def scaled(factor: float) -> Change:
    return lambda picture: (
        np.clip(picture.astype(np.float32) * factor, 0, 255).round().astype(np.uint8)
    )


def blurred(sigma: float) -> Change:
    """``sigma`` in pixels of a picture that is 256 pixels wide."""
    return lambda picture: cv2.GaussianBlur(
        picture, (0, 0), sigma * picture.shape[1] / 256, sigmaY=sigma * picture.shape[0] / 256
    )


def tinted(red: float) -> Change:
    gains = np.array([1 + red, 1, 1 - red], np.float32)
    return lambda picture: np.clip(picture * gains, 0, 255).round().astype(np.uint8)


def shifted(share: float) -> Change:
    def change(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        move = np.array([[1, 0, share * width], [0, 1, 0]], np.float32)
        return cv2.warpAffine(picture, move, (width, height), borderMode=cv2.BORDER_REPLICATE)

    return change


def dirty(specks: int, strength: float) -> Change:
    """Soft dark spots, at the same places in every picture: what lies on a lens is out of focus."""
    rng = np.random.default_rng(7)
    spots = [(*rng.uniform(0.2, 0.8, 2), rng.uniform(0.02, 0.05)) for _ in range(specks)]

    def change(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        light = np.ones((height, width), np.float32)
        for at_y, at_x, radius in spots:
            away = ((y / height - at_y) ** 2 + (x / width - at_x) ** 2) / radius**2
            light *= 1 - strength * np.exp(-0.5 * away)
        return (picture * light[:, :, None]).round().astype(np.uint8)

    return change


def new_batch(picture: Picture) -> Picture:
    """Material a little brighter, flatter and of a coarser grain."""
    height, width = picture.shape[:2]
    rng = np.random.default_rng(int(picture[::7, ::7].sum()))
    grain = cv2.resize(rng.normal(0, 1, (128, 128)).astype(np.float32), (width, height))
    mean = picture.mean()
    return (
        np.clip((picture - mean) * 0.92 + mean * 1.04 + 4 * grain[:, :, None], 0, 255)
        .round()
        .astype(np.uint8)
    )


CHANGES: dict[str, Change] = {
    "out of focus, a little (0.7 px)": blurred(0.7),
    "out of focus (2 px)": blurred(2.0),
    "dimmed by 10 %": scaled(0.9),
    "dimmed by 60 %": scaled(0.4),
    "brighter by 15 %": scaled(1.15),
    "reddish by 2 %": tinted(0.02),
    "reddish by 15 %": tinted(0.15),
    "dirt on the lens, one spot": dirty(1, 0.35),
    "dirt on the lens, six spots": dirty(6, 0.6),
    "shifted by 3 %": shifted(0.03),
    "shifted by 10 %": shifted(0.10),
    "new batch of material": new_batch,
}


def see(
    inspector: Inspector, pictures: Sequence[Picture], change: Change | None, what: str
) -> list[Seen]:
    found = []
    for picture in track(pictures, what):
        prediction = inspector.inspect(picture if change is None else change(picture))
        found.append(Seen(prediction.statistics or {}, prediction.pred_score, prediction.reason))
    return found


def baseline_of(parts: Sequence[Seen], health: Health, key: str) -> Health:
    """The bundle's settings with these parts as the calibrated ones."""
    values = {name: np.array([part.statistics[name] for part in parts]) for name in health.values}
    return replace(health, values=values, scores={key: np.array([part.score for part in parts])})


def false_alarms(
    health: Health,
    key: str,
    pool: Sequence[Seen],
    streams: int,
    length: int,
    seed: int,
    bad: Sequence[Seen] = (),
    bad_share: float = 0.0,
) -> float:
    """Alarms in 10,000 parts; an alarm starts a new test, as a calibration would."""
    rng = np.random.default_rng(seed)
    alarms = 0
    for stream in track(range(streams), "parts without a change"):
        monitor = DriftMonitor(health, key, seed=seed + stream)
        for _ in range(length):
            among = bad if bad and rng.random() < bad_share else pool
            part = among[int(rng.integers(len(among)))]
            if monitor.update(part.statistics, part.score) is not None:
                alarms += 1
                monitor = DriftMonitor(health, key, seed=seed + 7919 * alarms + stream)
    return 1e4 * alarms / (streams * length)


def delays(
    started: Sequence[DriftMonitor],
    parts_at: Callable[[int], Sequence[Seen]],
    longest: int,
    seed: int,
) -> tuple[list[int | None], list[str]]:
    """Changed parts until the alarm, None where there was none, and the number that each named."""
    rng = np.random.default_rng(seed)
    found: list[int | None] = []
    named = []
    for monitor in copy.deepcopy(list(started)):
        delay = None
        for count in range(longest):
            among = parts_at(count)
            part = among[int(rng.integers(len(among)))]
            alarm = monitor.update(part.statistics, part.score)
            if alarm is not None:
                delay = count + 1
                named.append(alarm.statistic)
                break
        found.append(delay)
    return found, named


def started_monitors(
    health: Health, key: str, pool: Sequence[Seen], streams: int, before: int, seed: int
) -> list[DriftMonitor]:
    """Tests that have seen unchanged parts; those with a false alarm count elsewhere."""
    rng = np.random.default_rng(seed)
    monitors = []
    for stream in range(streams):
        monitor = DriftMonitor(health, key, seed=stream)
        alarms = [
            monitor.update(part.statistics, part.score)
            for part in (pool[int(i)] for i in rng.integers(len(pool), size=before))
        ]
        if not any(alarms):
            monitors.append(monitor)
    return monitors


def row_of(
    name: str,
    started: Sequence[DriftMonitor],
    parts_at: Callable[[int], Sequence[Seen]],
    changed: Sequence[Seen],
    longest: int,
    seed: int,
) -> dict[str, Any]:
    found, named = delays(started, parts_at, longest, seed)
    noticed = [delay for delay in found if delay is not None]
    return {
        "change": name,
        "cannot_judge": sum(bool(part.reason) for part in changed) / len(changed),
        "noticed": len(noticed) / max(1, len(found)),
        "median_delay": float(np.median([longest + 1 if one is None else one for one in found])),
        "longest_delay": max(noticed, default=None),
        "named": max(set(named), key=named.count) if named else "-",
        "streams": len(found),
    }


def measure(
    inspector: Inspector, good: Sequence[Picture], bad: Sequence[Picture], options: dict[str, Any]
) -> dict[str, Any]:
    """All figures of one bundle."""
    health, key = inspector.health, inspector.variant.key
    if health is None:
        raise click.ClickException(
            "the bundle has no health.json; make it with: lineside calibrate BUNDLE --good DIR"
        )
    streams, before, longest, seed = (
        options[name] for name in ("streams", "before", "after", "seed")
    )
    pool = see(inspector, good, None, "good parts")
    defects = see(inspector, bad, None, "bad parts")
    own = baseline_of(pool, health, key)
    started = started_monitors(own, key, pool, streams, before, seed)
    rows = []
    for name, change in CHANGES.items():
        changed = see(inspector, good[: options["pictures"]], change, name)
        rows.append(row_of(name, started, lambda _, parts=changed: parts, changed, longest, seed))
    ageing = [
        see(inspector, good[: options["pictures"]], scaled(1 - 0.2 * step / AGEING_STEPS), "ageing")
        for step in range(1, AGEING_STEPS + 1)
    ]
    rows.append(
        row_of(
            "lamp ages, 20 % in 400 parts",
            started,
            lambda count: ageing[min(AGEING_STEPS - 1, count * AGEING_STEPS // 400)],
            [part for step in ageing for part in step],
            400,
            seed,
        )
    )
    length = options["quiet"] // options["quiet_streams"]
    quiet = {
        "no change": false_alarms(own, key, pool, options["quiet_streams"], length, seed),
        "no change, 3 % of the parts bad": false_alarms(
            own, key, pool, options["quiet_streams"], length, seed, defects, 0.03
        ),
        "as calibrated": false_alarms(health, key, pool, options["quiet_streams"], length, seed),
    }
    return {
        "bundle": inspector.bundle.manifest.name,
        "n_good": len(pool),
        "n_bad": len(defects),
        "good_refused": sum(bool(part.reason) for part in pool),
        "bad_refused": sum(bool(part.reason) for part in defects),
        "reasons": sorted({part.reason for part in (*pool, *defects) if part.reason}),
        "refused_rate_promised": health.refused_rate,
        "changes": rows,
        "false_alarms_in_10000": quiet,
        "quiet_parts": length * options["quiet_streams"],
        "allowed_in_10000": 1e4 / health.parts_between_false_alarms,
    }


def show(found: dict[str, Any]) -> None:
    """Print tables."""
    console = Console(highlight=False)
    console.width = max(console.width, 130)
    console.print(
        f"{found['bundle']}: {found['good_refused']} of {found['n_good']} good and "
        f"{found['bad_refused']} of "
        f"{found['n_bad']} bad parts cannot be judged"
    )
    for reason in found["reasons"]:
        console.print(f"  {reason}")
    table = Table(box=None)
    for name in ("change", "cannot judge", "noticed", "delay, median", "longest", "named"):
        table.add_column(name, justify="left" if name in ("change", "named") else "right")
    for row in found["changes"]:
        table.add_row(
            row["change"],
            f"{row['cannot_judge']:.0%}",
            f"{row['noticed']:.0%}",
            f"{row['median_delay']:g}",
            str(row["longest_delay"] or "-"),
            row["named"],
        )
    console.print(table)
    for name, rate in found["false_alarms_in_10000"].items():
        console.print(
            f"{name}: {rate:.2f} false alarms in 10,000 parts (of {found['quiet_parts']:,})"
        )


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="MVTec-style root.")
@click.option("--category")
@click.option(
    "--pictures",
    type=click.IntRange(min=5),
    default=60,
    show_default=True,
    help="Changed pictures of each kind.",
)
@click.option("--streams", type=click.IntRange(min=1), default=100, show_default=True)
@click.option(
    "--before",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Parts before the change.",
)
@click.option(
    "--after", type=click.IntRange(min=1), default=300, show_default=True, help="Parts after it."
)
@click.option(
    "--quiet",
    type=click.IntRange(min=1000),
    default=50_000,
    show_default=True,
    help="Parts without a change.",
)
@click.option("--quiet-streams", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(bundle: Path, data: Path, category: str | None, as_json: bool, **options: Any) -> None:
    """Show what the camera check refuses and how soon it notices a change."""
    try:
        with Inspector(bundle) as inspector:
            parts = find_category(data, inspector.bundle.manifest.category, category).test
            pictures = {part: decode_rgb(part.path) for part in track(parts, "reading pictures")}
            good = [picture for part, picture in pictures.items() if not part.is_anomalous]
            bad = [picture for part, picture in pictures.items() if part.is_anomalous]
            order = np.random.default_rng(options["seed"]).permutation(len(good))
            found = measure(inspector, [good[i] for i in order], bad, options)
    except LinesideError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(found))
    else:
        show(found)


if __name__ == "__main__":
    main()
