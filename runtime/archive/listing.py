"""Which pictures an archive has: a folder of them, or a list in a Parquet or CSV file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import DataError, reading, sentence
from runtime.images.dataset import list_images

if TYPE_CHECKING:
    import pyarrow as pa

LISTS = (".parquet", ".csv")
_ADVICE = "give a folder of pictures, or a .parquet or .csv file with a column of paths"


def pictures_of(source: Path, column: str) -> pa.ChunkedArray:
    """Absolute paths of the pictures, each once, in the order of the source.

    Args:
        source: a folder, searched in depth and sorted, or a list; its relative paths begin at the
            folder of the list.
        column: name of the list's column of paths.

    Returns:
        Arrow ``large_string`` (n,): a hundred million of them take a tenth of what Python's take.

    Raises:
        DataError: nothing there, an empty folder or list, no such column, rows without a path, or
            names that are no UTF-8, which no Parquet file can hold.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.large_string()
    try:
        if source.is_dir():
            names = [os.path.abspath(path) for path in list_images(source)]  # noqa: PTH100
            paths = pa.chunked_array([pa.array(names, kind)])
        else:
            listed, root = _column(source, column), os.path.abspath(source.parent)  # noqa: PTH100
            # normpath of join, not Path: a hundred times as many are made in the same time.
            chunks = [
                pa.array([os.path.normpath(os.path.join(root, one)) for one in part], kind)  # noqa: PTH118
                for part in (chunk.to_pylist() for chunk in listed.chunks)
            ]
            paths = pa.chunked_array(chunks, kind)
    except UnicodeError as error:
        raise DataError(
            f"{source}: expected file names in UTF-8, found others ({sentence(error):.120}); "
            "rename them"
        ) from error
    return pa.chunked_array([pc.unique(paths)])


def _column(source: Path, column: str) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    suffix = source.suffix.lower()
    if suffix not in LISTS or not source.is_file():
        found = "nothing there" if not source.exists() else f"a file '{source.name}'"
        raise DataError(
            f"{source}: expected a folder or a list of pictures, found {found}; {_ADVICE}"
        )
    with reading(source, "a list of pictures", DataError, _ADVICE):
        if suffix == ".csv":
            table = pa.csv.read_csv(
                source, convert_options=pa.csv.ConvertOptions(column_types={column: pa.string()})
            )
            names = table.column_names
        else:
            file = pa.parquet.ParquetFile(source)
            names = file.schema_arrow.names
            table = file.read(columns=[column]) if column in names else None
    if table is None or column not in names:
        raise DataError(
            f"{source}: expected the column '{column}', found {', '.join(names)}; say which with "
            "--column NAME"
        )
    found = table.column(column)
    if not (pa.types.is_string(found.type) or pa.types.is_large_string(found.type)):
        raise DataError(
            f"{source}: expected text in the column '{column}', found {found.type}; say which with "
            "--column NAME"
        )
    empty = sum(not one for chunk in found.chunks for one in chunk.to_pylist())
    if empty or not len(found):
        what = f"{empty} rows without one" if empty else "no row at all"
        raise DataError(f"{source}: expected a path in each row, found {what}; mend the list")
    return found
