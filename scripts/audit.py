"""Known faults of the packages of a station: ``make audit``. Allowed ones have a last day."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = ROOT / "deploy" / "audit-allowed.txt"
AUDITED = ROOT / "deploy" / "requirements-station.txt"
SERVICE = "https://pypi.org/"
# Of a version whose faults have been known for years.
_KNOWN = "pypi/pip/19.0/json"
_PATIENCE_S = 20.0
_LINE = re.compile(r"([A-Z]+-[A-Za-z0-9-]+) (\d{4}-\d\d-\d\d) (\S.*)")


def read_allowed(text: str, today: date) -> list[str]:
    """Names of the faults that are allowed today.

    Args:
        text: lines of ``NAME YYYY-MM-DD reason``; others begin with ``#``.
        today: a fault is allowed up to and on its date.

    Raises:
        ValueError: a line is of another form, or past its date.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(
                f"line {number}: expected NAME YYYY-MM-DD reason, found {line!r}; e.g. "
                "PYSEC-2026-1 2027-01-31 not reached: we parse no such file"
            )
        if date.fromisoformat(match[2]) < today:
            raise ValueError(
                f"line {number}: {match[1]} was allowed until {match[2]}; upgrade the package "
                "(make requirements), or look again and set another date"
            )
        found.append(match[1])
    return found


def unreachable(service: str = SERVICE) -> str:
    """Why nothing could be audited now; empty where the advisory database answers.

    It is asked for a package that has known faults. Without that, a mirror that knows no advisories
    would look like packages without faults, or without names.

    Args:
        service: address of the database.
    """
    try:
        with urllib.request.urlopen(f"{service}{_KNOWN}", timeout=_PATIENCE_S) as answer:
            found = json.load(answer)["vulnerabilities"]
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
    else:
        why = "" if found else "an answer without any"
    if not why:
        return ""
    return (
        f"audit: expected the advisories of pip 19.0 from {service}, found {why}. Nothing was "
        "audited; type make audit on a machine that reaches it"
    )


def main() -> None:
    """Ask the advisory database; the exit code is pip-audit's, or 2 where nobody answers."""
    try:
        allowed = read_allowed(ALLOWED.read_text(encoding="utf-8"), date.today())
    except ValueError as error:
        raise SystemExit(f"{ALLOWED}: {error}") from error
    if why := unreachable():
        print(why, file=sys.stderr)
        raise SystemExit(2)
    ignored = [word for name in allowed for word in ("--ignore-vuln", name)]
    # The hashes say which files are meant, so that nothing is installed to find out.
    how = ("--require-hashes", "--disable-pip", "--strict", "--progress-spinner", "off")
    program = Path(sys.executable).parent / "pip-audit"
    command = [str(program), "--requirement", str(AUDITED), *how, *ignored]
    raise SystemExit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
