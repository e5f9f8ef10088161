"""Named endpoints of the page, for ``gradio_client``: the same lines, checks and answers as /v1."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from edge_app.api.answers import Said
from edge_app.api.bodies import picture_name
from edge_app.api.inspecting import in_base64, inspect_one
from edge_app.api.part_routes import history
from edge_app.api.problems import ProblemError
from edge_app.api.service import Service
from edge_app.api.status import bundles_of
from edge_app.page.upload import sent_only
from runtime.errors import LinesideError
from runtime.images.preprocess import IMAGE_SUFFIXES

_LONGEST = 2000


def add_endpoints(service: Service) -> None:
    """Add ``/inspect``, ``/bundles`` and ``/feedback`` to the page that is being built."""

    def inspect(file: str | None, bundle: str, record: bool, heat_map: bool) -> dict[str, Any]:
        """Judge a picture: see POST /v1/inspect; regions come with the heat map."""
        if file is None:
            raise gr.Error(
                "expected a picture, found none; send one with handle_file", print_exception=False
            )
        try:
            found = inspect_one(
                service.line(bundle or None),
                Path(file).read_bytes(),
                picture_name(file),
                record=record,
                draw=in_base64 if heat_map else None,
                regions=heat_map,
            )
        except (ProblemError, OSError) as error:
            raise _error(str(error)) from error
        if found.problem is not None:
            raise _error(found.problem.detail)
        return asdict(found)

    def feedback(
        part_id: str, word: str, defect_type: str, note: str, request: gr.Request
    ) -> dict[str, Any]:
        """Say that a verdict is right or wrong: see POST /v1/parts/{id}/feedback."""
        try:
            _check_word(word, defect_type + note)
            line, point = service.find(part_id)
            line.record(point, word, request.username or "", defect=defect_type, note=note)
            return asdict(history(service, part_id))
        except (ProblemError, LinesideError) as error:
            raise _error(str(error)) from error

    def bundles() -> dict[str, Any]:
        """The bundles at work: see GET /v1/bundles."""
        return asdict(bundles_of(service.station))

    with gr.Row(visible=False):
        file = sent_only(gr.File(label="file", file_types=sorted(IMAGE_SUFFIXES)))
        bundle, part_id, word, defect_type, note = (
            gr.Textbox(label=name) for name in ("bundle", "part_id", "word", "defect_type", "note")
        )
        record, heat_map = gr.Checkbox(label="record"), gr.Checkbox(label="heat_map")
        answer = gr.JSON(label="answer")
        common: dict[str, Any] = {"concurrency_id": "parts", "show_progress": "hidden"}
        for name, function, inputs in (
            ("inspect", inspect, [file, bundle, record, heat_map]),
            ("feedback", feedback, [part_id, word, defect_type, note]),
            ("bundles", bundles, []),
        ):
            gr.Button(name).click(function, inputs, answer, api_name=name, **common)


def _check_word(word: str, text: str) -> None:
    if word not in get_args(Said) or len(text) > _LONGEST:
        raise ProblemError(
            422,
            f"expected the word 'right', 'wrong' or '' and a note of at most {_LONGEST} "
            f"characters, found {word[:40]!r} and {len(text)}; mend it",
        )


def _error(text: str) -> gr.Error:
    """What a client is told, without a traceback in the box's log."""
    return gr.Error(text, print_exception=False)
