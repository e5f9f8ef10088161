"""Results on disk: Parquet files that appear whole, each picture in one of them, once."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime import atomic
from runtime.bundle.folder import Bundle
from runtime.bundle.manifest import Variant
from runtime.bundle.packed import hold
from runtime.bundle.thresholds import THRESHOLDS_FILE
from runtime.closing import Closeable
from runtime.decode import read_json
from runtime.errors import DataError, LinesideError, reading, sentence
from runtime.health.baseline import HEALTH_FILE
from runtime.prediction import Prediction

if TYPE_CHECKING:
    import pyarrow as pa

# Readers of a whole folder of Parquet files pass over names that begin with an underscore.
IDENTITY_FILE = "_archive.json"
PATH = "path"


@dataclass(frozen=True)
class Identity:
    """What a folder's results come from; others do not join them.

    Attributes:
        bundle: its name.
        model: fingerprint of its fp32 model.
        variant: ``engine/precision``.
        limits: sha256 of thresholds.json and health.json.
    """

    bundle: str
    model: str
    variant: str
    limits: str


def identity_of(bundle: Bundle, variant: Variant) -> Identity:
    """What results of a bundle's variant are known by."""
    digest = hashlib.sha256()
    for name in (THRESHOLDS_FILE, HEALTH_FILE):
        path = bundle.root / name
        digest.update(path.read_bytes() if path.is_file() else b"none")
    manifest = bundle.manifest
    return Identity(manifest.name, manifest.model_fingerprint(), variant.key, digest.hexdigest())


def schema_of(embedding_length: int) -> pa.Schema:
    """Columns of the results; the names of ``inspect --json``."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field(PATH, pa.large_string(), nullable=False),
            pa.field("verdict", pa.string(), nullable=False),
            pa.field("pred_score", pa.float32()),
            pa.field("normalized_score", pa.float32()),
            pa.field("threshold", pa.float32()),
            pa.field("reason", pa.string()),
            pa.field("unreadable", pa.bool_(), nullable=False),
            pa.field("fault", pa.bool_(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), embedding_length)),
        ]
    )


def table_of(
    found: Iterable[tuple[str, Prediction | LinesideError]], embedding_length: int
) -> pa.Table:
    """One row for each picture, also for those that cannot be judged.

    Args:
        found: paths, each with its prediction, or with the error of one that cannot be read or has
            brought its worker down.
        embedding_length: of the bundle.
    """
    import pyarrow as pa

    from runtime.errors import ImageError

    rows, vectors = [], []
    for path, one in found:
        row = {PATH: path, "unreadable": False, "fault": False}
        if isinstance(one, Prediction):
            vectors.append(one.embedding if one.has_score and one.embedding.any() else None)
            known = one.has_score
            row |= {
                "verdict": one.verdict,
                "pred_score": one.pred_score if known else None,
                "normalized_score": one.normalized_score if known else None,
                "threshold": one.threshold.image_threshold,
                "reason": one.reason or None,
                "fault": one.is_fault,
            }
        else:
            vectors.append(None)
            unreadable = isinstance(one, ImageError)
            row |= {
                "verdict": "cannot_judge",
                "reason": sentence(one),
                "unreadable": unreadable,
                "fault": not unreadable,
            }
        rows.append(row)
    schema = schema_of(embedding_length)
    table = pa.Table.from_pylist(rows, schema.remove(len(schema) - 1))
    flat = np.concatenate(
        [np.zeros(embedding_length, np.float32) if one is None else one for one in vectors]
        or [np.zeros(0, np.float32)]
    )
    missing = pa.array([one is None for one in vectors], pa.bool_())
    described = pa.FixedSizeListArray.from_arrays(
        pa.array(flat, pa.float32()), embedding_length, mask=missing
    )
    return table.append_column(schema.field("embedding"), described).cast(schema)


class Results(Closeable):
    """A folder of results; one process at a time writes it.

    Args:
        folder: made where it is not there.
        identity: what the results come from.

    Raises:
        DataError: the folder holds other things or other results, or another process writes it.
    """

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder = folder
        known = folder / IDENTITY_FILE
        if not known.is_file():
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise DataError(
                    f"{folder}: expected an empty folder or one of results, found other things; "
                    "choose another --out"
                )
            folder.mkdir(parents=True, exist_ok=True)
            atomic.write_json(known, asdict(identity))
        advice = "choose another --out"
        there = read_json(known, Identity, error=DataError, advice=advice)
        if there != identity:
            raise DataError(
                f"{folder}: expected results of '{identity.bundle}' ({identity.variant}) as it is "
                f"now, found those of '{there.bundle}' ({there.variant})"
                f"{_difference(there, identity)}; {advice}"
            )
        self._lock = hold(folder)
        if self._lock is None and os.name == "posix":
            raise DataError(
                f"{folder}: expected to be the only one that writes there, found another command; "
                f"wait for it, or {advice}"
            )
        # What a killed process has begun to write; it was never a result.
        for begun in folder.glob(".part-*"):
            begun.unlink(missing_ok=True)
        last = max((int(path.stem.removeprefix("part-")) for path in self.files()), default=-1)
        self._numbers = count(last + 1)

    def files(self) -> list[Path]:
        """The finished files, oldest first."""
        return sorted(self.folder.glob("part-*.parquet"))

    def done(self) -> pa.ChunkedArray:
        """Paths that have a result, ``large_string`` (n,).

        Raises:
            DataError: a file is damaged.
        """
        import pyarrow as pa

        chunks = [chunk for path in self.files() for chunk in self._read(path, [PATH])[PATH].chunks]
        return pa.chunked_array(chunks, pa.large_string())

    def write(self, table: pa.Table) -> Path:
        """One more file; on the disk before this returns."""
        target = self.folder / f"part-{next(self._numbers):06d}.parquet"
        self._write(target, table)
        return target

    def forget_failed(self) -> int:
        """Take out what could not be read or had a fault, so that it is done again.

        Returns:
            How many.
        """
        import pyarrow.compute as pc

        forgotten = 0
        for path in self.files():
            table = self._read(path)
            kept = table.filter(pc.invert(pc.or_(table["unreadable"], table["fault"])))
            forgotten += table.num_rows - kept.num_rows
            if not kept.num_rows:
                path.unlink()
            elif kept.num_rows < table.num_rows:
                self._write(path, kept)
        return forgotten

    def close(self) -> None:
        """Let others write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _read(self, path: Path, columns: list[str] | None = None) -> pa.Table:
        import pyarrow.parquet as pq

        advice = "delete it, its pictures are done again"
        with reading(path, "a file of results", DataError, advice):
            return pq.ParquetFile(path).read(columns)

    def _write(self, target: Path, table: pa.Table) -> None:
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        atomic.write_bytes(target, buffer.getvalue())


def _difference(there: Identity, now: Identity) -> str:
    if there.model != now.model:
        return ", another model"
    return ", with other thresholds or limits" if there.limits != now.limits else ""
