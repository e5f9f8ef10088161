"""Verdicts leave the box in order and at least once, whatever is killed in the middle."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_app.live.config import read_config
from edge_app.outputs.base import Address
from edge_app.outputs.delivery import Output, OutputState, delivering
from edge_app.records import Arrival, Database, Journal, Outbox
from runtime.errors import ConfigError
from tests.edge_app.live.fed import until
from tests.edge_app.live.served import place_at, station_at
from tests.edge_app.served import client_of

ALL = ("good", "anomalous", "cannot_judge")
TIME = "2025-01-01T00:00:00+00:00"


def arrival(number: int, verdict: str = "good") -> Arrival:
    return Arrival("left", f"/in/{number:03d}.png", 9, 9, "b" * 64, "", TIME, verdict)


class Receiver:
    """A server on one port that may be killed and started again; it keeps what it has taken."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/verdicts"

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                # It has it, even where its answer never arrives.
                receiver.taken.append(json.loads(body))
                receiver.headers.append(dict(self.headers))
                if status:
                    self.send_response(status)
                    self.end_headers()

            def log_message(self, *_: object) -> None: ...

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def kill(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def numbers(self) -> list[int]:
        return [one["number"] for one in self.taken]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again soon."""
    monkeypatch.setattr("edge_app.outputs.delivery._PAUSES_S", (0.05, 0.2))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.kill()


class Box:
    """A journal, and outputs that deliver it."""

    def __init__(self, folder: Path, *outputs: Output) -> None:
        self._database = Database(folder, durable=False)
        self.journal = Journal(self._database)
        self.outbox = Outbox(self._database, [one.address.name for one in outputs])
        self.outputs = outputs
        self.states: list[OutputState] = []

    @contextmanager
    def delivering(self) -> Iterator[None]:
        with delivering(self.outputs, self.journal, self.outbox, self.states.append):
            yield

    def close(self) -> None:
        self._database.close()


def without_repeats(numbers: list[int]) -> list[int]:
    """In the order of their first coming."""
    return list(dict.fromkeys(numbers))


def test_a_receiver_that_is_killed_and_comes_back_has_everything_in_order(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lineside")
    box = Box(tmp_path, Output(Address("mes", receiver.url, secret="s3cret"), ALL))
    with box.delivering():
        for number in range(10):
            box.journal.add(arrival(number))
        until(lambda: box.states and box.states[-1].state == "away")
        receiver.start()
        until(lambda: len(receiver.taken) == 10)
        receiver.kill()
        for number in range(10, 20):
            box.journal.add(arrival(number, "anomalous"))
        until(lambda: box.states[-1].waiting == 10)
        # One is refused, and of one the answer gets lost: it comes twice rather than never.
        receiver.statuses = [204, 500, 204, 0]
        receiver.start()
        until(lambda: box.states[-1] == OutputState("mes", "running", "", 0, 0))
    box.close()
    numbers = receiver.numbers()
    assert without_repeats(numbers) == list(range(1, 21))
    assert numbers == sorted(numbers)
    assert len(numbers) == 22
    message = receiver.taken[-1]
    assert (message["name"], message["source"], message["verdict"]) == (
        "019.png",
        "left",
        "anomalous",
    )
    assert "/in" not in json.dumps(receiver.taken)
    assert receiver.headers[-1]["Authorization"] == "Bearer s3cret"
    assert receiver.headers[-1]["Idempotency-Key"] == "20"
    assert caplog.text.count("trying again until it takes it") >= 2
    assert "mes: it takes verdicts again" in caplog.text
    assert "s3cret" not in caplog.text


def test_what_was_not_delivered_is_delivered_after_a_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    output = Output(Address("mes", receiver.url), ALL)
    box = Box(tmp_path, output)
    # What came before the output was configured is none of its business.
    assert box.outbox.place("mes") == (0, 0, 0)
    box.journal.add(arrival(0))
    box.close()
    again = Box(tmp_path, output, Output(Address("late", receiver.url), ALL))
    assert again.outbox.place("late") == (1, 1, 0)
    receiver.start()
    with again.delivering():
        until(lambda: receiver.numbers() == [1])
        time.sleep(0.3)
    assert receiver.numbers() == [1]
    # Old, and still to be delivered to nobody: it may be forgotten.
    assert again.journal.forget(days=0) == 1
    again.close()


def test_an_arrival_that_waits_for_an_output_is_not_forgotten(tmp_path: Path) -> None:
    box = Box(tmp_path, Output(Address("mes", "http://127.0.0.1:9/"), ALL))
    box.journal.add(arrival(0))
    assert box.journal.forget(days=0) == 0
    box.outbox.delivered("mes", 1)
    assert box.journal.forget(days=0) == 1
    box.close()


def test_only_the_verdicts_that_were_asked_for(tmp_path: Path, receiver: Receiver) -> None:
    receiver.start()
    box = Box(tmp_path, Output(Address("mes", receiver.url), ("anomalous",)))
    with box.delivering():
        for number, verdict in enumerate(
            ["good", "anomalous", "cannot_judge", "anomalous", "good"]
        ):
            box.journal.add(arrival(number, verdict))
        until(lambda: box.outbox.place("mes")[0] == 5)
    box.close()
    assert receiver.numbers() == [2, 4]


def test_when_too_many_wait_the_oldest_are_given_up_and_counted(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    box = Box(tmp_path, Output(Address("mes", receiver.url), ALL, most_waiting=5))
    for number in range(12):
        box.journal.add(arrival(number))
    receiver.start()
    with box.delivering():
        until(lambda: receiver.numbers() == [8, 9, 10, 11, 12])
        until(lambda: box.states[-1].lost == 7)
    box.close()
    assert "mes: 7 verdicts were given up" in caplog.text


@contextmanager
def broker(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Debian's own MQTT broker."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("no mosquitto; on Debian: apt-get install mosquitto")
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    process = subprocess.Popen([program, "-c", settings], stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", port)) == 0

    until(answers)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_broker_that_is_killed_and_comes_back_has_everything_in_order(tmp_path: Path) -> None:
    paho = pytest.importorskip("paho.mqtt.client", reason="pip install 'lineside[mqtt]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    taken: list[tuple[str, int]] = []

    def listener() -> Any:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.on_message = lambda _, __, message: taken.append(
            (message.topic, json.loads(message.payload)["number"])
        )
        ready = threading.Event()
        client.on_subscribe = lambda *_: ready.set()
        client.connect("127.0.0.1", port)
        client.subscribe("lineside/#", qos=1)
        client.loop_start()
        assert ready.wait(10)
        return client

    output = Output(Address("plc", f"mqtt://127.0.0.1:{port}", "lineside/{source}/{verdict}"), ALL)
    box = Box(tmp_path, output)
    with box.delivering():
        for number in range(30):
            box.journal.add(arrival(number))
        until(lambda: box.states and box.states[-1].state == "away")
        for start in (0, 30):
            with broker(port, tmp_path) as process:
                before, client = len(taken), listener()
                until(lambda start=start: start + 30 in [number for _, number in taken])
                # In the middle of the next ones.
                adding = threading.Thread(
                    target=lambda: [box.journal.add(arrival(number)) for number in range(30)]
                )
                if not start:
                    adding.start()
                    until(lambda: len({number for _, number in taken}) > 32)
                    process.kill()
                    adding.join()
                client.loop_stop()
                client.disconnect()
                # The broker may have taken some before anybody listened, and may die with others
                # that its listener has not: that is between them. None is missing in between.
                heard = sorted({number for _, number in taken[before:]})
                # Nothing is left for the second one where the first was quick.
                assert heard == list(range(min(heard, default=0), max(heard, default=-1) + 1))
        assert box.states[-1].lost == 0
    box.close()
    numbers = [number for _, number in taken]
    assert numbers == sorted(numbers)
    assert {topic for topic, _ in taken} == {"lineside/left/good"}


@pytest.mark.slow
def test_a_station_tells_its_output_and_its_screen(tmp_path: Path, receiver: Receiver) -> None:
    place = place_at(tmp_path, f'[[outputs]]\nname = "mes"\nurl = "{receiver.url}"\n')
    with station_at(place) as url, client_of(f"{url}v1/") as client:

        def state() -> dict[str, Any]:
            (found,) = client.get("line").json()["outputs"]
            return dict(found)

        place.drop("0.png", "dark")
        until(lambda: state()["state"] == "away")
        assert "expected an answer" in state()["trouble"]
        assert state()["waiting"] == 1
        told = client.get(f"{url}metrics").text.splitlines()
        for metric in (
            'lineside_source_up{source="left"} 1.0',
            'lineside_source_drift_alarm{source="left"} 0.0',
            'lineside_output_up{output="mes"} 0.0',
            'lineside_output_waiting{output="mes"} 1.0',
            "lineside_parts_to_look_at 1.0",
        ):
            assert metric in told
        receiver.start()
        until(lambda: state()["state"] == "running")
    (message,) = receiver.taken
    assert (message["verdict"], message["name"]) == ("anomalous", "0.png")
    assert message["raw_score"] > message["threshold"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('url = "ftp://mes/"', "expected an address of http, https, mqtt, mqtts"),
        ('url = "http://"', "expected an address of http"),
        ('url = "mqtt://lineside:secret@broker"', "expected no password in an address"),
        ('url = "mqtt://broker"\ntopic = "a/#"', "expected a topic without # and +"),
        ('url = "http://mes/"\nverdicts = ["bad"]', "outputs[1].verdicts"),
        (
            'url = "http://mes/"\nsecret_variable = "LINESIDE_NO_SUCH"',
            "LINESIDE_NO_SUCH, found none",
        ),
    ],
)
def test_an_output_that_cannot_be_is_refused(tmp_path: Path, line: str, said: str) -> None:
    place = place_at(tmp_path, f'[[outputs]]\nname = "mes"\n{line}\n')
    with pytest.raises(ConfigError) as error, station_at(place):
        pytest.fail("it has started")
    assert said in str(error.value)
    assert "secret@" not in str(error.value)


def test_the_keys_of_an_output_have_defaults(tmp_path: Path) -> None:
    place = place_at(tmp_path, '[[outputs]]\nname = "mes"\nurl = "mqtts://broker"\n')
    (found,) = read_config(place.config).outputs
    assert (found.topic, found.verdicts, found.most_waiting) == (
        "lineside/{source}",
        [*ALL],
        100_000,
    )
