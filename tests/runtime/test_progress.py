"""Progress where stderr is no terminal: short work says nothing, long work a line now and then."""

from __future__ import annotations

from runtime import progress


def test_short_work_is_silent(capsys):
    assert list(progress.track(range(5), "reading")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""


def test_long_work_says_how_far_it_is_and_what_is_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    list(progress.track(range(3), "reading"))
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("reading: 1 of 3, about 0:00:0")
    assert last.startswith("reading: 3 of 3")


def test_work_of_unknown_length_counts(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    list(progress.track(iter(range(2)), "reading"))
    assert capsys.readouterr().err.splitlines() == ["reading: 1", "reading: 2"]
