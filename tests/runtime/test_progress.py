"""Steps go to whoever listens; on stderr that is no terminal, long work is a line now and then."""

from __future__ import annotations

import json
import logging
import threading

from runtime import console, progress

log = logging.getLogger("lineside")


def test_nobody_listens_by_default(capsys):
    assert list(progress.track(range(5), "reading")) == [0, 1, 2, 3, 4]
    log.info("nobody hears this")
    assert capsys.readouterr() == ("", "")


def test_a_listener_hears_every_step_and_the_end():
    heard: list[progress.Step] = []
    with progress.listening(heard.append):
        list(progress.track(range(2), "reading"))
        with progress.counting("writing") as add:
            add(3)
            add(4)
    assert [(one.what, one.done, one.total, one.ended) for one in heard] == [
        ("reading", 0, 2, False),
        ("reading", 1, 2, False),
        ("reading", 2, 2, False),
        ("reading", 2, 2, True),
        ("writing", 0, None, False),
        ("writing", 3, None, False),
        ("writing", 7, None, False),
        ("writing", 7, None, True),
    ]
    assert len({one.task for one in heard}) == 2


def test_long_work_says_how_far_it_is_and_what_is_left(capsys, monkeypatch):
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.0)
    with console.shown():
        list(progress.track(range(3), "reading"))
    first, *_, last = capsys.readouterr().err.splitlines()[1:]
    assert first.startswith("reading: 1 of 3, about 0:00:0")
    assert last.startswith("reading: 3 of 3")


def test_short_and_quiet_work_is_silent(capsys):
    with console.shown():
        list(progress.track(range(3), "reading"))
    with console.shown(logging.WARNING):
        log.info("not wanted")
        log.warning("wanted [all of it]")
    assert capsys.readouterr().err == "wanted [all of it]\n"


def test_a_service_gets_one_json_object_a_line(capsys, monkeypatch):
    # What pytest captures of the log it sends from process to process, as UTF-8.
    monkeypatch.setattr(log, "propagate", False)
    with console.shown(log_format="json"):
        log.warning("a lone \udcff byte", extra={"fields": {"camera": 0}})
    said = json.loads(capsys.readouterr().err)
    assert (said["level"], said["camera"]) == ("warning", 0)
    assert said["time"].endswith("+00:00")


def test_lines_carry_what_their_block_is_about(capsys, monkeypatch):
    monkeypatch.setattr(log, "propagate", False)
    with console.shown(log_format="json"):
        with progress.about(source="press 3"), progress.about(part="1.png"):
            log.info("within")
            other = threading.Thread(target=log.info, args=("another thread",))
            other.start()
            other.join()
        log.info("outside")
    within, another, outside = map(json.loads, capsys.readouterr().err.splitlines())
    assert (within["source"], within["part"], within["message"]) == ("press 3", "1.png", "within")
    assert "source" not in another
    assert "source" not in outside
