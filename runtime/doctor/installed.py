"""What is installed: versions, and which extras."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, version

from runtime.doctor.finding import Finding

_SHOWN = (
    "openvino",
    "onnxruntime",
    "opencv-python-headless",
    "numpy",
    "msgspec",
    "qdrant-edge-py",
    "qdrant-client",
    "gradio",
)
_EXTRA = re.compile(r"extra == ['\"]([A-Za-z0-9_.-]+)['\"]")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
# Extras for the workstation and for development say nothing about a box.
_NOT_LISTED = frozenset({"all", "dev", "docs"})


def version_findings() -> Iterator[Finding]:
    """Versions of Lineside, Python and the packages that matter; whether the base is whole."""
    found = {"lineside": version("lineside"), "python": platform.python_version()}
    for name in _SHOWN:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    text = ", ".join(f"{name} {number}" for name, number in found.items())
    yield Finding("versions", "ok", f"{text}; {platform.platform(terse=True)} {platform.machine()}")
    missing = [name for name in requirements().get("", []) if not _is_installed(name)]
    if missing:
        yield Finding(
            "versions",
            "fault",
            f"expected the base installation, found no {', '.join(missing)}",
            "type: pip install --force-reinstall lineside",
        )


def extra_findings() -> Iterator[Finding]:
    """Which extras are installed, and what the others lack."""
    complete, lacking = [], []
    for extra, names in requirements().items():
        missing = [name for name in names if not _is_installed(name)]
        if not extra or extra in _NOT_LISTED:
            continue
        if missing:
            lacking.append(f"{extra} (lacks {', '.join(missing[:3])})")
        else:
            complete.append(extra)
    told = f"installed: {', '.join(complete) or 'none'}"
    if lacking:
        told += f"; not installed: {', '.join(lacking)}; to add one: pip install 'lineside[NAME]'"
    yield Finding("extras", "ok", told)


def requirements(package: str = "lineside") -> dict[str, list[str]]:
    """Names of the packages that an installed one needs, by extra; ``""`` is the base."""
    found: dict[str, list[str]] = {"": []}
    for line in metadata(package).get_all("Requires-Dist") or []:
        name = _NAME.match(line)
        extra = _EXTRA.search(line)
        if name is not None and name[0].lower() != package:
            found.setdefault(extra[1] if extra else "", []).append(name[0])
    return found


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
