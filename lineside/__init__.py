"""Visual inspection for the side of a production line.

    import lineside

    with lineside.Inspector("tile-patchcore") as inspector:
        prediction = inspector.inspect("part.png")
    print(prediction.verdict, prediction.pred_score)

The names below come from the four packages and are imported when they are first used:
``import lineside`` itself loads nothing, and changes nothing outside itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_app.store import open_store as open_store
    from runtime.bundle.folder import Bundle as Bundle
    from runtime.engines.base import Engine as Engine
    from runtime.engines.base import FakeEngine as FakeEngine
    from runtime.engines.base import open_engine as open_engine
    from runtime.errors import LinesideError as LinesideError
    from runtime.images.regions import Region as Region
    from runtime.inspector import Inspector as Inspector
    from runtime.prediction import Prediction as Prediction
    from runtime.prediction import Verdict as Verdict

_HOMES = {
    "Bundle": "runtime.bundle.folder",
    "Engine": "runtime.engines.base",
    "FakeEngine": "runtime.engines.base",
    "Inspector": "runtime.inspector",
    "LinesideError": "runtime.errors",
    "Prediction": "runtime.prediction",
    "Region": "runtime.images.regions",
    "Verdict": "runtime.prediction",
    "open_engine": "runtime.engines.base",
    "open_store": "edge_app.store",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605  the names above


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lineside' has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
