"""The page itself: Gradio components and what happens when one is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from edge_app.page import render
from edge_app.page.samples import Sample
from edge_app.page.screen import Screen
from edge_app.page.station import Line, Station
from edge_app.store import PartPoint
from runtime.errors import LinesideError
from runtime.images.preprocess import IMAGE_SUFFIXES

CSS_PATH = Path(__file__).parent.parent / "assets" / "page.css"
# The script with which a box is dragged on the part.
BOX_PATH = CSS_PATH.with_name("box.html")
# How often to look for uploaded pictures, and how old they may become: nobody asks for them again.
_UPLOADS_S = (3600, 24 * 3600)
_WHOLE = (0.0, 0.0, 1.0, 1.0)
# The part that a word was on, the word if it was stored, and what to say.
Answer = tuple[str, str, str]
# What a handler shows: verdict, pictures, neighbours, what became of the last word, the two
# buttons.
Shown = tuple[object, ...]


@dataclass(frozen=True)
class View:
    """A part, or why there is none, as it will be shown.

    Attributes:
        verdict: HTML.
        pictures: HTML.
        neighbours: HTML.
        point: the part, if there is one.
        file: its picture.
    """

    verdict: str
    pictures: str = ""
    neighbors: str = ""
    point: PartPoint | None = None
    file: str = ""


def build_page(station: Station, samples: Mapping[str, list[Sample]]) -> gr.Blocks:
    """Build the page.

    Args:
        station: the open lines; the first one is shown first.
        samples: pictures to click on, by label of the line; may be empty.
    """
    labels = list(station.lines)
    with gr.Blocks(
        title="Lineside", analytics_enabled=False, fill_width=True, delete_cache=_UPLOADS_S
    ) as page:
        screen = gr.State(Screen())
        with gr.Row(elem_id="ls-head"):
            gr.HTML(
                '<div class="ls-name">Lineside<span>visual inspection</span></div>', padding=False
            )
            picker = gr.Dropdown(
                labels,
                value=labels[0],
                show_label=False,
                container=False,
                visible=len(labels) > 1,
                interactive=True,
                elem_id="ls-model",
                min_width=260,
            )
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=260):
                upload = gr.File(
                    label="Inspect a picture",
                    file_types=sorted(IMAGE_SUFFIXES),
                    height=120,
                    elem_id="ls-upload",
                )
                gallery = gr.Gallery(
                    _thumbnails(samples, labels[0]),
                    label="Samples",
                    columns=3,
                    height=600,
                    object_fit="cover",
                    allow_preview=False,
                    buttons=[],
                    visible=any(samples.values()),
                    elem_id="ls-samples",
                    format="jpeg",
                    interactive=False,
                )
            with gr.Column(scale=8, min_width=480):
                banner = gr.HTML(render.EMPTY, elem_id="ls-banner", padding=False)
                pictures = gr.HTML(elem_id="ls-pictures", padding=False)
                with gr.Row(elem_id="ls-words"):
                    right = gr.Button(
                        "✓ The verdict is right", interactive=False, elem_id="ls-right"
                    )
                    wrong = gr.Button(
                        "✗ The verdict is wrong", interactive=False, elem_id="ls-wrong"
                    )
                said = gr.HTML(elem_id="ls-said", padding=False)
                around = gr.HTML(elem_id="ls-around", padding=False)
                # Written by the script: a box as shares of the picture.
                box = gr.Textbox(elem_id="ls-box", show_label=False, container=False)

        shown = [banner, pictures, around, said, right, wrong]

        def on_upload(label: str, path: str | None, screen: Screen) -> Shown:
            if path is None:
                return show(screen, lambda: View(render.EMPTY))
            file = Path(path)
            return show(screen, lambda: _judge(station.lines[label], file, name=file.name))

        def on_sample(label: str, screen: Screen, event: gr.SelectData) -> Shown:
            return show(
                screen, lambda: _judge_sample(station.lines[label], samples[label][event.index])
            )

        def on_model(label: str, screen: Screen) -> Shown:
            return (_thumbnails(samples, label), None, *first(label, screen))

        def first(label: str, screen: Screen) -> Shown:
            ready = samples.get(label, [])
            line = station.lines[label]
            return show(
                screen, lambda: _judge_sample(line, ready[0]) if ready else View(render.EMPTY)
            )

        def on_right(screen: Screen) -> Shown:
            return give(station, screen, "right")

        def on_wrong(screen: Screen) -> Shown:
            return give(station, screen, "wrong")

        def on_box(text: str, screen: Screen) -> Any:
            return around_box(station, text, screen)

        # No public API: the page is for people, scripts have the command line. Whatever is asked
        # while another answer is under way counts too, in the order of asking.
        private = {
            "api_visibility": "private",
            "show_progress": "minimal",
            "trigger_mode": "multiple",
        }
        asking = {**private, "concurrency_id": "parts"}
        # The field is empty again at once, so that the next picture can be dropped on it.
        upload.upload(on_upload, [picker, upload, screen], shown, **asking).then(
            lambda: None, None, upload, **private
        )
        gallery.select(on_sample, [picker, screen], shown, **asking)
        picker.change(on_model, [picker, screen], [gallery, upload, *shown], **asking)
        for button, on_word in ((right, on_right), (wrong, on_wrong)):
            button.click(on_word, [screen], [said, right, wrong], **private)
        box.change(on_box, [box, screen], [around], **private)
        page.load(first, [picker, screen], shown, **asking)
    return page


def theme() -> gr.themes.Base:
    """System fonts only: the box has no internet to fetch others from."""
    return gr.themes.Base(
        primary_hue="slate",
        neutral_hue="slate",
        radius_size="sm",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def _thumbnails(samples: Mapping[str, list[Sample]], label: str) -> list[tuple[object, str]]:
    return [(sample.thumbnail_rgb, sample.caption) for sample in samples.get(label, [])]


def show(screen: Screen, look: Callable[[], View]) -> Shown:
    """Look at a part and show it, unless another has been asked for by then."""
    part = screen.ask()
    view = look()
    if not screen.awaits(part):
        return (gr.skip(),) * 6
    screen.put(view.point, view.file)
    words = gr.update(interactive=view.point is not None)
    return view.verdict, view.pictures, view.neighbors, "", words, words


def give(station: Station, screen: Screen, word: str) -> Shown:
    """Store the word on the part that is shown; by the time that a slow store answers, another may be."""
    point = screen.point
    if point is None:
        return render.problem("No part to remember; inspect one first."), gr.skip(), gr.skip()
    answer = _record(station.line_of(point), point, word)
    return _say(screen.point, answer)


def around_box(station: Station, text: str, screen: Screen) -> Any:
    """Show the neighbours of a box, unless another box or part has been asked for by then."""
    box, point = screen.ask_box(), screen.point
    if point is None:
        return gr.skip()
    found = _like_box(station.line_of(point), screen.file, text)
    return found if screen.awaits_box(box) else gr.skip()


def _judge_sample(line: Line, sample: Sample) -> View:
    part = sample.part
    return _judge(
        line, part.path, name=part.path.name, path=part.path, defect_type=part.defect_type
    )


def _judge(
    line: Line, file: Path, *, name: str, path: Path | None = None, defect_type: str = ""
) -> View:
    try:
        content = file.read_bytes()
    except OSError as error:
        return View(
            render.problem(
                f"{name}: expected a picture, but it cannot be read ({error.strerror}); pick "
                "another"
            )
        )
    try:
        judged = line.judge(content, name, path=path, defect_type=defect_type)
    except LinesideError as error:
        return View(render.problem(f"{name}: {str(error).removeprefix('picture: ')}"))
    return View(
        render.verdict(judged),
        render.pictures(judged),
        render.neighbors(judged.neighbors, judged.store_problem),
        judged.point,
        str(file),
    )


def _like_box(line: Line, file: str, text: str) -> Any:
    """Neighbours of the box that the script has told, or of the whole part after a click."""
    # The script adds the time, so that the same box twice is two changes.
    drawn = text.partition(";")[0]
    try:
        left, top, width, height = (float(share) for share in drawn.split(",")) if drawn else _WHOLE
    except ValueError:
        return gr.skip()
    try:
        found = line.like_box(Path(file).read_bytes(), (left, top, width, height))
    except (LinesideError, OSError) as error:
        return render.problem(f"No neighbours: {error}")
    return render.neighbors(found, of_box=bool(drawn))


def _record(line: Line, point: PartPoint, word: str) -> Answer:
    try:
        line.record(point, word)
    except LinesideError as error:
        # The buttons stay active: the word can be given again once the store is back.
        return (
            point.point_id,
            "",
            render.problem(f"Not remembered: {Path(point.path).name}: {error}"),
        )
    return point.point_id, word, render.recorded(point, word, line.remembered())


def _say(point: PartPoint | None, answer: Answer) -> tuple[object, object, object]:
    """Show what became of a word; on another part's page only that it was lost."""
    point_id, word, text = answer
    if point is not None and point.point_id == point_id:
        # The other button stays active, for a slip of the finger.
        return text, gr.update(interactive=word != "right"), gr.update(interactive=word != "wrong")
    return gr.skip() if word else text, gr.skip(), gr.skip()
