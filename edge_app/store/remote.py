"""The store on a Qdrant server or cluster, through qdrant-client: boxes that share a memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from qdrant_client import QdrantClient, models

from edge_app.store import collection as wire
from edge_app.store.connect import (
    TIMEOUT_S,
    CollectionMissingError,
    StoreUnreachableError,
    check_version,
    server_errors,
)
from edge_app.store.neighbor_store import NeighborStore
from edge_app.store.schema import (
    VECTOR_NAME,
    Checked,
    Merged,
    Neighbor,
    PartPoint,
    Place,
    SearchFilter,
    Word,
    bundle_key,
    point_of,
)
from edge_app.store.words import newer
from runtime.errors import StoreError
from runtime.types import Embedding

log = logging.getLogger("lineside")

Answer = TypeVar("Answer")
# Keeps a request under the server's limit of 32 MiB, thumbnails of 10 kB included.
_UPSERT_BATCH = 512


class RemoteStore(NeighborStore):
    """A neighbor store in one collection of a server.

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
        super().__init__(bundle, embedding_length)
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

    def optimize(self, *, wait: bool = True) -> bool:
        """Nothing to do: the server builds its index by itself."""
        return False

    def lag(self) -> int:
        """None: the server answers from what it has acknowledged; it is asked whether it is up."""
        self._ask("answer", lambda: self._client.collection_exists(self.collection))
        return 0

    def close(self) -> None:
        """Close the client; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._client.close()

    def _upsert(self, checked: Sequence[Checked]) -> None:
        self._send(checked, models.UpdateMode.UPSERT)

    def _merge(self, checked: Sequence[Checked]) -> Merged:
        """As :meth:`merge`; the server itself checks that a part is missing and a word is older.

        So a request that arrives late or twice, or another box between reading and writing, takes
        nothing back.
        """
        there = {
            found.point_id: found
            for found in self.fetch([identifier for identifier, _, _ in checked], full=False)
        }
        missing = [entry for entry in checked if entry[0] not in there]
        renewed = {
            identifier
            for identifier, _, payload in checked
            if identifier in there and newer(point_of(identifier, payload), there[identifier])
        }
        self._send(missing, models.UpdateMode.INSERT_ONLY)
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

    def _search(self, embedding: Embedding, k: int, where: SearchFilter) -> list[Neighbor]:
        answer = self._ask(
            "search",
            lambda: self._client.query_points(
                self.collection,
                query=embedding.tolist(),
                using=VECTOR_NAME,
                limit=k,
                query_filter=wire.field_filter(where),
                with_payload=True,
                search_params=wire.SEARCH_PARAMS,
            ),
        )
        return [Neighbor(float(hit.score), point_of(hit.id, hit.payload)) for hit in answer.points]

    def _fetch(self, point_ids: Sequence[str], *, full: bool) -> list[PartPoint]:
        if not point_ids:
            return []
        chosen = wire.selection(full=full)
        found = self._ask(
            "read", lambda: self._client.retrieve(self.collection, point_ids, **chosen)
        )
        return [wire.part_of(record) for record in found]

    def _scroll(self, where: SearchFilter, batch: int, *, full: bool) -> Iterator[list[PartPoint]]:
        ask = partial(
            self._client.scroll,
            self.collection,
            scroll_filter=wire.field_filter(where),
            limit=batch,
            **wire.selection(full=full),
        )
        start: Any = None
        while True:
            found, start = self._ask("read", partial(ask, offset=start))
            if found:
                yield [wire.part_of(record) for record in found]
            if start is None:
                return

    def _recent(self, where: SearchFilter, before: Place | None, size: int) -> list[PartPoint]:
        """As :meth:`recent`; the server sorts by time alone, so that times are taken whole."""
        limit = size + 1
        while True:
            order = models.OrderBy(
                key="time",
                direction=models.Direction.DESC,
                start_from=None if before is None else datetime.fromisoformat(before[0]),
            )
            records, _ = self._ask(
                "read",
                partial(
                    self._client.scroll,
                    self.collection,
                    scroll_filter=wire.field_filter(where),
                    limit=limit,
                    order_by=order,
                    **wire.selection(full=False),
                ),
            )
            found = [wire.part_of(record) for record in records]
            if len(found) == limit:
                # More parts of the last time may be there.
                last = min(part.time for part in found)
                whole = [part for part in found if part.time != last]
            else:
                whole = found
            whole.sort(key=lambda part: (part.time, part.point_id), reverse=True)
            later = [
                part for part in whole if before is None or (part.time, part.point_id) < before
            ]
            if len(later) >= size or len(found) < limit:
                return later[:size]
            limit *= 2

    def _words(self, point_id: str) -> list[Word]:
        return [
            Word(
                part.confirmed_at,
                part.confirmed_by,
                part.confirmed,
                part.verdict,
                part.confirmed_defect,
                part.confirmed_note,
            )
            for part in self.fetch([point_id], full=False)
            if part.confirmed or part.confirmed_at
        ]

    def _delete(self, point_ids: Sequence[str], *, keep_confirmed: bool) -> None:
        if point_ids:
            chosen = wire.deletion(list(point_ids), keep_confirmed=keep_confirmed)
            self._ask(
                "delete parts", lambda: self._client.delete(self.collection, chosen, wait=True)
            )

    def _count(self, where: SearchFilter) -> int:
        wanted = wire.field_filter(where)
        return self._ask(
            "count",
            lambda: self._client.count(self.collection, count_filter=wanted, exact=True).count,
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

    def _send(self, checked: Sequence[Checked], mode: models.UpdateMode) -> None:
        send = partial(self._client.upsert, self.collection, wait=True, update_mode=mode)
        for start in range(0, len(checked), _UPSERT_BATCH):
            made = wire.structs(checked[start : start + _UPSERT_BATCH])
            self._ask("store parts", partial(send, made))

    def _ask(self, doing: str, request: Callable[[], Answer]) -> Answer:
        if self._closed:
            raise StoreError(
                f"{self.name}: expected an open store, found a closed one; open it again"
            )
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
