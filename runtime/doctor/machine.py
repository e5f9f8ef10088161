"""The machine itself: versions, extras, devices, disk and clock."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from runtime.doctor.finding import Finding, guarded
from runtime.engines.base import available_cores, model_cache_dir

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
# Below the first a store no longer writes (edge_app keeps 128 MiB free); below the second an
# upgrade, a bundle or a day of pictures may fill the rest.
_TOO_LITTLE_MIB, _LITTLE_MIB = 128, 1024
_A_DAY_S = 24 * 3600.0
# A box is hardly used for longer without an update; a clock beyond is the likelier reason.
_TOO_LATE_S = 10 * 365 * _A_DAY_S
# man 2 adjtimex: what it returns while nothing keeps the clock right, and more than the size of its
# struct (208 bytes on 64-bit systems); all zeros asks and changes nothing.
_TIME_ERROR, _TIMEX_BYTES = 5, 512
_EXTRA = re.compile(r"extra == ['\"]([A-Za-z0-9_.-]+)['\"]")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
# Extras for the workstation and for development say nothing about a box.
_NOT_LISTED = frozenset({"all", "dev"})


def machine_findings(places: Iterable[Path] = ()) -> Iterator[Finding]:
    """Versions, extras, devices, disk and clock of this machine.

    Args:
        places: folders that will be written to, beside the cache of compiled models and the
            temporary folder; one that is not there yet stands for the nearest above it.
    """
    yield from guarded("versions", _versions())
    yield from guarded("extras", _extras())
    yield from guarded("devices", _devices())
    yield from guarded("disk", _disk(places))
    yield from guarded("clock", clock_findings())


def _versions() -> Iterator[Finding]:
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


def _extras() -> Iterator[Finding]:
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


def _devices() -> Iterator[Finding]:
    from runtime.engines.quiet import ov

    core = ov.Core()
    names = [str(name) for name in core.available_devices]
    told = [f"{name} ({core.get_property(name, 'FULL_DEVICE_NAME')})" for name in names]
    cores = f"{available_cores()} cores"
    if "CPU" not in names:
        yield Finding(
            "devices",
            "fault",
            f"expected at least the device CPU, found {', '.join(told) or 'none'}",
            "type: pip install --force-reinstall openvino",
        )
        return
    yield Finding("devices", "ok", f"{', '.join(told)}; {cores} for this process")
    # What the kernel shows and OpenVINO does not is a driver that is missing or a right.
    for device, pattern in (("GPU", "dri/renderD*"), ("NPU", "accel/accel*")):
        nodes = sorted(Path("/dev").glob(pattern))
        if nodes and not any(name.split(".")[0] == device for name in names):
            closed = [str(node) for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
            yield Finding(
                "devices",
                "warning",
                f"{nodes[0]} is there, but OpenVINO finds no {device}",
                f"give this user the group of {closed[0]} (ls -l {closed[0]})"
                if closed
                else "where it is Intel's, install its driver, see docs/intel-gpu.md; "
                "the CPU is used meanwhile",
            )


def _disk(places: Iterable[Path]) -> Iterator[Finding]:
    asked = [*places, Path(tempfile.gettempdir())]
    cache = model_cache_dir()
    if cache is None:
        yield Finding(
            "disk",
            "warning",
            "no folder for compiled models can be written, so every start takes longer",
            "name one that can: export LINESIDE_CACHE_DIR=/var/cache/lineside",
        )
    else:
        asked.append(cache)
    yield from map(_room, asked)


def _room(place: Path) -> Finding:
    there = place.absolute()
    while not there.exists():
        there = there.parent
    usage = shutil.disk_usage(there)
    free = usage.free >> 20
    text = f"{place}: {free:,} MiB free of {usage.total >> 20:,}"
    if not os.access(there, os.W_OK):
        return Finding(
            "disk",
            "fault",
            f"{place}: expected a folder that can be written, found one that cannot",
            f"give it to this user: chown $USER {there}",
        )
    if free < _TOO_LITTLE_MIB:
        return Finding(
            "disk",
            "fault",
            f"{text}, less than the {_TOO_LITTLE_MIB} that must stay free",
            "free some space: lineside prune, or a larger disk",
        )
    if free < _LITTLE_MIB:
        return Finding("disk", "warning", text, "free some space before it is full: lineside prune")
    return Finding("disk", "ok", text)


def clock_findings(now: float | None = None, newest: float | None = None) -> Iterator[Finding]:
    """Whether the clock can be right: records are ordered and pruned by it.

    Args:
        now: seconds since 1970; None is the clock's.
        newest: what has certainly been before now, as the time when Lineside was installed; None is
            that.
    """
    at = time.time() if now is None else now
    before = _installed_at() if newest is None else newest
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    known = datetime.fromtimestamp(before, UTC).date().isoformat()
    advice = "set it, and keep it right: timedatectl set-ntp true"
    if at < before - _A_DAY_S:
        found = f"{text} is before {known}, when Lineside was installed"
        yield Finding("clock", "fault", found, advice)
    elif at > before + _TOO_LATE_S:
        found = f"{text} is more than ten years after {known}, when Lineside was installed"
        yield Finding("clock", "fault", found, f"{advice}; until then never type: lineside prune")
    elif _is_kept_right() is False:
        yield Finding("clock", "warning", f"{text}, and nothing keeps it right", advice)
    else:
        yield Finding("clock", "ok", text)


def _installed_at() -> float:
    return Path(__file__).stat().st_mtime


def _is_kept_right() -> bool | None:
    """Whether the kernel says that somebody keeps the clock right; None where it does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    answer = int(
        ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    )
    return None if answer < 0 else answer != _TIME_ERROR
