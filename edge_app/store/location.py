"""From what the user writes after ``--store`` to an open store."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge_app.store.neighbor_store import NeighborStore
from runtime.errors import StoreError, require_extra

MEMORY = "memory:"
_REMOTE_SCHEMES = ("http://", "https://", "grpc://", "grpcs://")


def is_server(location: str) -> bool:
    """Whether a location is a server's and not a folder."""
    return location.startswith(_REMOTE_SCHEMES)


def is_folder(location: str) -> bool:
    """Whether a location is a folder of this box that lasts."""
    return "://" not in location and location != MEMORY


def open_store(
    location: str,
    *,
    bundle: str,
    embedding_length: int,
    create: bool = True,
    pauses_s: Sequence[float] = (),
    timeout_s: int | None = None,
    reserve_mib: int | None = None,
    later: bool = False,
) -> NeighborStore:
    """Open a neighbour store.

    Args:
        location: a folder (``./neighbours``), a server (``http://host:6333``,
            ``https://...?prefer_grpc=1``, ``grpc://host:6334``; the API key comes from the
            environment variable QDRANT_API_KEY), or ``memory:`` for a folder that is removed on
            close.
        bundle: fingerprint of the model, from :func:`edge_app.fingerprint.bundle_fingerprint`.
            Several bundles may share a location; each has its own folder or collection there.
        embedding_length: length of the model's descriptors.
        create: False to refuse a store that does not exist yet, for commands that only read.
        pauses_s: a server only: seconds before each further attempt when it cannot be reached.
        timeout_s: a server only: seconds to wait for any answer.
        later: a server only: open although it cannot be reached just now, see
            :class:`edge_app.store.remote.RemoteStore`.
        reserve_mib: a folder only: free space in MiB that writing leaves on the disk.

    Raises:
        StoreError: the store cannot be opened, reached or written, or belongs to another bundle.
        MissingExtraError: Qdrant's packages are not installed.
    """
    if embedding_length < 1:
        raise StoreError(
            f"embedding length: expected at least 1, found {embedding_length}; check the bundle"
        )
    if is_server(location):
        require_extra("neighbours", "qdrant_client")
        from edge_app.store.connect import TIMEOUT_S, connect
        from edge_app.store.remote import RemoteStore

        patience_s = TIMEOUT_S if timeout_s is None else timeout_s
        return RemoteStore(
            connect(location, patience_s),
            bundle=bundle,
            embedding_length=embedding_length,
            name=location,
            create=create,
            pauses_s=pauses_s,
            timeout_s=patience_s,
            later=later,
        )
    if "://" in location or not location.strip():
        raise StoreError(
            "store: expected a folder, http://HOST:6333, grpc://HOST:6334 or memory:, found "
            f"{location!r}"
        )
    require_extra("neighbours", "qdrant_edge")
    from edge_app.store.edge import RESERVE_MIB, EdgeStore

    if location == MEMORY:
        temporary = tempfile.TemporaryDirectory(prefix="lineside-", ignore_cleanup_errors=True)
        return EdgeStore(
            Path(temporary.name),
            bundle=bundle,
            embedding_length=embedding_length,
            durable=False,
            on_close=temporary.cleanup,
        )
    return EdgeStore(
        Path(location),
        bundle=bundle,
        embedding_length=embedding_length,
        create=create,
        reserve_mib=RESERVE_MIB if reserve_mib is None else reserve_mib,
    )
