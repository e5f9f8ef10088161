"""The store on a Qdrant server or cluster, through qdrant-client: boxes that share a memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
from qdrant_client import QdrantClient, models

from edge_app.store import collection as wire
from edge_app.store.base import Merged, Neighbor, PartPoint, SearchFilter
from edge_app.store.connect import (
    TIMEOUT_S,
    CollectionMissingError,
    StoreUnreachableError,
    check_version,
    server_errors,
)
from edge_app.store.schema import (
    VECTOR_NAME,
    Checked,
    bundle_key,
    checked_embedding,
    checked_filter,
    checked_id,
    checked_number,
    checked_point,
    point_of,
)
from edge_app.store.words import newer
from runtime.errors import StoreError

log = logging.getLogger("lineside")

Answer = TypeVar("Answer")
# Keeps a request under the server's limit of 32 MiB, thumbnails of 10 kB included.
_UPSERT_BATCH = 512


class RemoteStore:
    """A neighbor store in one collection of a server.

    See :class:`edge_app.store.base.NeighborStore`.

    Args:
        client: an open client, closed with the store; REST, gRPC or qdrant-client's own local mode.
        bundle: fingerprint of the model; the collection is named after it.
        embedding_length: length of its descriptors.
        name: the location, for messages.
        create: False to refuse a collection that does not exist yet.
        pauses_s: seconds to wait before each further attempt when the server cannot be reached;
            every request may be repeated without harm. Empty for one attempt, so that an operator
            never waits.
        timeout_s: the client's, for messages.
        later: open, and say so, although the server cannot be reached just now; every request asks
            it anew.

    Raises:
        StoreError: the server cannot be reached (not with ``later``) or refuses, or the collection
            holds other vectors.
    """

    def __init__(
        self,
        client: QdrantClient,
        *,
        bundle: str,
        embedding_length: int,
        name: str = "server",
        create: bool = True,
        pauses_s: Sequence[float] = (),
        timeout_s: int = TIMEOUT_S,
        later: bool = False,
    ) -> None:
        self.bundle = bundle
        self.embedding_length = embedding_length
        self.name = name
        self.collection = f"{wire.COLLECTION_PREFIX}{bundle_key(bundle)}"
        self._client = client
        self._closed = False
        self._pauses_s = tuple(pauses_s)
        self._timeout_s = timeout_s
        self._create = create
        self._prepared = False
        try:
            self._prepare()
        except BaseException as error:
            if later and isinstance(error, StoreUnreachableError):
                log.info(f"{error}; going on without it, it is asked again at every part")
                return
            client.close()
            raise

    def upsert(self, points: Sequence[PartPoint]) -> None:
        """Add points or replace those with the same id; on return the server has acknowledged them.

        Raises:
            StoreError: a point is unusable (nothing is written then), or the server cannot be
                reached or refuses.
        """
        self._check_open()
        checked = [
            checked_point(point, self.bundle, self.embedding_length, stamp=True) for point in points
        ]
        self._upsert(checked, models.UpdateMode.UPSERT)

    def merge(self, points: Sequence[PartPoint]) -> Merged:
        """Take over parts of another store, see :meth:`edge_app.store.base.NeighborStore.merge`.

        The server itself checks that a part is missing and a word is older, so that a request that
        arrives late or twice, or another box between reading and writing, takes nothing back.

        Raises:
            StoreError: a point is unusable (nothing is written then), or the server cannot be
                reached or refuses.
        """
        checked = [checked_point(point, self.bundle, self.embedding_length) for point in points]
        there = {
            found.point_id: found
            for found in self.fetch([entry[0] for entry in checked], full=False)
        }
        missing = [entry for entry in checked if entry[0] not in there]
        renewed = {
            identifier
            for point, (identifier, _, _) in zip(points, checked, strict=True)
            if identifier in there and newer(point, there[identifier])
        }
        self._upsert(missing, models.UpdateMode.INSERT_ONLY)
        # Another box may have added a missing part in between, and the server then took nothing of
        # ours.
        words = [
            wire.word_operation(identifier, payload)
            for identifier, _, payload in checked
            if identifier in renewed or (identifier not in there and payload["confirmed_at"])
        ]
        if words:
            self._ask(
                "store the operator's words",
                lambda: self._client.batch_update_points(self.collection, words, wait=True),
            )
        return Merged(len(missing), len(renewed), len(checked) - len(missing) - len(renewed))

    def search(
        self, embedding: npt.NDArray[np.float32], k: int = 5, where: SearchFilter | None = None
    ) -> list[Neighbor]:
        """The k most similar parts by cosine similarity, best first; fewer if there are fewer.

        Raises:
            StoreError: the descriptor or the filter is unusable, or the server cannot be reached or
                refuses.
        """
        self._check_open()
        vector = checked_embedding(embedding, self.embedding_length)
        wanted, limit = wire.field_filter(checked_filter(where)), checked_number(k, "k")
        answer = self._ask(
            "search",
            lambda: self._client.query_points(
                self.collection,
                query=vector.tolist(),
                using=VECTOR_NAME,
                limit=limit,
                query_filter=wanted,
                with_payload=True,
                search_params=wire.SEARCH_PARAMS,
            ),
        )
        return [Neighbor(float(hit.score), point_of(hit.id, hit.payload)) for hit in answer.points]

    def get(self, point_id: str) -> PartPoint | None:
        """One point with its descriptor, or None."""
        found = self.fetch([point_id])
        return found[0] if found else None

    def fetch(self, point_ids: Sequence[str], *, full: bool = True) -> list[PartPoint]:
        """Those of the points that are there, without ``full`` lacking descriptor and thumbnail."""
        self._check_open()
        wanted = [checked_id(value) for value in point_ids]
        if not wanted:
            return []
        found = self._ask(
            "read",
            lambda: self._client.retrieve(self.collection, wanted, **wire.selection(full=full)),
        )
        return [wire.part_of(record) for record in found]

    def scroll(
        self, where: SearchFilter | None = None, batch: int = 256, *, full: bool = True
    ) -> Iterator[list[PartPoint]]:
        """All parts that satisfy the filter, in lists, by id."""
        wanted, size = wire.field_filter(checked_filter(where)), checked_number(batch, "batch")
        start: Any = None
        while True:
            self._check_open()
            page = partial(
                self._client.scroll,
                self.collection,
                scroll_filter=wanted,
                limit=size,
                offset=start,
                **wire.selection(full=full),
            )
            found, start = self._ask("read", page)
            if found:
                yield [wire.part_of(record) for record in found]
            if start is None:
                return

    def delete(self, point_ids: Sequence[str], *, keep_confirmed: bool = False) -> None:
        """Remove parts; on return the server has acknowledged it."""
        self._check_open()
        wanted = [checked_id(value) for value in point_ids]
        if wanted:
            selector = wire.deletion(wanted, keep_confirmed=keep_confirmed)
            self._ask(
                "delete parts", lambda: self._client.delete(self.collection, selector, wait=True)
            )

    def count(self, where: SearchFilter | None = None) -> int:
        """Number of stored parts that satisfy the filter, exact."""
        self._check_open()
        wanted = wire.field_filter(checked_filter(where))
        return self._ask(
            "count",
            lambda: self._client.count(self.collection, count_filter=wanted, exact=True).count,
        )

    def optimize(self, *, wait: bool = True) -> bool:
        """Nothing to do: the server builds its index by itself."""
        return False

    def close(self) -> None:
        """Close the client; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(
                f"{self.name}: expected an open store, found a closed one; open it again"
            )

    def _prepare(self) -> None:
        # Two threads at once do the same twice, which does no harm; one that waited for the other
        # would keep its part waiting.
        if not self._prepared:
            self._patiently("open a collection", self._open_collection)
            self._prepared = True

    def _open_collection(self) -> None:
        check_version(self._client, self.name)
        if not self._client.collection_exists(self.collection):
            if not self._create:
                raise StoreError(
                    f"{self.name}: expected parts indexed with bundle {self.bundle[:16]}, found "
                    f"no collection {self.collection}; type: "
                    f"lineside index BUNDLE --images DIR --store {self.name}"
                )
            wire.create_collection(self._client, self.collection, self.embedding_length)
        wire.check_vectors(self._client, self.collection, self.embedding_length, self.name)
        if self._create:
            wire.complete_indexes(self._client, self.collection)

    def _upsert(self, checked: Sequence[Checked], mode: models.UpdateMode) -> None:
        send = partial(self._client.upsert, self.collection, wait=True, update_mode=mode)
        for start in range(0, len(checked), _UPSERT_BATCH):
            made = wire.structs(checked[start : start + _UPSERT_BATCH])
            self._ask("store parts", partial(send, made))

    def _ask(self, doing: str, request: Callable[[], Answer]) -> Answer:
        self._prepare()
        try:
            return self._patiently(doing, request)
        except CollectionMissingError:
            if not self._create:
                raise
            # The server has come back with an empty disk.
            self._prepared = False
            self._prepare()
            return self._patiently(doing, request)

    def _patiently(self, doing: str, request: Callable[[], Answer]) -> Answer:
        """Send a request, and again after a pause if the server cannot be reached."""
        for pause_s in self._pauses_s:
            try:
                with server_errors(self.name, doing, self._timeout_s):
                    return request()
            except StoreUnreachableError:
                time.sleep(pause_s)
        with server_errors(self.name, doing, self._timeout_s):
            return request()
