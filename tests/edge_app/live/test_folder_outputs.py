"""Outputs to folders of the box and to a PLC, and a configuration that changes meanwhile."""

from __future__ import annotations

import asyncio
import csv
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_app.live.config import read_config
from edge_app.live.running import running_station
from edge_app.outputs.base import Address, open_sender, schemes
from edge_app.outputs.following import Follow
from edge_app.outputs.shifts import Shifts
from runtime.errors import OutputError
from tests.edge_app.live.fed import until
from tests.edge_app.live.served import place_at
from tests.edge_app.served import client_of


def message(number: int, time: str = "2025-06-01T08:30:00+00:00", **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "source": "press 3",
        "name": "=1+1.png",
        "id": "",
        "bundle": "b",
        "time": time,
        "verdict": "anomalous",
        "raw_score": 5.75,
        "normalized_score": 0.98,
        "threshold": 3.95,
        "reason": "",
        **more,
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_shift_has_a_file_with_every_verdict_once(tmp_path: Path) -> None:
    sender = open_sender(Address("log", f"csv://{tmp_path}/shifts?shifts=06:00,18:00"))
    times = ("05:59:59", "06:00:00", "17:59:59", "18:00:00")
    local = [f"2025-06-02T{time}" for time in times]
    for number, time in enumerate(local, 1):
        sender.send(message(number, time))
        # Once more, as after a restart.
        sender.send(message(number, time))
    names = sorted(path.name for path in (tmp_path / "shifts").iterdir())
    assert names == ["2025-06-01-1800.csv", "2025-06-02-0600.csv", "2025-06-02-1800.csv"]
    day = tmp_path / "shifts" / "2025-06-02-0600.csv"
    assert [one["number"] for one in rows_of(day)] == ["2", "3"]
    assert rows_of(day)[0]["name"] == "'=1+1.png"
    # A line that a power cut has left behind is written again.
    day.write_bytes(day.read_bytes()[:-9])
    sender.send(message(3, local[2]))
    assert [one["number"] for one in rows_of(day)] == ["2", "3"]
    day.write_bytes(b"num")
    sender.send(message(3, local[2]))
    assert [one["number"] for one in rows_of(day)] == ["3"]


@pytest.mark.parametrize("given", ["24:00", "6", ""])
def test_a_shift_that_is_no_time_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(OutputError, match="expected times such as"):
        Shifts(Address("log", f"csv://{tmp_path}?shifts={given or ','}"))


def test_pictures_with_their_maps_within_their_space(tmp_path: Path) -> None:
    pictures = {"a": (b"x" * 400_000, ".png", b"y" * 100_000)}
    address = Address("rejects", f"folder://{tmp_path}/r?most_mib=1", show=pictures.get)
    sender = open_sender(address)
    sender.send(message(1, id="a"))
    (text,) = (tmp_path / "r").glob("*/*.json")
    assert text.name.endswith("-press_3-_1_1-1.json")
    assert json.loads(text.read_text())["raw_score"] == 5.75
    assert text.with_suffix(".png").stat().st_size == 400_000
    assert text.with_name(f"{text.stem}_map.png").stat().st_size == 100_000
    # One whose picture is gone has its text alone; the oldest make room.
    sender.send(message(2, id="gone"))
    for number in range(3, 6):
        sender.send(message(number, f"2025-06-0{number}T08:30:00+00:00", id="a"))
    left = sorted(path.name for path in (tmp_path / "r").glob("*/*"))
    assert sum(path.stat().st_size for path in (tmp_path / "r").glob("*/*")) <= 1 << 20
    assert any(name.endswith("-5.json") for name in left)
    assert not any(name.endswith("-1.png") for name in left)
    with pytest.raises(OutputError, match="most_mib"):
        open_sender(Address("r", f"folder://{tmp_path}?most_mib=x"))


@contextmanager
def plc() -> Iterator[tuple[int, Any]]:
    """A Modbus server of pymodbus's own, its port and a client of it."""
    pytest.importorskip("pymodbus")
    from pymodbus.client import ModbusTcpClient
    from pymodbus.datastore import (
        ModbusDeviceContext,
        ModbusSequentialDataBlock,
        ModbusServerContext,
    )
    from pymodbus.server import ModbusTcpServer

    device = ModbusDeviceContext(hr=ModbusSequentialDataBlock(1, [0] * 200))
    loop, started = asyncio.new_event_loop(), threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        context = ModbusServerContext(devices={1: device}, single=False)
        server = ModbusTcpServer(context, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        found["server"] = server
        found["port"] = server.transport.sockets[0].getsockname()[1]
        started.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        with ModbusTcpClient("127.0.0.1", port=found["port"]) as client:
            yield found["port"], client
    finally:
        asyncio.run_coroutine_threadsafe(found["server"].shutdown(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)


def test_a_plc_reads_verdict_score_and_number() -> None:
    assert "modbus" in schemes()
    with plc() as (port, client):

        def registers() -> list[int]:
            return list(client.read_holding_registers(100, count=4, device_id=1).registers)

        sender = open_sender(Address("plc", f"modbus://127.0.0.1:{port}?register=100"))
        sender.send(message(65_538))
        assert registers() == [2, 980, 1, 2]
        sender.send(message(7, verdict="cannot_judge", normalized_score=None))
        assert registers() == [3, 65_535, 0, 7]
        sender.close()
        sender = open_sender(Address("plc", f"modbus://127.0.0.1:{port}?register=60000"))
        with pytest.raises(OutputError):
            sender.send(message(8))
        sender.close()
    with pytest.raises(OutputError, match="expected a PLC that answers"):
        open_sender(Address("plc", f"modbus://127.0.0.1:{port}"))


def test_outputs_change_while_the_station_runs_and_the_rest_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = place_at(tmp_path)
    text = place.config.read_text(encoding="utf-8")
    follow = Follow(place.config)

    def write(more: str) -> None:
        place.config.write_text(text + more, encoding="utf-8")
        follow.again.set()

    caplog.set_level(logging.INFO, "lineside")
    with running_station(read_config(place.config), None, follow) as url, client_of(url) as client:

        def outputs() -> list[str]:
            return [one["name"] for one in client.get("v1/line").json()["outputs"]]

        assert outputs() == []
        rejects = f'[[outputs]]\nname = "r"\nurl = "folder://{tmp_path}/r"\n'
        write(f'{rejects}verdicts = ["anomalous"]\n[pictures]\nkeep = "all"\n')
        until(lambda: outputs() == ["r"])
        place.drop("0.png", "good", 0)
        place.drop("1.png", "dark", 1)
        until(lambda: list((tmp_path / "r").glob("*/*.json")))
        (found,) = (tmp_path / "r").glob("*/*-1-2.json")
        assert found.with_suffix(".png").read_bytes() == (place.incoming / "1.png").read_bytes()
        assert found.with_name(f"{found.stem}_map.png").is_file()
        assert "outputs and pictures taken over" in caplog.text
        # What cannot be used changes nothing, and says so.
        write('[[outputs]]\nname = "r"\nurl = "ftp://x"\n')
        until(lambda: "the configuration stays as it was" in caplog.text)
        assert outputs() == ["r"]
        write("[engine]\nthreads = 2\n")
        until(lambda: outputs() == [])
        until(lambda: "engine: in force at the next start" in caplog.text)
