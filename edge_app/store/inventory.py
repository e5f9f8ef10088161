"""Which bundles have parts at a location."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_app.store.location import is_server
from runtime.errors import StoreError, require_extra


@dataclass(frozen=True)
class Held:
    """A bundle of which a location has parts.

    Attributes:
        bundle: its fingerprint.
        embedding_length: length of its descriptors.
    """

    bundle: str
    embedding_length: int


def held_at(location: str, bundle: str | None = None) -> list[Held]:
    """Find the bundles of which a location has parts; nothing is opened, created or locked.

    Args:
        location: a folder or a server, as for :func:`edge_app.store.location.open_store`.
        bundle: a bundle's folder, or the first characters of a fingerprint, to choose one.

    Raises:
        StoreError: there are none, or the location cannot be read or reached.
        BundleError: the bundle's folder holds no sound one.
        MissingExtraError: Qdrant's packages are not installed.
    """
    found = _on_server(location) if is_server(location) else _in_folder(location)
    if bundle is not None:
        found = [held for held in found if held.bundle.startswith(_fingerprint(bundle))]
    if not found:
        which = "any bundle" if bundle is None else f"bundle {bundle}"
        raise StoreError(
            f"{location}: expected a store with parts of {which}, found none; "
            f"type: lineside index BUNDLE --images DIR --store {location}"
        )
    return found


def held_of(bundle: Path) -> Held:
    """What a location would hold of a bundle."""
    from edge_app.fingerprint import bundle_fingerprint
    from runtime.bundle.folder import Bundle

    with Bundle.open(bundle) as opened:
        return Held(bundle_fingerprint(opened), opened.manifest.outputs.embedding_length)


def _fingerprint(bundle: str) -> str:
    return held_of(Path(bundle)).bundle if Path(bundle).exists() else bundle


def _in_folder(location: str) -> list[Held]:
    from edge_app.records import RECORDS_FILE, Database, bundles
    from edge_app.records.takeover import old_stores

    if "://" in location or location == "memory:" or not location.strip():
        raise StoreError(
            f"store: expected a folder or http://HOST:6333, found {location!r}; check the address"
        )
    root = Path(location)
    found: dict[str, int] = {}
    if (root / RECORDS_FILE).is_file():
        database = Database(root)
        try:
            found = dict(bundles(database))
        finally:
            database.close()
    for _, old in old_stores(root):
        found.setdefault(old.bundle, old.embedding_length)
    return [Held(*entry) for entry in sorted(found.items())]


def _on_server(location: str) -> list[Held]:
    require_extra("neighbours", "qdrant_client")
    from edge_app.store.collection import COLLECTION_PREFIX, read_collection
    from edge_app.store.connect import connect, server_errors

    client = connect(location)
    try:
        with server_errors(location, "list collections"):
            names = sorted(entry.name for entry in client.get_collections().collections)
            found = [
                read_collection(client, name)
                for name in names
                if name.startswith(COLLECTION_PREFIX)
            ]
    finally:
        client.close()
    # The fingerprint is written on the parts alone, so an empty collection tells nothing; nor is
    # there anything to do.
    return [Held(*entry) for entry in found if entry is not None]
