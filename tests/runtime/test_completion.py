"""What the shell completes, asked as click's own script for bash asks it."""

from __future__ import annotations

import pytest
from click.shell_completion import BashComplete

from runtime.cli import cli


@pytest.mark.parametrize(
    ("words", "incomplete", "offered"),
    [
        ([], "ver", ["verify"]),
        ([], "doc", ["doctor"]),
        (["inspect"], "--eng", ["--engine"]),
        (["inspect", "--engine"], "o", ["openvino", "onnxruntime"]),
        (["thresholds", "tile-patchcore"], "s", ["show", "set", "seal"]),
    ],
)
def test_commands_options_and_choices_are_completed(
    words: list[str], incomplete: str, offered: list[str]
) -> None:
    shell = BashComplete(cli, {}, "lineside", "_LINESIDE_COMPLETE")
    assert {one.value for one in shell.get_completions(words, incomplete)} == set(offered)


def test_a_bundle_is_completed_as_a_path() -> None:
    shell = BashComplete(cli, {}, "lineside", "_LINESIDE_COMPLETE")
    (found,) = shell.get_completions(["inspect"], "tile")
    assert found.type in ("file", "dir")
