"""One batch: pictures of a folder or a ZIP, judged one after another between the line's own parts.

Nothing of it is recorded, and the drift test sees none of it.
"""

from __future__ import annotations

import logging
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from edge_app.api.problems import ProblemError
from edge_app.line import Line
from edge_app.thumbnail import thumbnail
from runtime.errors import DataError, LinesideError, sentence
from runtime.images.dataset import list_images
from runtime.images.preprocess import IMAGE_SUFFIXES

log = logging.getLogger("lineside")

State = Literal["running", "done", "canceled", "failed"]
MOST_PICTURES = 20_000
MOST_BYTES = 200 << 20
# Flagged parts whose thumbnails are kept for table and report.
_MOST_SHOWN = 2000


@dataclass(frozen=True)
class Row:
    """One picture.

    Attributes:
        number: its place in the batch, from 1.
        name: below the folder, or in the ZIP.
        verdict: empty where it cannot be read.
        reason: why it cannot be judged or read.
        thumbnail: JPEG in base64 of a flagged part, or ``""``.
    """

    number: int
    name: str
    verdict: str
    raw_score: float | None = None
    normalized_score: float | None = None
    reason: str = ""
    thumbnail: str = field(default="", repr=False)


class Batch:
    """A batch at work in a thread of its own.

    Args:
        name: of the folder or ZIP.
        source: where it lies; a ZIP is removed at the end.
        line: who judges.

    Attributes:
        rows: of the pictures that are done.
        threshold: raw score above which a part was anomalous, when it began.
        trouble: why it failed.

    Raises:
        DataError: no picture in it, too many, or no ZIP.
    """

    def __init__(self, name: str, source: Path, line: Line) -> None:
        self.name, self.line = name, line
        self.threshold = line.inspector.threshold.image_threshold
        self.rows: list[Row] = []
        self.state: State = "running"
        self.trouble = ""
        self._source = source
        self._is_zip = source.is_file()
        self._names = _members(source) if self._is_zip else _files(source)
        self.total = len(self._names)
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._seconds: float | None = None
        self._thread = threading.Thread(target=self._run, name="lineside-batch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """End it after the picture in work; what was judged stays."""
        self._stop.set()
        self._thread.join(30)

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return self._seconds if self._seconds is not None else time.monotonic() - self._began

    @property
    def seconds_left(self) -> float | None:
        """How long it will still take, at the pace so far; None before the first picture."""
        done = len(self.rows)
        if self.state != "running":
            return 0.0
        return self.seconds / done * (self.total - done) if done else None

    def _run(self) -> None:
        try:
            shown = 0
            for number, (name, content) in enumerate(self._pictures(), 1):
                if self._stop.is_set():
                    self.state = "canceled"
                    break
                row = self._judged(number, name, content, shown < _MOST_SHOWN)
                shown += bool(row.thumbnail)
                self.rows.append(row)
            else:
                self.state = "done"
        except Exception as error:
            log.exception(f"batch {self.name}")
            self.state, self.trouble = "failed", sentence(error)
        finally:
            self._seconds = time.monotonic() - self._began
            if self._is_zip:
                self._source.unlink(missing_ok=True)

    def _judged(self, number: int, name: str, content: bytes | str, show: bool) -> Row:
        if isinstance(content, str):
            return Row(number, name, "", reason=content)
        try:
            found = self.line.inspect(content, counts=False)
        except LinesideError as error:
            return Row(number, name, "", reason=str(error).removeprefix("picture: "))
        said = found.prediction
        wanted = show and said.verdict != "good"
        return Row(
            number,
            name,
            said.verdict,
            said.pred_score if said.has_score else None,
            said.normalized_score if said.has_score else None,
            said.reason,
            thumbnail(found.image_rgb) if wanted else "",
        )

    def _pictures(self) -> Iterator[tuple[str, bytes | str]]:
        """Names with contents, or with why there is none."""
        if not self._is_zip:
            for name in self._names:
                try:
                    yield name, (self._source / name).read_bytes()
                except OSError as error:
                    yield name, f"expected a picture, but it cannot be read ({error.strerror})"
            return
        with zipfile.ZipFile(self._source) as archive:
            for name in self._names:
                try:
                    with archive.open(name) as member:
                        # What the ZIP says of its size may be wrong.
                        content = member.read(MOST_BYTES + 1)
                except (zipfile.BadZipFile, OSError, RuntimeError, EOFError) as error:
                    yield name, f"expected a picture, found {sentence(error)}"
                    continue
                too_large = len(content) > MOST_BYTES
                yield name, "expected at most 200 MiB, found more" if too_large else content


class Batches:
    """The batch of a box. Safe in threads."""

    def __init__(self) -> None:
        self.newest: Batch | None = None
        self._lock = threading.Lock()

    def begin(self, batch: Batch) -> None:
        """Start one.

        Raises:
            ProblemError: another is running.
        """
        with self._lock:
            self.refuse_second()
            self.newest = batch
            batch.start()

    def refuse_second(self) -> None:
        """Raise ProblemError while one is running."""
        if self.newest is not None and self.newest.state == "running":
            raise ProblemError(
                409,
                f"expected one batch at a time, found {self.newest.name} running; wait, or cancel "
                "it: DELETE /v1/batch",
            )


def _files(folder: Path) -> list[str]:
    return _few([path.relative_to(folder).as_posix() for path in list_images(folder)])


def _members(source: Path) -> list[str]:
    try:
        with zipfile.ZipFile(source) as archive:
            names = [one.filename for one in archive.infolist() if not one.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"expected a ZIP, found none ({sentence(error)}); pack it again") from error
    found = [name for name in names if _is_picture(PurePosixPath(name))]
    if not found:
        raise DataError(
            f"expected pictures in the ZIP, found none among {len(names)} files; pack PNG, JPEG, "
            "BMP, TIFF or WebP"
        )
    return _few(sorted(found))


def _is_picture(path: PurePosixPath) -> bool:
    named = [part for part in path.parts if part != ".."]
    hidden = any(part.startswith((".", "__MACOSX")) for part in named)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def _few(names: list[str]) -> list[str]:
    if len(names) > MOST_PICTURES:
        raise DataError(
            f"expected at most {MOST_PICTURES} pictures, found {len(names)}; take a part of them, "
            "or type: lineside inspect BUNDLE FOLDER"
        )
    return names
