"""The pictures of a part that is being taught, kept over a restart: one part at a time on a box."""

from __future__ import annotations

import base64
import hashlib
import shutil
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from edge_app.thumbnail import thumbnail
from runtime import atomic
from runtime.bundle.manifest import DIGEST_LENGTH
from runtime.decode import read_json
from runtime.errors import ImageError, StoreError
from runtime.images.preprocess import decode_rgb

FOLDER = "teaching"
MOST_PICTURES = 500
_STATE = "draft.json"
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        number: its place in the order of coming, from 1.
        file: its name in the draft's folder.
        name: that it came with.
        digest: of its bytes.
        out: whether it was taken out.
    """

    number: int
    file: str
    name: str
    digest: str
    out: bool = False


@dataclass(frozen=True)
class Draft:
    """A part that is being taught.

    Attributes:
        line: name of the line whose bundle is taught from, and that the new one is for.
        part: its name.
        who: is teaching it, as far as that is known.
        client: the browser or program that has begun it.
        begun: UTC, ISO 8601.
        pictures: in order.
        add: whether the bundle learns them beside what it has learned.
    """

    draft_format: Literal[1]
    line: str
    part: str
    who: str
    client: str
    begun: str
    pictures: list[Picture] = field(default_factory=list)
    add: bool = False

    @property
    def taken(self) -> list[Picture]:
        """Those that will be learned."""
        return [one for one in self.pictures if not one.out]


class Drafts:
    """The draft of a box, if there is one. Safe in threads.

    Args:
        store: folder of the records; the draft lies in one of its own below.
    """

    def __init__(self, store: Path) -> None:
        self._root = store / FOLDER
        self._lock = threading.RLock()
        self._state = self._root / _STATE
        self._draft: Draft | None = None
        if self._state.exists():
            self._draft = read_json(
                self._state,
                Draft,
                error=StoreError,
                advice=f"remove {self._root}, and the pictures that were chosen with it",
            )
            self._draft = self._as_it_lies(self._draft)

    @property
    def now(self) -> Draft | None:
        """The draft."""
        return self._draft

    @property
    def good(self) -> Path:
        """Folder of the pictures that will be learned, and of nothing else."""
        return self._root / "good"

    def begin(self, line: str, part: str, who: str, client: str, *, add: bool = False) -> Draft:
        """Begin one; what was chosen before is gone.

        Args:
            line: see :class:`Draft`, as the others.
            part: its name.
            who: teaches it.
            client: of whoever does.
            add: to what the bundle has learned.

        Raises:
            OSError: it cannot be written.
        """
        with self._lock:
            self.discard()
            for folder in (self.good, self._root / "out"):
                folder.mkdir(parents=True, exist_ok=True)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            return self._keep(Draft(1, line, part, who, client, now, add=add))

    def discard(self) -> None:
        """Forget the draft and its pictures."""
        with self._lock:
            self._draft = None
            # The state first: pictures without it are nobody's.
            self._state.unlink(missing_ok=True)
            shutil.rmtree(self._root, ignore_errors=True)

    def add(self, pictures: Sequence[tuple[str, bytes]]) -> list[str]:
        """Take pictures in.

        Args:
            pictures: names and bytes of files.

        Returns:
            for each that was not taken in, a sentence why.

        Raises:
            OSError: they cannot be written.
        """
        refused = []
        with self._lock:
            draft = self._begun()
            known = {one.digest for one in draft.pictures}
            for name, content in pictures:
                if len(draft.pictures) >= MOST_PICTURES:
                    refused.append(f"{name}: more than {MOST_PICTURES} pictures; teach with these")
                    break
                digest = hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]
                if digest in known:
                    refused.append(f"{name}: was chosen already")
                    continue
                try:
                    decode_rgb(content)
                except ImageError as error:
                    refused.append(f"{name}: {str(error).removeprefix('picture: ')}")
                    continue
                number = max((one.number for one in draft.pictures), default=0) + 1
                suffix = Path(name).suffix.lower()
                file = f"{number:04}{suffix if suffix in _SUFFIXES else '.png'}"
                atomic.write_bytes(self.good / file, content)
                draft = replace(
                    draft, pictures=[*draft.pictures, Picture(number, file, name, digest)]
                )
                known.add(digest)
            self._keep(draft)
        return refused

    def take_out(self, number: int, *, out: bool) -> bool:
        """Take a picture out, or back in; whether there is one of that number."""
        with self._lock:
            draft = self._begun()
            found = next((one for one in draft.pictures if one.number == number), None)
            if found is None:
                return False
            if found.out != out:
                self._path(found).replace(self._path(replace(found, out=out)))
                pictures = [
                    replace(one, out=out) if one.number == number else one for one in draft.pictures
                ]
                self._keep(replace(draft, pictures=pictures))
            return True

    def thumbnail(self, number: int) -> bytes | None:
        """A small JPEG of a picture; None where there is none."""
        draft = self._draft
        found = (
            None
            if draft is None
            else next((one for one in draft.pictures if one.number == number), None)
        )
        if found is None:
            return None
        try:
            return base64.b64decode(thumbnail(decode_rgb(self._path(found))))
        except ImageError:
            return None

    def _as_it_lies(self, draft: Draft) -> Draft:
        """After a power cut a file may be where it was going, or be nobody's: then it goes."""
        kept = [
            replace(one, out=not (self.good / one.file).is_file())
            for one in draft.pictures
            if any((self._root / place / one.file).is_file() for place in ("good", "out"))
        ]
        known = {one.file for one in kept}
        for path in self.good.glob("*"):
            if path.name not in known:
                path.unlink(missing_ok=True)
        return replace(draft, pictures=kept)

    def _path(self, picture: Picture) -> Path:
        return self._root / ("out" if picture.out else "good") / picture.file

    def _begun(self) -> Draft:
        if self._draft is None:
            raise StoreError(
                "expected a part that is being taught, found none; begin with its name"
            )
        return self._draft

    def _keep(self, draft: Draft) -> Draft:
        atomic.write_json(self._state, asdict(draft))
        self._draft = draft
        return draft
