"""The command line as a user meets it: by exit code, stdout and stderr, in this process."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from runtime.cli import main

# `train` with few blocks of the backbone and small pictures, for what the network sees does not
# matter there: writing the graph of all of it takes ten seconds.
QUICK = ("--model", "patchcore", "--layers", "blocks.1,blocks.2", "--size", 128)
# For what needs a process of its own: signals, file handles, what is imported.
COMMAND = (sys.executable, "-P", "-m", "lineside")


@dataclass(frozen=True)
class Done:
    """What a command said, under the names of :class:`subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str

    def line(self, code: int = 1) -> str:
        """The one line of a command that failed as it should."""
        assert self.returncode == code, self.stderr
        assert "Traceback" not in self.stderr
        assert self.stdout == ""
        lines = self.stderr.strip().splitlines()
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("lineside: ")
        return lines[0]


def lineside(*arguments: object, cwd: Path | None = None) -> Done:
    """Run the command in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with (
        contextlib.chdir(cwd or os.getcwd()),  # noqa: PTH109
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["lineside", *map(str, arguments)]),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return Done(code, out.getvalue(), err.getvalue())


def lineside_process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )
