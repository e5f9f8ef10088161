"""How far each output has got: the journal itself is what it has to deliver, in order."""

from __future__ import annotations

from collections.abc import Sequence

from edge_app.records.database import Database


class Outbox:
    """The place of every output in the journal. Safe in several threads.

    Args:
        database: the records, open.
        names: of the outputs; one that is new begins with the next arrival, others are forgotten.

    Raises:
        StoreError: the records cannot be written.
    """

    def __init__(self, database: Database, names: Sequence[str]) -> None:
        self._database = database
        with database.writing() as connection:
            known = {name for (name,) in connection.execute("SELECT name FROM outputs")}
            for name in known - set(names):
                connection.execute("DELETE FROM outputs WHERE name = ?", (name,))
            for name in set(names) - known:
                connection.execute(
                    "INSERT INTO outputs (name, delivered) "
                    "SELECT ?, coalesce(max(arrival), 0) FROM arrivals",
                    (name,),
                )

    def place(self, name: str) -> tuple[int, int, int]:
        """Number of the last arrival delivered, of the newest one, and how many were given up."""
        with self._database.reading() as connection:
            delivered, lost, newest = connection.execute(
                "SELECT delivered, lost, (SELECT coalesce(max(arrival), 0) FROM arrivals) "
                "FROM outputs WHERE name = ?",
                (name,),
            ).fetchone()
        return int(delivered), int(newest), int(lost)

    def delivered(self, name: str, number: int, lost: int = 0) -> None:
        """Everything up to an arrival has been taken, or given up.

        Args:
            name: of the output.
            number: of the arrival.
            lost: how many were given up.
        """
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE outputs SET delivered = ?, lost = lost + ? WHERE name = ?",
                (number, lost, name),
            )
