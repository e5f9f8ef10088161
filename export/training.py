"""From a recipe and good parts to a fitted model, and on to a bundle."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.learning.made_up import METRIC, PICTURE_FILE, tell_what_to_expect
from calibration.learning.photographs import Photographs, read_photographs
from calibration.threshold_rules import MAX_FALSE_REJECTS
from export.data.roi import make_roi
from export.models import families, family_of
from export.models.settings import Recipe
from runtime.bundle.folder import MANIFEST_FILE
from runtime.bundle.manifest import Manifest
from runtime.errors import LinesideError, TrainingError
from runtime.images.dataset import load_category

if TYPE_CHECKING:
    from export.bundling import Trained

log = logging.getLogger("lineside")


def train_bundle(
    recipe: Recipe,
    data: Path,
    out: Path,
    category: str | None = None,
    name: str | None = None,
    seed: int = 0,
    max_false_rejects: float = MAX_FALSE_REJECTS,
    roi: str | None = None,
) -> Manifest:
    """Train on good parts, export and certify.

    An interrupted export goes on from where it was when the same call comes again.

    Args:
        recipe: settings.
        data: MVTec-style root, one category's folder, or a plain folder of good parts.
        out: bundle folder; it appears when all of it is proven.
        category: name of the category below ``data``; None where there is one only.
        name: the bundle's name; None for ``CATEGORY-MODEL``.
        seed: of everything random.
        max_false_rejects: share of good parts that the threshold may reject, in (0, 1).
        roi: region of interest inside which alone parts are learned and judged, see
            :func:`export.data.roi.make_roi`; None for the whole picture.

    Returns:
        The manifest as written.

    Raises:
        DataError: no usable pictures.
        TrainingError: unusable settings, or something else than a bundle at ``out``.
        ParityError: the exported model differs from anomalib's; no bundle was written.
        KeyboardInterrupt: interrupted; nothing half-written is left behind.
    """
    require_writable(out)
    parts = load_category(data, category)
    if roi is not None and not family_of(recipe.model).takes_roi:
        takers = ", ".join(one.name for one in families() if one.takes_roi)
        raise TrainingError(
            f"--roi {roi}: expected a model that judges a part of the picture alone ({takers}), "
            f"found {recipe.model}; choose another --model, or cut the pictures out"
        )
    hold_out = not family_of(recipe.model).leaves_out
    photographs = read_photographs(parts, recipe.size_hw, seed, hold_out=hold_out)
    if roi is not None:
        region = make_roi(roi, photographs.sizes_hw, recipe.size_hw)
        photographs = replace(photographs, roi=region)
        log.info(f"region of interest: {100 * region.mask.mean():.3g} % of the picture")
    how = f"{len(photographs.held_out)} held out" if photographs.held_out else "left out in turn"
    log.info(
        f"{recipe.model} on {parts.name}: {len(photographs.train)} good parts to learn from, "
        f"{how} for the threshold"
    )
    # anomalib and torch take seconds to import: what is wrong with the settings or the data is said
    # before.
    from export.bundling import Work, write_bundle
    from export.checkpoint import Checkpoint

    checkpoint = Checkpoint(out, recipe, photographs, seed)
    trained = checkpoint.load()
    if trained is None:
        trained = train(recipe, photographs, seed)
        log.info(f"trained in {trained.seconds:.0f} s; exporting")
        checkpoint.save(trained)
    else:
        log.info("trained already, by a run that was interrupted; exporting")
    work = Work(recipe, parts, photographs, trained, seed, max_false_rejects, roi)
    try:
        manifest = write_bundle(work, out, name or f"{parts.name}-{recipe.model}")
    except LinesideError:
        # The same model would fail again.
        checkpoint.remove()
        raise
    checkpoint.remove()
    picture = out / PICTURE_FILE
    tell_what_to_expect(
        manifest.metrics.get(METRIC, {}),
        max_false_rejects,
        len(photographs.held_out or photographs.train),
        picture if picture.is_file() else None,
    )
    return manifest


def train(recipe: Recipe, photographs: Photographs, seed: int) -> Trained:
    """Fit a model.

    Args:
        recipe: settings.
        photographs: good parts; without held-out ones each is left out in turn.
        seed: of everything random.

    Raises:
        TrainingError: unusable weights or features.
        KeyboardInterrupt: interrupted; nothing is left behind.
    """
    import lightning

    from export.bundling import Trained

    start = time.perf_counter()
    lightning.seed_everything(seed, verbose=False)
    with tempfile.TemporaryDirectory(prefix="lineside-train-") as folder, _quiet():
        model, left_out = family_of(recipe.model).fit(recipe, photographs, seed, Path(folder))
    return Trained(model.cpu().eval(), time.perf_counter() - start, left_out)


def require_writable(out: Path) -> None:
    """Refuse to replace anything but a bundle, before an hour is spent on training.

    Raises:
        TrainingError: something else is there.
    """
    is_bundle = (out / MANIFEST_FILE).is_file()
    if out.exists() and not is_bundle and (out.is_file() or any(out.iterdir())):
        raise TrainingError(
            f"{out}: expected a new folder or an older bundle, found something else; choose "
            "another --out"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep libraries' own progress and advice off the terminal."""
    import tqdm

    original = tqdm.tqdm.__init__

    def silent(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "disable": True})

    tqdm.tqdm.__init__ = silent
    logging.disable(logging.WARNING)
    # Our own lines and progress go on: this logger alone does not ask what is disabled.
    log.isEnabledFor = lambda level: level >= log.getEffectiveLevel()  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tqdm.tqdm.__init__ = original
        logging.disable(logging.NOTSET)
        del log.isEnabledFor
