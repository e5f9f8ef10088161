"""A station as a whole, while a block runs: sources, bundles, records, screens and API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from edge_app.api.service import Service
from edge_app.live.board import Board
from edge_app.live.config import Config
from edge_app.live.feeding import feeding
from edge_app.live.keeping import Pictures
from edge_app.outputs.following import Deliveries, Follow, following
from edge_app.records import Database, Journal
from edge_app.screens.looking import shown_files
from edge_app.serving import serving
from edge_app.store.edge_index import FolderLock
from runtime.errors import StoreError

_LOCK = "station.lock"


@contextmanager
def running_station(
    config: Config, password: str | None = None, follow: Follow | None = None
) -> Iterator[str]:
    """Run a station; at the end what is in work is judged and recorded, then all is closed.

    Args:
        config: from :func:`edge_app.live.config.read_config`.
        password: asked of the user ``operator``, or None for nobody.
        follow: its file, whose changes are taken over where that is safe; None for none.

    Yields:
        its URL on this machine.

    Raises:
        ConfigError: the secret of an output is not in the environment.
        PageError: the page cannot be served.
        BundleError: a bundle is unusable.
        StoreError: the records cannot be opened, or another station keeps them.
        DataError: the folder of samples is missing or empty.
    """

    @contextmanager
    def watching(service: Service) -> Iterator[Board]:
        database = Database(config.store)
        try:
            pictures = config.pictures
            kept = Pictures(config.store, pictures.keep, pictures.most_mib)
            board = Board(config.sources, Journal(database), kept=kept)
            with (
                closing(Deliveries(board, database, partial(shown_files, service))) as deliveries,
                feeding(service.station, board, config.store),
            ):
                deliveries.start(config.outputs)

                def take(new: Config) -> None:
                    kept.limit(new.pictures.keep, new.pictures.most_mib)
                    deliveries.start(new.outputs)

                with following(config, follow, take):
                    yield board
        finally:
            database.close()

    page = config.page
    with (
        _alone(config.store),
        serving(
            config.bundles,
            str(config.store),
            samples=config.samples,
            host=page.host,
            port=page.port,
            root_path=page.root_path,
            password=password,
            open_to_all=page.no_password,
            api_token_file=Path(page.api_token_file) if page.api_token_file else None,
            users_file=Path(page.users_file) if page.users_file else None,
            trusted_proxies=page.trusted_proxies,
            watching=watching,
            **config.engine,
        ) as url,
    ):
        yield url


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """Two stations with one folder of records would judge each part twice, and deliver it twice."""
    lock = FolderLock(store, _LOCK)
    if not lock.take():
        raise StoreError(
            f"{store}: expected a folder that no other station keeps its records in, found one "
            "that is in use, or cannot be written; end the other station, or name another store"
        )
    try:
        yield
    finally:
        lock.release()
