"""A bundle that is copied over the one at work: it judges once its golden pictures are right.

Until then, and where they are not, the one that was opened goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge_app.line import Line
from edge_app.page.choice import Opener, Station
from runtime.errors import BundleError, sentence

log = logging.getLogger("lineside")

LOOK_S = 1.0
_PATIENCE_S = 30.0
# Size and time of writing in ns of every file, by path.
_Stamps = dict[str, tuple[int, int]]


@contextmanager
def taking_over_copies(station: Station) -> Iterator[None]:
    """Look for bundles that are copied over those at work, while the block runs.

    Args:
        station: the open lines.
    """
    if station.open_bundle is None:
        yield
        return
    stop = threading.Event()
    copies = Copies(station)

    def look() -> None:
        while not stop.wait(LOOK_S):
            copies.look()

    thread = threading.Thread(target=look, name="lineside-copies", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_PATIENCE_S)


class Copies:
    """What lies where the bundles at work were opened.

    Args:
        station: the open lines.
    """

    def __init__(self, station: Station) -> None:
        self._station = station
        self._growing: dict[str, _Stamps] = {}
        self._refused: dict[str, _Stamps] = {}

    def look(self) -> None:
        """Take over what was copied, once it stays the same from one look to the next."""
        if (open_bundle := self._station.open_bundle) is None:
            return
        for line in self._station.lines.values():
            bundle = line.inspector.bundle
            if not bundle.original.is_replaced():
                line.notice = ""
                self._refused.pop(line.name, None)
                continue
            now = _stamps_of(bundle.source)
            if now == self._refused.get(line.name):
                continue
            if now != self._growing.get(line.name):
                self._growing[line.name] = now
                continue
            self._take_over(open_bundle, line, bundle.source, now)

    def _take_over(self, open_bundle: Opener, line: Line, path: Path, now: _Stamps) -> None:
        try:
            with self._station.switching:
                self._renew(open_bundle, line, path)
        except Exception as error:
            # Whatever is wrong with it, the one at work goes on.
            self._refused[line.name] = now
            line.notice = (
                f"the bundle that was copied over {path} is not used, and the one before judges; "
                f"copy a whole one before the next start: {sentence(error)}"
            )
            log.warning(f"warning: {line.notice}")
            return
        line.notice = ""
        log.info(f"{line.name}: judges with the bundle that was copied over {path} from now on")

    def _renew(self, open_bundle: Opener, line: Line, path: Path) -> None:
        inspector, store = open_bundle(path, line.stores)
        with ExitStack() as refused:
            refused.callback(inspector.close)
            others = [one for one in self._station.lines.values() if one is not line]
            if any(one.store.bundle == store.bundle for one in others):
                raise BundleError(
                    f"{path}: expected a bundle of its own, found that of another line; name each "
                    "bundle once"
                )
            before = line.renew(inspector, store)
            refused.pop_all()
        before.close()


def _stamps_of(path: Path) -> _Stamps:
    found: _Stamps = {}
    for one in [path, *path.rglob("*")]:
        try:
            status = one.stat()
        except OSError:
            continue
        found[str(one)] = (status.st_size, status.st_mtime_ns)
    return found
