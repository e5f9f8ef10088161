"""What one operator's page shows just now, and what becomes of whatever is asked of it.

Answers take as long as the store does, and several may be under way: whatever the operator has
asked for last is what the page must end up showing, in whichever order the answers come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from edge_app.line import Line
from edge_app.page import render
from edge_app.page.choice import Station
from edge_app.store import PartPoint
from runtime.errors import ImageError, LinesideError, sentence
from runtime.images.dataset import Part

log = logging.getLogger("lineside")

_WHOLE = (0.0, 0.0, 1.0, 1.0)
# What a handler shows: verdict, pictures, neighbours, what became of the last word, two buttons.
Shown = tuple[object, ...]


@dataclass(frozen=True)
class View:
    """A part, or why there is none, as it will be shown.

    Attributes:
        verdict: HTML.
        pictures: HTML.
        neighbors: HTML.
        point: the part as it will be stored once the operator has given a word, if there is one.
        file: its picture.
    """

    verdict: str = render.EMPTY
    pictures: str = ""
    neighbors: str = ""
    point: PartPoint | None = None
    file: Path = Path()


@dataclass
class Screen:
    """State of one browser's page.

    Attributes:
        point: the part that is shown, if there is one.
        file: its picture.
        asked: number of parts that were asked for.
        boxes: number of boxes that were drawn.
    """

    point: PartPoint | None = None
    file: Path = Path()
    asked: int = 0
    boxes: int = 0


def look_at(line: Line, file: Path, sample: Part | None = None) -> View:
    """Judge a picture: an uploaded one, or a sample."""
    try:
        content = file.read_bytes()
        judged = line.judge(content, file.name, sample)
        return View(
            render.verdict(judged),
            render.pictures(judged),
            render.neighbors(judged.neighbors, judged.store_problem),
            judged.point,
            file,
        )
    except OSError as error:
        reason = f"expected a picture, but it cannot be read ({error.strerror}); pick another"
        return View(render.problem(f"{file.name}: {reason}"))
    except ImageError as error:
        return View(render.problem(f"{file.name}: {str(error).removeprefix('picture: ')}"))
    except Exception as error:
        # The verdict on the part before must not stay standing, whatever has happened to this one.
        log.warning(f"warning: {file.name}: no verdict: {sentence(error)}")
        return View(render.unjudged(file.name, sentence(error)))


def show(screen: Screen, look: Callable[[], View]) -> Shown:
    """Look at a part and show it, unless another has been asked for by then."""
    turn = screen.asked = screen.asked + 1
    # Until the next part has its verdict there is none that a word could be on.
    screen.point = None
    view = look()
    if turn != screen.asked:
        return (gr.skip(),) * 6
    screen.point, screen.file = view.point, view.file
    words = gr.update(interactive=view.point is not None)
    # The turn makes the same verdict once more another banner, so that the page sees it come.
    banner = f"{view.verdict}<!-- {turn} -->"
    return banner, view.pictures, view.neighbors, "", words, words


def give(station: Station, word: str, screen: Screen) -> Shown:
    """Store the word on the part that is shown; another may be when a slow store answers.

    Returns:
        what became of the word, and the two buttons.
    """
    point = screen.point
    if point is None:
        return render.problem("No part to remember; inspect one first."), gr.skip(), gr.skip()
    try:
        total = station.line_of(point).record(point, word)
    except LinesideError as error:
        # The buttons stay active: the word can be given again once the store is back.
        stored = ""
        text = render.problem(f"Not remembered: {Path(point.path).name}: {error}")
    else:
        stored = word
        text = render.recorded(point, word, total)
    now = screen.point
    if now is None or now.point_id != point.point_id:
        # On another part's page only that a word was lost.
        return gr.skip() if stored else text, gr.skip(), gr.skip()
    # The other button stays active, for a slip of the finger.
    return text, *(gr.update(interactive=stored != button) for button in ("right", "wrong"))


def around_box(station: Station, text: str, screen: Screen) -> Any:
    """Show the neighbours of a box, or after a click of the whole part, if it is still wanted.

    Args:
        station: the open lines.
        text: what the script tells: four shares of the picture or nothing, and the time, so that
            the same box twice is two changes.
        screen: where it was drawn.
    """
    screen.boxes += 1
    turn = (screen.asked, screen.boxes)
    point, file, drawn = screen.point, screen.file, text.partition(";")[0]
    if point is None:
        return gr.skip()
    try:
        left, top, width, height = (float(share) for share in drawn.split(",")) if drawn else _WHOLE
    except ValueError:
        return gr.skip()
    try:
        like = station.line_of(point).like_box(file.read_bytes(), (left, top, width, height))
        found = render.neighbors(like, of_box=bool(drawn))
    except (LinesideError, OSError) as error:
        found = render.problem(f"No neighbours: {error}")
    still = screen.point is point and (screen.asked, screen.boxes) == turn
    return found if still else gr.skip()
