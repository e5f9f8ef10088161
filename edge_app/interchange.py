"""A store as files that any program can read, and back: JSON lines, thumbnails as pictures."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TextIO

from edge_app.interchange_line import (
    MAX_LINE,
    LineError,
    decoded_thumbnail,
    format_line,
    parse_line,
)
from edge_app.store import Merged, NeighborStore, PartPoint
from edge_app.store.schema import checked_point
from runtime.atomic import readable
from runtime.errors import DataError, StoreError

BATCH = 256
# Enough to tell what is usual in a file.
SAMPLED_LINES = 1000
PARTS_FILE = "parts.jsonl"
THUMBNAILS = "thumbnails"
Open = Callable[[str, int], NeighborStore]


@dataclass
class ExportReport:
    """What was written.

    Attributes:
        parts: number of lines.
        thumbnails: number of pictures.
        without_thumbnail: ids of parts whose thumbnail is damaged and was left out.
        skipped: (id, reason) of parts that another program wrote and that are none.
    """

    parts: int = 0
    thumbnails: int = 0
    without_thumbnail: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class ImportReport:
    """What became of the lines.

    Attributes:
        merged: parts added, words renewed, parts that were there.
        skipped: (line number from 1, reason).
    """

    merged: Merged = field(default_factory=Merged)
    skipped: list[tuple[int, str]] = field(default_factory=list)


class Export:
    """An export under construction, see :func:`exporting`.

    Args:
        lines: the open file.
        pictures: folder for the thumbnails.
        prefix: the folder's name as lines say it.
    """

    def __init__(self, lines: TextIO, pictures: Path, prefix: str) -> None:
        self.report = ExportReport()
        self._lines = lines
        self._pictures = pictures
        self._prefix = prefix

    def write(self, points: list[PartPoint]) -> None:
        """Add parts; what a server gives is not believed."""
        for point in points:
            try:
                checked_point(point, point.bundle, point.embedding.size)
            except StoreError as error:
                self.report.skipped.append((readable(point.point_id), str(error)))
                continue
            name = ""
            if point.thumbnail:
                data = decoded_thumbnail(point)
                if data is None:
                    self.report.without_thumbnail.append(point.point_id)
                else:
                    name = f"{self._prefix}/{point.point_id}.jpg"
                    (self._pictures / f"{point.point_id}.jpg").write_bytes(data)
                    self.report.thumbnails += 1
            self._lines.write(format_line(point, name) + "\n")
            self.report.parts += 1


@contextmanager
def exporting(out: Path) -> Iterator[Export]:
    """Write an export that appears whole or not at all.

    Args:
        out: ``x.jsonl``, with the thumbnails in the folder ``x-thumbnails`` beside it, or a folder
            that will hold ``parts.jsonl`` and ``thumbnails``. Nothing of the kind may be there yet.

    Raises:
        DataError: something is there.
    """
    out = out.absolute()
    is_file = out.suffix == ".jsonl"
    pictures = out.with_name(f"{out.stem}-{THUMBNAILS}") if is_file else out / THUMBNAILS
    for path in (out, pictures):
        if path.exists():
            raise DataError(
                f"{path}: expected a name that is free, found something there; choose another or "
                "remove it"
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        building.chmod(0o755)
        (building / THUMBNAILS).mkdir()
        with (building / PARTS_FILE).open("w", encoding="utf-8", newline="\n") as lines:
            yield Export(lines, building / THUMBNAILS, pictures.name)
            lines.flush()
            os.fsync(lines.fileno())
        if is_file:
            # The file last: where it is, its pictures are.
            (building / THUMBNAILS).rename(pictures)
            (building / PARTS_FILE).rename(out)
            building.rmdir()
        else:
            building.rename(out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def source_file(source: Path) -> Path:
    """The file of lines of an export.

    Raises:
        DataError: there is none.
    """
    file = source / PARTS_FILE if source.is_dir() else source
    if not file.is_file():
        raise DataError(
            f"{file}: expected an export of lineside store-export, found none; check the path"
        )
    return file


def import_parts(
    source: Path,
    open_for: Open,
    *,
    batch: int = BATCH,
    report: ImportReport | None = None,
    advance: Callable[[int], None] | None = None,
) -> ImportReport:
    """Take over the parts of an export; those that are there stay, but for an older word.

    Doing it again changes nothing.

    Args:
        source: what :func:`exporting` wrote.
        open_for: from fingerprint and length of the descriptors to an open store; asked once for
            each bundle, closed here.
        batch: parts written at once.
        report: filled while working, so that it can be read after an interruption.
        advance: called with the number of bytes that were read.

    Raises:
        DataError: there is no file of lines.
        StoreError: a store cannot be opened or written.
    """
    report = report if report is not None else ImportReport()
    file = source_file(source)
    with ExitStack() as stack:
        stores: dict[str, NeighborStore] = {}
        # A damaged first line may not decide what a new store takes.
        lengths = _usual_lengths(file)
        waiting: dict[str, dict[str, PartPoint]] = {}
        for number, line in _lines(file):
            if advance is not None:
                advance(len(line))
            try:
                point = parse_line(line, file.parent)
                _check_length(point, lengths)
            except LineError as error:
                report.skipped.append((number, str(error)))
                continue
            bundle = point.bundle
            if bundle not in stores:
                stores[bundle] = stack.enter_context(open_for(bundle, lengths[bundle]))
            points = waiting.setdefault(bundle, {})
            if point.point_id in points or len(points) >= batch:
                _flush(stores[bundle], points, report)
            points[point.point_id] = point
        for bundle, points in waiting.items():
            _flush(stores[bundle], points, report)
        for store in stores.values():
            store.optimize()
    return report


def _usual_lengths(file: Path) -> dict[str, int]:
    """The most frequent length of a descriptor by bundle, among the first lines."""
    found: dict[str, Counter[int]] = {}
    for _, line in islice(_lines(file), SAMPLED_LINES):
        try:
            point = parse_line(line)
        except LineError:
            continue
        found.setdefault(point.bundle, Counter())[point.embedding.size] += 1
    return {bundle: counts.most_common(1)[0][0] for bundle, counts in found.items()}


def _check_length(point: PartPoint, lengths: dict[str, int]) -> None:
    expected = lengths.setdefault(point.bundle, point.embedding.size)
    if point.embedding.size != expected:
        raise LineError(
            f"expected a descriptor of length {expected} as on other lines, found "
            f"{point.embedding.size}"
        )


def _flush(store: NeighborStore, points: dict[str, PartPoint], report: ImportReport) -> None:
    report.merged += store.merge(list(points.values()))
    points.clear()


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Number from 1 and content, cut off behind the longest that is allowed; none that is empty."""
    try:
        with file.open("rb") as source:
            number = 0
            while line := source.readline(MAX_LINE + 2):
                number += 1
                rest = line
                while len(rest) == MAX_LINE + 2 and not rest.endswith(b"\n"):
                    rest = source.readline(MAX_LINE + 2)
                if line.strip():
                    yield number, line
    except OSError as error:
        raise StoreError(
            f"{file}: expected a file that can be read, found '{error.strerror}'; check it"
        ) from error
