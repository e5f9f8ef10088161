"""A fitted model on disk until its bundle is written: an interrupted export goes on from it.

Only tensors and plain values are stored and read (``weights_only``): the file can hold no code.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import pickle
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import torch

from calibration.learning.evidence import Scored
from calibration.learning.photographs import Photographs
from export.bundling import Trained
from export.models import family_of
from export.models.settings import Recipe
from runtime import atomic

log = logging.getLogger("lineside")


class Checkpoint:
    """The fitted model of one training, in a hidden file beside the bundle's folder.

    Args:
        out: the bundle's folder.
        recipe: settings.
        photographs: good parts, split.
        seed: of everything random.
    """

    def __init__(self, out: Path, recipe: Recipe, photographs: Photographs, seed: int) -> None:
        self.path = out.absolute().parent / f".{out.name}.trained"
        self._recipe, self._family = recipe, family_of(recipe.model)
        self._seed = seed
        self._key = _key(recipe, photographs, seed)

    def save(self, trained: Trained) -> None:
        """Write it; where that fails (a full disk) the export goes on without."""
        content = io.BytesIO()
        saved = {
            "key": self._key,
            "seconds": trained.seconds,
            "left_out": _as_tensors(trained.left_out),
        }
        torch.save({**saved, **self._family.checkpoint(trained.model)}, content)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(self.path, content.getvalue())
        except OSError as error:
            log.info(
                f"the fitted model cannot be kept ({error.strerror}); if the export fails, "
                "training starts anew"
            )

    def load(self) -> Trained | None:
        """What an interrupted run of the same settings and pictures has left, or None."""
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            if found["key"] != self._key:
                return None
            model = self._family.restore(self._recipe, self._seed, found)
            left_out = _as_scored(found["left_out"])
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
        return Trained(model.cpu().eval(), float(found["seconds"]), left_out)

    def remove(self) -> None:
        """Nothing to go on with."""
        self.path.unlink(missing_ok=True)


def _key(recipe: Recipe, photographs: Photographs, seed: int) -> str:
    """sha256 over all that makes the model."""
    said = {
        "recipe": recipe.to_json(),
        "files": {one.name: _digest(getattr(recipe, one.name)) for one in fields(recipe)},
        "pictures": photographs.fingerprint,
        "learnt": photographs.train_digests,
        "roi": None if photographs.roi is None else photographs.roi.mask.tobytes().hex(),
        "seed": seed,
        "versions": {name: version(name) for name in ("lineside", "anomalib", "torch")},
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _digest(value: object) -> str | None:
    """sha256 of a file in hex, or a folder's path; empty for a file that training will refuse."""
    if not isinstance(value, Path):
        return None
    if value.is_dir():
        return str(value)
    try:
        return hashlib.sha256(value.read_bytes()).hexdigest()
    except OSError:
        return ""


def _as_tensors(scored: Scored | None) -> dict[str, torch.Tensor] | None:
    if scored is None:
        return None
    maps = [torch.from_numpy(one) for one in scored.maps]
    return {
        "scores": torch.from_numpy(scored.scores),
        "maps": torch.stack(maps),
        "made_up": torch.from_numpy(scored.made_up),
    }


def _as_scored(tensors: dict[str, torch.Tensor] | None) -> Scored | None:
    if tensors is None:
        return None
    scores, maps, made_up = (tensors[name].numpy() for name in ("scores", "maps", "made_up"))
    return Scored(scores, list(maps), made_up)
