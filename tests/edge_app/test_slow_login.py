"""Passwords cannot be tried fast, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import itertools
import time
import urllib.error
import urllib.parse
import urllib.request

import gradio as gr
import pytest

from edge_app.page.serve import USER, serve
from edge_app.page.slow_login import PAUSE_S, SlowLogin

PAUSE = 0.2


async def door(scope, receive, send):
    """Lets in whoever says so."""
    body = (await receive())["body"]
    await send(
        {"type": "http.response.start", "status": 200 if body == b"right" else 400, "headers": []}
    )
    await send({"type": "http.response.body", "body": b""})


async def attempt(guarded, address, body, path="/login"):
    """One request, whose body never comes if it is None; returns its status and the moment of its answer."""
    answers = []

    async def receive():
        if body is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        answers.append((message.get("status"), time.monotonic()))

    await guarded({"type": "http", "path": path, "client": (address, 1)}, receive, send)
    return answers[0]


def all_at_once(*attempts):
    """The attempts' (status, seconds until the answer)."""

    async def run():
        guarded = SlowLogin(door, pause_s=PAUSE)
        start = time.monotonic()
        found = await asyncio.gather(*(attempt(guarded, *one) for one in attempts))
        assert not guarded._turns
        return [(status, moment - start) for status, moment in found]

    return asyncio.run(run())


@pytest.mark.parametrize("path", ["/login", "/login/", "/gradio_api/login"])
def test_wrong_passwords_of_an_address_wait_for_one_another(path):
    found = all_at_once(*[("10.0.0.9", b"wrong", path)] * 4)
    assert [status for status, _ in found] == [400] * 4
    moments = sorted(moment for _, moment in found)
    assert all(later - earlier >= PAUSE * 0.99 for earlier, later in itertools.pairwise(moments))


def test_other_addresses_other_pages_and_right_passwords_do_not_wait():
    found = all_at_once(
        ("10.0.0.9", b"wrong"),
        ("10.0.0.9", b"wrong"),
        ("10.0.0.9", b"wrong", "/config"),
        ("10.0.0.7", b"right"),
        ("10.0.0.7", b"right"),
    )
    assert found[1][1] >= PAUSE * 0.99
    assert [status for status, _ in found] == [400, 400, 400, 200, 200]
    assert max(moment for _, moment in found[2:]) < found[1][1]


def test_a_form_that_never_arrives_does_not_keep_the_turn():
    async def run():
        guarded = SlowLogin(door, pause_s=PAUSE, patience_s=PAUSE)
        return await asyncio.gather(
            attempt(guarded, "10.0.0.9", None), attempt(guarded, "10.0.0.9", b"right")
        )

    assert [status for status, _ in asyncio.run(run())] == [408, 200]


@pytest.mark.slow
def test_the_served_page_slows_them():
    with gr.Blocks() as page:
        gr.HTML("ours")
    url = serve(page, "127.0.0.1", 0, "a long one")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:

        def login(password):
            form = urllib.parse.urlencode({"username": USER, "password": password}).encode()
            try:
                with opener.open(url + "login", form, timeout=20) as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code

        start = time.monotonic()
        assert [login("wrong"), login("wrong"), login("a long one")] == [400, 400, 200]
        assert time.monotonic() - start >= 2 * PAUSE_S * 0.99
    finally:
        page.close(verbose=False)
