"""Known faults of the packages of a station: ``make audit``. Allowed ones have a last day."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = ROOT / "deploy" / "audit-allowed.txt"
AUDITED = ROOT / "deploy" / "requirements-station.txt"
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


def main() -> None:
    """Ask the advisory database; the exit code is pip-audit's."""
    try:
        allowed = read_allowed(ALLOWED.read_text(encoding="utf-8"), date.today())
    except ValueError as error:
        raise SystemExit(f"{ALLOWED}: {error}") from error
    ignored = [word for name in allowed for word in ("--ignore-vuln", name)]
    # The hashes say which files are meant, so that nothing is installed to find out.
    how = ("--require-hashes", "--disable-pip", "--strict", "--progress-spinner", "off")
    program = Path(sys.executable).parent / "pip-audit"
    command = [str(program), "--requirement", str(AUDITED), *how, *ignored]
    raise SystemExit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
