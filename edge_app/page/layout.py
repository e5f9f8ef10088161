"""The page itself: Gradio components, and what happens when one is used."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

# Before gradio is imported: a box at the line tells nobody what it does.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr

from edge_app.page import render
from edge_app.page.choice import Station
from edge_app.page.screen import Screen, Shown, View, around_box, give, look_at, show
from edge_app.page.upload import sent_only
from runtime.images.preprocess import IMAGE_SUFFIXES

CSS_PATH = Path(__file__).parent / "assets" / "page.css"
# The script with which a box is dragged on the part.
BOX_PATH = CSS_PATH.with_name("box.html")
# The script that takes an old verdict off the screen, and keeps the model in the address.
STATE_PATH = CSS_PATH.with_name("state.html")
# The script that takes a picture dropped anywhere, or pasted.
DROP_PATH = CSS_PATH.with_name("drop.html")
# How often to look for uploaded pictures, and how old they may become: nobody asks for them again.
_UPLOADS_S = (3600, 24 * 3600)
# How the page looks, and what it leaves out, for gradio.mount_gradio_app.
LOOKS: dict[str, Any] = {
    # System fonts only: the box has no internet to fetch others from.
    "theme": gr.themes.Base(
        primary_hue="slate",
        neutral_hue="slate",
        radius_size="sm",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ),
    "css_paths": CSS_PATH,
    "head_paths": [BOX_PATH, STATE_PATH, DROP_PATH],
    "favicon_path": str(CSS_PATH.parents[2] / "assets" / "icon.svg"),
    "footer_links": [],
    "show_error": True,
    "max_file_size": "200mb",
    "ssr_mode": False,
    "enable_monitoring": False,
    "run_history": False,
}


@contextmanager
def uploads_folder() -> Iterator[None]:
    """Give Gradio a temporary folder of its own: the shared one may be another user's."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="lineside-page-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["GRADIO_TEMP_DIR"]
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before


def build_page(station: Station) -> gr.Blocks:
    """Build the page; it shows the line that its address names, else the station's first."""
    names = station.names
    first = next(iter(names))
    with gr.Blocks(
        title="Lineside", analytics_enabled=False, fill_width=True, delete_cache=_UPLOADS_S
    ) as page:
        screen = gr.State(Screen())
        with gr.Row(elem_id="ls-head"):
            gr.HTML(render.name(), padding=False)
            picker = gr.Dropdown(
                [(label, name) for name, label in names.items()],
                value=first,
                show_label=False,
                container=False,
                visible=len(names) > 1,
                interactive=True,
                elem_id="ls-model",
                min_width=260,
            )
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=260):
                upload = sent_only(
                    gr.File(
                        label="Inspect a picture",
                        file_types=sorted(IMAGE_SUFFIXES),
                        height=120,
                        elem_id="ls-upload",
                    )
                )
                gallery = gr.Gallery(
                    _thumbnails(station, names[first]),
                    label="Samples",
                    columns=3,
                    height=600,
                    object_fit="cover",
                    allow_preview=False,
                    buttons=[],
                    visible=any(station.samples.values()),
                    elem_id="ls-samples",
                    format="jpeg",
                    interactive=False,
                )
            with gr.Column(scale=8, min_width=480):
                gr.HTML(render.WAITING, elem_id="ls-wait", padding=False)
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

        def sample(name: str, screen: Screen, number: int = 0) -> Shown:
            line, samples = station.lines[names[name]], station.samples[names[name]]
            if not samples:
                return show(screen, View)
            part = samples[number].part
            return show(screen, lambda: look_at(line, part.path, part))

        def on_upload(name: str, path: str | None, screen: Screen) -> Shown:
            if path is None:
                return show(screen, View)
            return show(screen, lambda: look_at(station.lines[names[name]], Path(path)))

        def on_sample(name: str, screen: Screen, event: gr.SelectData) -> Shown:
            return sample(name, screen, event.index)

        def on_model(name: str, screen: Screen) -> Shown:
            return (_thumbnails(station, names[name]), None, *sample(name, screen))

        def on_load(screen: Screen, request: gr.Request) -> Shown:
            wanted = request.query_params.get("bundle") or first
            said = unknown_bundle(station, wanted)
            if said:
                return None, gr.skip(), *show(screen, lambda: View(said))
            return wanted, _thumbnails(station, names[wanted]), *sample(wanted, screen)

        # Not for programs, which have endpoints of their own. Whatever is asked while another
        # answer is under way counts too, in the order of asking.
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
        # The script's part comes first, or it would take the new verdict off.
        gallery.select(None, picker, None, js="lsAsked", **private)
        picker.input(None, picker, None, js="lsAsked", **private)
        gallery.select(on_sample, [picker, screen], shown, **asking)
        picker.input(on_model, [picker, screen], [gallery, upload, *shown], **asking)
        for button, word in ((right, "right"), (wrong, "wrong")):
            on_word = partial(give, station, word)
            button.click(on_word, [screen], [said, right, wrong], **private)
        box.change(partial(around_box, station), [box, screen], [around], **private)
        page.load(on_load, screen, [picker, gallery, *shown], **asking)
    return page


def _thumbnails(station: Station, label: str) -> list[tuple[object, str]]:
    return [(sample.thumbnail_rgb, sample.caption) for sample in station.samples[label]]


def unknown_bundle(station: Station, name: str) -> str:
    """What is wrong with the bundle that an address names, as HTML; empty if nothing is.

    Another one must not judge the next part in its place.
    """
    if name in station.names:
        return ""
    known = ", ".join(station.names)
    return render.problem(f"bundle: expected one of {known}, found {name[:60]!r}; choose above")
