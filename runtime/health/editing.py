"""Changing health.json of a bundle by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.bundle.folder import Bundle
from runtime.errors import BundleError, HealthError
from runtime.health.baseline import HEALTH_FILE, Health, Limit, read_health, write_health


def edit_health(
    path: Path, *, limits: Mapping[str, Limit] | None = None, seal: bool = False, **changes: Any
) -> Health:
    """Read health.json of a bundle, and change it where anything is given.

    Args:
        path: a bundle; a packed one can be read alone.
        limits: new ones, by name of the statistic; the others stay.
        seal: seal it as it is, after an edit by hand.
        **changes: fields of :class:`Health`.

    Returns:
        What is in force now.

    Raises:
        HealthError: there is no health.json, it is damaged or cannot be written.
        BundleError: a packed bundle is to be changed.
    """
    if (limits or changes or seal) and path.is_file():
        raise BundleError(
            f"{path}: expected a bundle folder, found a packed one, which cannot be changed in "
            "place; unpack it first with: python -m zipfile -e BUNDLE FOLDER"
        )
    with Bundle.open(path) as bundle:
        file = bundle.root / HEALTH_FILE
        known = read_health(file, "ignored") if seal and file.exists() else bundle.health()
        if (health := known) is None:
            raise HealthError(
                f"{path}: expected {HEALTH_FILE}, found none, so every picture is judged and no "
                "drift is looked for; make it with: lineside calibrate BUNDLE --good DIR"
            )
        if limits:
            changes["limits"] = {**health.limits, **limits}
            changes["refused_rate"] = None
            changes["note"] = "limits set by hand; they promise nothing"
        if not changes and not seal:
            return health
        try:
            write_health(file, dataclasses.replace(health, **changes))
        except OSError as error:
            raise HealthError(
                f"{file}: expected to write it, but {error.strerror}; the old state stays in force"
            ) from error
        return read_health(file)
