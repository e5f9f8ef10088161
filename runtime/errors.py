"""The exceptions. Every message says what was expected, what was found and what to do next."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

# Of a message that quotes what somebody has typed, or a hostile file says.
MOST_LETTERS = 1000


class LinesideError(Exception):
    """Base of all errors that a user can act on; the command line prints one line and exits 1."""

    def __str__(self) -> str:
        """The message; of a very long one its beginning, and its end with the advice."""
        said = super().__str__()
        if len(said) <= MOST_LETTERS:
            return said
        return f"{said[: MOST_LETTERS - 300]} ... {said[-295:]}"


class ImageError(LinesideError):
    """A file that is no readable picture."""


class DataError(LinesideError):
    """A data set folder that is missing, empty or laid out in another way."""


class BundleError(LinesideError):
    """A bundle that is corrupt, incomplete, too new or no bundle at all."""


class ThresholdError(BundleError):
    """thresholds.json is missing, damaged or holds no usable threshold."""


class HealthError(BundleError):
    """health.json is damaged, or the file that the drift test keeps over a restart."""


class EngineError(LinesideError):
    """An engine that is not installed, or a device that this machine does not have."""


class ParityError(LinesideError):
    """An engine whose results differ from the reference by more than the certificate allows."""


class StoreError(LinesideError):
    """A neighbour store that cannot be opened, reached, read or written."""


class SourceError(LinesideError):
    """A camera, video, stream or folder that cannot be watched."""


class TrainingError(LinesideError):
    """Training that cannot start or cannot go on."""


class PageError(LinesideError):
    """The operator's page cannot be served: the port is taken, or everyone could open it."""


class ConfigError(LinesideError):
    """A station's configuration that cannot be used."""


class OutputError(LinesideError):
    """Whoever takes a station's verdicts does not answer, or refuses them."""


class MissingExtraError(LinesideError):
    """A subcommand whose optional packages are not installed.

    Args:
        extra: name of the extra that brings the packages, e.g. ``train``.
        module: the module that could not be imported.
    """

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(
            f"this needs the package '{module}', which is not installed; type: pip install "
            f"'lineside[{extra}]'"
        )
        self.extra = extra


def sentence(error: BaseException) -> str:
    """An exception in one line for people."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0][:300] if lines else ""
    if isinstance(error, LinesideError):
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


@contextmanager
def reading(
    where: object, expected: str, error: type[LinesideError], advice: str
) -> Iterator[None]:
    """Whatever fails while something from outside is read becomes one line.

    Args:
        where: file, for the message.
        expected: what it should have been.
        error: what to raise; another error of ours stays as it is.
        advice: what to type or do next.
    """
    try:
        yield
    except LinesideError:
        raise
    except Exception as problem:
        # Readers fail in ways that nobody can list: codecs, parsers, image libraries, the memory.
        raise error(
            f"{where}: expected {expected}, found {sentence(problem)}; {advice}"
        ) from problem


def require_extra(extra: str, *modules: str) -> None:
    """Raise :class:`MissingExtraError` if a top-level module of an extra is not installed.

    Args:
        extra: the extra's name in ``pip install 'lineside[extra]'``.
        *modules: top-level module names, looked up without importing them.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(extra, module)
