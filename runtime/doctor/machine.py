"""The machine itself: what is installed, devices, disk and clock."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from runtime.doctor.finding import Finding, guarded
from runtime.doctor.installed import extra_findings, version_findings
from runtime.engines.base import available_cores, model_cache_dir

# Below the first a store no longer writes (edge_app keeps 128 MiB free); below the second an
# upgrade, a bundle or a day of pictures may fill the rest.
_TOO_LITTLE_MIB, _LITTLE_MIB = 128, 1024
_A_DAY_S = 24 * 3600.0
# A box is hardly used for longer without an update; a clock beyond is the likelier reason.
_TOO_LATE_S = 10 * 365 * _A_DAY_S
# man 2 adjtimex: what it returns while nothing keeps the clock right, and more than the size of its
# struct (208 bytes on 64-bit systems); all zeros asks and changes nothing.
_TIME_ERROR, _TIMEX_BYTES = 5, 512
_CLASSES = Path("/sys/class")
_INTEL = "0x8086"


def machine_findings(places: Iterable[Path] = ()) -> Iterator[Finding]:
    """Versions, extras, devices, disk and clock of this machine.

    Args:
        places: folders that will be written to, beside the cache of compiled models and the
            temporary folder; one that is not there yet stands for the nearest above it.
    """
    yield from guarded("versions", version_findings())
    yield from guarded("extras", extra_findings())
    yield from guarded("devices", _devices())
    yield from guarded("disk", _disk(places))
    yield from guarded("clock", clock_findings())


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
    for device, pattern in (("GPU", "drm/renderD*"), ("NPU", "accel/accel*")):
        if not any(name.split(".")[0] == device for name in names):
            yield from unused_findings(device, sorted(_CLASSES.glob(pattern)))


def unused_findings(device: str, shown: Iterable[Path]) -> Iterator[Finding]:
    """Intel's devices that the kernel shows and OpenVINO does not: a driver or a right is missing.

    Args:
        device: ``GPU`` or ``NPU``, which OpenVINO has not found.
        shown: their folders in ``/sys/class``.
    """
    for entry in shown:
        vendor = entry / "device" / "vendor"
        if not vendor.is_file() or vendor.read_text().strip() != _INTEL:
            continue
        node = Path("/dev/dri" if device == "GPU" else "/dev/accel") / entry.name
        closed = node.exists() and not os.access(node, os.R_OK | os.W_OK)
        yield Finding(
            "devices",
            "warning",
            f"{node} is Intel's, but OpenVINO finds no {device}; the CPU works meanwhile",
            f"give this user the group of {node}: ls -l {node}"
            if closed
            else "install its driver, see docs/intel-gpu.md",
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
    yield from map(room_finding, asked)


def room_finding(place: Path) -> Finding:
    """Room and right to write in a folder, or in the nearest above that is there."""
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
