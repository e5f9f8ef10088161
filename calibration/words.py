"""Figures as people write them."""

from __future__ import annotations


def figure(value: float | None, digits: int = 3) -> str:
    """A figure for people, "-" where undefined."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(rate: float) -> str:
    """A rate as people write it: 1%, 0.5%, 16.7%."""
    return f"{100.0 * rate:.3g}%"
