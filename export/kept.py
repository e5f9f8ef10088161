"""A fitted model kept beside the bundle until the bundle is written, so that an interrupted export does not train again.

Only tensors and plain values are stored and read (``weights_only``): the file can hold no code.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from anomalib.models.components import AnomalibModule
from torch import nn

from export.certificate import Scored
from export.data.photographs import Photographs
from export.feature_student import make_efficientad
from export.map_tuning import MapReading
from export.patchcore import LinesidePatchcore
from export.projection import Projection
from export.recipe import PatchCoreRecipe, Recipe
from export.residuals import mixing
from export.training import Trained
from runtime import atomic

log = logging.getLogger("lineside")


class KeptModel:
    """The fitted model of one training, in a hidden file beside the bundle's folder.

    Args:
        out: the bundle's folder.
        recipe: settings.
        photographs: good parts, split.
        seed: of everything random.
    """

    def __init__(self, out: Path, recipe: Recipe, photographs: Photographs, seed: int) -> None:
        self.path = out.absolute().parent / f".{out.name}.trained"
        self._recipe = recipe
        self._seed = seed
        self._key = _key(recipe, photographs, seed)

    def save(self, trained: Trained) -> None:
        """Write it; where that fails (a full disk) the export goes on without."""
        content = io.BytesIO()
        saved = {
            "key": self._key,
            "seconds": trained.seconds,
            "unseen": _as_tensors(trained.unseen),
        }
        torch.save({**saved, **_parts(trained.model)}, content)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(self.path, content.getvalue())
        except OSError as error:
            log.info(
                f"the fitted model cannot be kept ({error.strerror}); if the export fails, "
                "training starts anew"
            )

    def load(self) -> Trained | None:
        """What an interrupted run has left; None if there is nothing, or something of other settings or pictures."""
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            if found["key"] != self._key:
                return None
            model = _rebuild(found, self._recipe, self._seed)
            unseen = _as_scored(found["unseen"])
        except FileNotFoundError:
            return None
        except (
            OSError,
            RuntimeError,
            EOFError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            pickle.UnpicklingError,
        ) as error:
            log.info(
                f"{self.path}: expected a fitted model, found something else "
                f"({type(error).__name__}); training anew"
            )
            return None
        return Trained(model.cpu().eval(), float(found["seconds"]), unseen)

    def remove(self) -> None:
        """Nothing to go on with."""
        self.path.unlink(missing_ok=True)


def _key(recipe: Recipe, photographs: Photographs, seed: int) -> str:
    """sha256 over all that makes the model."""
    weights = [getattr(recipe, name, None) for name in ("backbone_weights", "teacher_weights")]
    said = {
        "recipe": recipe.to_json(),
        "weights": [None if path is None else _digest(path) for path in weights],
        "imagenet_dir": str(getattr(recipe, "imagenet_dir", None)),
        "pictures": photographs.fingerprint,
        "learnt": photographs.train_digests,
        "seed": seed,
        "versions": {name: version(name) for name in ("lineside", "anomalib", "torch")},
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _digest(path: Path) -> str:
    """sha256 of a file in hex; empty for one that cannot be read, of which training says more."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _as_tensors(scored: Scored | None) -> dict[str, torch.Tensor] | None:
    if scored is None:
        return None
    maps = [torch.from_numpy(one) for one in scored.maps]
    return {"scores": torch.from_numpy(scored.scores), "maps": torch.stack(maps)}


def _as_scored(tensors: dict[str, torch.Tensor] | None) -> Scored | None:
    if tensors is None:
        return None
    return Scored(tensors["scores"].numpy(), list(tensors["maps"].numpy()))


def _parts(model: AnomalibModule) -> dict[str, Any]:
    """Tensors and plain values that :func:`_rebuild` makes the model of."""
    inner = model.model
    if isinstance(model, LinesidePatchcore):
        projection = inner.projection
        weights = None
        if projection is not None:
            layers = enumerate(projection.layers)
            weights = {
                layer: getattr(projection, f"weight_{index}").flatten(1) for index, layer in layers
            }
        return {
            "memory_bank": inner.memory_bank,
            "projection": weights,
            "bias": None if projection is None else projection.bias.flatten(),
        }
    # The smoothing's kernel follows from the reading.
    state = {
        name: value
        for name, value in inner.state_dict().items()
        if not name.startswith("smoothing.")
    }
    return {"state": state, "reading": asdict(inner.reading)}


def _rebuild(parts: dict[str, Any], recipe: Recipe, seed: int) -> AnomalibModule:
    if isinstance(recipe, PatchCoreRecipe):
        patchcore = LinesidePatchcore(recipe, seed)
        patchcore.model.memory_bank = parts["memory_bank"]
        if parts["projection"] is not None:
            patchcore.model.projection = Projection(parts["projection"], parts["bias"])
        return patchcore
    efficientad = make_efficientad(recipe, None)
    inner = efficientad.model
    if recipe.whitening and recipe.student == "pixels":
        inner.teacher = nn.Sequential(inner.teacher, mixing(inner.teacher_out_channels))
    inner.load_state_dict(parts["state"])
    inner.smooth_as(MapReading(**parts["reading"]))
    return efficientad
