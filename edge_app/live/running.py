"""A station as a whole, while a block runs: sources, bundles, records, screens and API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from edge_app.api.service import Service
from edge_app.live.board import Board
from edge_app.live.config import Config
from edge_app.live.feeding import feeding
from edge_app.live.keeping import Pictures
from edge_app.live.settings import OutputTable
from edge_app.outputs.base import Address, secret_of
from edge_app.outputs.delivery import Output, OutputState, delivering
from edge_app.records import Database, Journal, Outbox
from edge_app.screens.pictures import shown_files
from edge_app.serving import serving


@contextmanager
def running_station(config: Config, password: str | None = None) -> Iterator[str]:
    """Run a station; at the end what is in work is judged and recorded, then all is closed.

    Args:
        config: from :func:`edge_app.live.config.read_config`.
        password: asked of the user ``operator``, or None for nobody.

    Yields:
        its URL on this machine.

    Raises:
        ConfigError: the secret of an output is not in the environment.
        PageError: the page cannot be served.
        BundleError: a bundle is unusable.
        StoreError: the records cannot be opened.
        DataError: the folder of samples is missing or empty.
    """
    outputs = [_output(one) for one in config.outputs]

    @contextmanager
    def watching(service: Service) -> Iterator[Board]:
        show = partial(shown_files, service)
        told = [replace(one, address=replace(one.address, show=show)) for one in outputs]
        database = Database(config.store)
        try:
            journal = Journal(database)
            kept = Pictures(config.store, config.pictures.keep, config.pictures.most_mib)
            board = Board(config.sources, journal, kept=kept)
            outbox = Outbox(database, [one.address.name for one in outputs])
            for one in outputs:
                board.output_is(OutputState(one.address.name))
            with (
                feeding(service.station, board, config.store),
                delivering(told, journal, outbox, board.output_is),
            ):
                yield board
        finally:
            database.close()

    page = config.page
    with serving(
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
    ) as url:
        yield url


def _output(table: OutputTable) -> Output:
    secret = secret_of(table.secret_variable, table.url)
    address = Address(table.name, table.url, table.topic, secret)
    return Output(address, tuple(table.verdicts), table.most_waiting)
