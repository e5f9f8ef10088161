"""Pictures as they are written into folders, told by the system and gathered in a thread."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from runtime.errors import sentence
from runtime.images.dataset import is_picture_name
from runtime.sources import inotify
from runtime.sources.inotify import Event, Inotify

log = logging.getLogger("lineside")

# After its end a file may be given another time, or be opened again for more.
SETTLE_S = 0.1
# Who has had a file open for so long without writing may never close it.
PATIENCE_S = 30.0
# Contents of files that wait for their turn; of what comes beyond, only the name is kept.
MOST_BYTES = 128 << 20
MOST_WAITING = 10_000
_NOTHING = (0, 0)


@dataclass(frozen=True)
class Written:
    """A picture that was written to its end, or moved here.

    Attributes:
        path: where it lies, or lay.
        stamp: size in bytes and time of writing in ns; zeros where it was gone at once.
        content: its bytes then; None where there was no room to keep them, or it was gone.
    """

    path: str
    stamp: tuple[int, int]
    content: bytes | None

    @property
    def was_missed(self) -> bool:
        """It went before anybody could read it, and its folder did not."""
        return self.stamp == _NOTHING and Path(self.path).parent.is_dir()


class FolderEvents:
    """What is written, and what is being written. Safe in threads.

    Raises:
        OSError: the system tells no events, or no more of them.
    """

    def __init__(self) -> None:
        self._system = Inotify()
        self._folders: dict[int, str] = {}
        self._wanted: set[str] = set()
        self._open: dict[str, float] = {}
        self._settling: dict[str, tuple[float, Written]] = {}
        self._ready: deque[Written] = deque()
        self._moved: dict[int, str] = {}
        self._held = 0
        self._told = self._told_of_limit = False
        self._closed = False
        self._news = threading.Condition(threading.RLock())
        self._thread = threading.Thread(target=self._run, name="lineside-events", daemon=True)
        self._thread.start()

    def watch(self, folders: Iterable[str]) -> None:
        """Follow these, and no longer what an earlier call named.

        Once more is harmless, and finds what was mounted over one.
        """
        with self._news:
            wanted = {folder for folder in folders if self._add(folder)}
            lost = self._wanted - wanted
            self._leave([watch for watch, path in self._folders.items() if path in lost])
            self._wanted = wanted

    def take(self, timeout_s: float) -> Written | None:
        """The next one that was written, in their order; None where there is none.

        Args:
            timeout_s: how long to wait for it, in seconds.
        """
        with self._news:
            self._news.wait_for(lambda: self._ready or self._closed, timeout_s)
            if not self._ready:
                return None
            taken = self._ready.popleft()
            self._held -= len(taken.content or b"")
        return taken

    def is_open(self, path: str) -> bool:
        """Whether somebody writes this file, and has not come to its end."""
        with self._news:
            return time.monotonic() - self._open.get(path, -PATIENCE_S) < PATIENCE_S

    def close(self) -> None:
        """End the thread."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._system.wake()
        self._thread.join()
        self._system.close()

    def _run(self) -> None:
        while not self._closed:
            self._system.wait(self._until_settled_ms())
            with self._news:
                try:
                    for event in self._system.read():
                        self._see(event)
                except Exception as error:
                    # Whoever looks at the folder goes on without.
                    log.warning(f"warning: the system's events failed: {sentence(error)}")
                self._settle()

    def _until_settled_ms(self) -> float | None:
        with self._news:
            first = min((since for since, _ in self._settling.values()), default=None)
        return None if first is None else max(0.0, 1000 * (first + SETTLE_S - time.monotonic()) + 1)

    def _see(self, event: Event) -> None:
        folder = self._folders.get(event.watch)
        if folder is None:
            return
        path = f"{folder.removesuffix('/')}/{event.name}"
        if event.mask & inotify.IGNORED:
            del self._folders[event.watch]
        elif event.mask & inotify.MOVE_SELF:
            # All below has other names now, which whoever looks will find.
            below = [at for at, name in self._folders.items() if f"{name}/".startswith(path)]
            self._leave(below)
        elif not event.name or event.name.startswith("."):
            return
        elif event.mask & inotify.IS_DIR:
            if event.mask & (inotify.CREATE | inotify.MOVED_TO):
                self._add_all(path)
        else:
            self._file(event, path)

    def _file(self, event: Event, path: str) -> None:
        is_moved = bool(event.mask & inotify.MOVED_TO)
        if is_moved and (before := self._moved.pop(event.cookie, None)) is not None:
            # Written under another name first: one part.
            self._drop(before)
        if not is_picture_name(path):
            return
        begins = event.mask & inotify.CREATE and _is_empty(path)
        if event.mask & inotify.MODIFY or begins:
            self._drop(path)
            self._open[path] = time.monotonic()
        elif event.mask & inotify.CLOSE_WRITE or is_moved:
            self._open.pop(path, None)
            self._written(path, -SETTLE_S if is_moved else time.monotonic())
        elif event.mask & (inotify.DELETE | inotify.MOVED_FROM):
            self._open.pop(path, None)
            if event.mask & inotify.MOVED_FROM:
                self._moved = {**dict(list(self._moved.items())[-100:]), event.cookie: path}

    def _written(self, path: str, since: float) -> None:
        if len(self._ready) + len(self._settling) >= MOST_WAITING:
            if not self._told:
                log.warning(f"warning: {MOST_WAITING} pictures wait; {path} is judged if it stays")
            self._told = True
            return
        found = _read(path, MOST_BYTES - self._held)
        if found is not None:
            self._drop(path)
            self._held += len(found.content or b"")
            self._settling[path] = (since, found)

    def _drop(self, path: str) -> None:
        _, dropped = self._settling.pop(path, (0.0, None))
        if dropped is not None:
            self._held -= len(dropped.content or b"")

    def _settle(self) -> None:
        now = time.monotonic()
        for path, (since, written) in list(self._settling.items()):
            if now - since >= SETTLE_S:
                del self._settling[path]
                self._ready.append(_as_of_now(written))
        if self._ready:
            self._news.notify_all()
        else:
            self._told = False

    def _add(self, folder: str) -> bool:
        try:
            self._folders[self._system.add(folder)] = folder
        except OSError as error:
            # Too many for the system; one that is gone is seen by whoever looks.
            if error.errno == errno.ENOSPC and not self._told_of_limit:
                self._told_of_limit = True
                log.warning(
                    f"warning: {folder}: the system follows no more folders; type: sysctl "
                    "fs.inotify.max_user_watches=524288"
                )
            return False
        return True

    def _add_all(self, folder: str) -> None:
        """A new folder, and what was made in it meanwhile; links are left to whoever looks."""
        if self._add(folder):
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                        self._add_all(entry.path)

    def _leave(self, watches: list[int]) -> None:
        for watch in watches:
            self._system.remove(watch)
            del self._folders[watch]


def _read(path: str, most: int) -> Written | None:
    """A file as it is now; None for what is none, is empty, or changes meanwhile."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Written(path, _NOTHING, None)
    except OSError:
        return None
    with suppress(OSError), os.fdopen(file, "rb") as stream:
        status = os.fstat(file)
        stamp = (status.st_size, status.st_mtime_ns)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return None
        if status.st_size > most:
            return Written(path, stamp, None)
        content = stream.read(status.st_size + 1)
        after = os.fstat(file)
        if (len(content), after.st_mtime_ns) == stamp:
            return Written(path, stamp, content)
    return None


def _as_of_now(written: Written) -> Written:
    """The same with the time that the file was given after its end."""
    try:
        status = Path(written.path).stat()
    except OSError:
        return written
    if status.st_size != written.stamp[0]:
        return written
    return replace(written, stamp=(status.st_size, status.st_mtime_ns))


def _is_empty(path: str) -> bool:
    """A file of no bytes yet; a link to one that is whole is not."""
    try:
        status = Path(path).lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and not status.st_size
