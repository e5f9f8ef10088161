"""The exception tree. Every message says what was expected, what was found and what to do next.

LinesideError
  ImageError            a picture that cannot be decoded or is none (in batches: named, skipped)
  DataError             a data set folder that is missing, empty or laid out differently
  BundleError           a bundle that is corrupt, incomplete, too new or no bundle
    ThresholdError      thresholds.json is missing, damaged or holds no usable number
    HealthError         health.json is damaged, or a file of the drift test is
  EngineError           an engine that is not installed or a device that is not there
  ParityError           an engine that computes something else than the reference
  SourceError           a camera, video or folder that cannot be watched
  StoreError            a neighbour store that cannot be opened, reached or written
  TrainingError         training cannot start or cannot go on
  PageError             the operator's page cannot be served
  MissingExtraError     the subcommand needs packages that this installation lacks
"""

from __future__ import annotations

import importlib.util


class LinesideError(Exception):
    """Base of all errors that a user can act on; the command line prints one line and exits 1."""


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


def require_extra(extra: str, *modules: str) -> None:
    """Raise :class:`MissingExtraError` if a top-level module of an extra is not installed.

    Args:
        extra: the extra's name in ``pip install 'lineside[extra]'``.
        *modules: top-level module names, looked up without importing them.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(extra, module)
