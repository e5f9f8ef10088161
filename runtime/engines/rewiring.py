"""Changing a graph that OpenVINO has read."""

from __future__ import annotations

import openvino as ov


def replace_output(old: ov.Output, new: ov.Output) -> None:
    """Give all that reads a tensor another one, under its names."""
    names = old.get_names()
    for reader in old.get_target_inputs():
        reader.replace_source_output(new)
    old.set_names(set())
    new.set_names(names)
