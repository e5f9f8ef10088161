"""Optional dependencies: one question, one answer that says what to install."""

from __future__ import annotations

import importlib.util

from runtime.errors import MissingExtraError


def require_extra(extra: str, *modules: str) -> None:
    """Raise :class:`MissingExtraError` if a top-level module of an extra is not installed.

    Args:
        extra: the extra's name in ``pip install 'lineside[extra]'``.
        *modules: top-level module names, looked up without importing them.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(extra, module)
