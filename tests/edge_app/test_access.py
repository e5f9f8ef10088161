"""Who may use the page: not other web pages, not a network without a password, and no guesser."""

from __future__ import annotations

import asyncio
import itertools
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from edge_app.access.origin import USER, SameOrigin, check_access, refusal
from edge_app.access.slow_login import PAUSE_S, SlowLogin
from runtime.errors import PageError
from tests.edge_app.tiny_bundle import write_tiny_bundle

PAUSE = 0.2


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:7860", None),
        ("localhost:7860", "http://localhost:7860"),
        ("[::1]:7860", "http://[::1]:7860"),
        ("LOCALHOST:80", "http://localhost"),
    ],
)
def test_the_page_itself_and_programs_are_served(host, origin):
    assert refusal(host, origin, loopback_only=True) is None


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("box.plant", "https://box.plant"),
        ("box.plant:443", "https://box.plant"),
        ("10.0.0.5:7860", "http://10.0.0.5:7860"),
    ],
)
def test_names_of_a_network_are_served_where_a_network_is(host, origin):
    assert refusal(host, origin, loopback_only=False) is None
    assert "expected a name of this machine" in refusal(host, origin, loopback_only=True)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost:8000",
        "http://localhost.evil.example:7860",
        "null",
        "",
        "http://[",
        "http://localhost:x",
    ],
)
@pytest.mark.parametrize("loopback_only", [True, False])
def test_other_origins_are_refused(origin, loopback_only):
    refused = refusal("localhost:7860", origin, loopback_only)
    assert "expected a request of localhost:7860" in refused


@pytest.mark.parametrize(
    "host", ["evil.example:7860", "", "localhost.evil.example", "127.0.0.1.evil.example", "["]
)
def test_other_names_are_refused_on_this_machine_alone(host):
    assert "expected a name of this machine" in refusal(host, None, loopback_only=True)


def test_a_network_needs_a_password_or_a_word_that_none_is_wanted():
    with pytest.raises(PageError, match=r"LINESIDE_PASSWORD.*--no-password"):
        check_access("0.0.0.0", None, open_to_all=False)
    for host, password, open_to_all in (
        ("0.0.0.0", "a long one", False),
        ("0.0.0.0", None, True),
        ("localhost", None, False),
    ):
        check_access(host, password, open_to_all=open_to_all)


async def door(scope, receive, send):
    """Lets in whoever says so."""
    status = 200 if (await receive())["body"] == b"right" else 400
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def attempt(guarded, address, body, path="/login", headers=()):
    """One request, whose body never comes if it is None; its first answer and the moment of it."""
    answers = []

    async def receive():
        if body is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        answers.append((message, time.monotonic()))

    scope = {"type": "http", "path": path, "client": (address, 1), "headers": list(headers)}
    await guarded(scope, receive, send)
    return answers[0]


def all_at_once(*attempts, patience_s=10.0):
    """The attempts' (status, seconds until the answer)."""

    async def run():
        guarded = SlowLogin(door, pause_s=PAUSE, patience_s=patience_s)
        start = time.monotonic()
        found = await asyncio.gather(*(attempt(guarded, *one) for one in attempts))
        assert not guarded._turns
        return [(message["status"], moment - start) for message, moment in found]

    return asyncio.run(run())


@pytest.mark.parametrize("path", ["/login", "/login/", "/gradio_api/login", "/line3/login"])
def test_wrong_passwords_of_an_address_wait_for_one_another(path):
    found = all_at_once(*[("10.0.0.9", b"wrong", path)] * 3)
    assert [status for status, _ in found] == [400] * 3
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


def form(user, password):
    """A login form as Gradio's page sends it, whose password the door looks at alone."""
    return f"username={user}&password={password}".encode()


async def form_door(scope, receive, send):
    status = 200 if (await receive())["body"].endswith(b"right") else 400
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def at_the_form_door(*rounds):
    """Seconds that each round of attempts took; the guard remembers the rounds before."""
    kind = [(b"content-type", b"application/x-www-form-urlencoded")]

    async def run():
        guarded = SlowLogin(form_door, pause_s=PAUSE)
        took = []
        for attempts in rounds:
            start = time.monotonic()
            await asyncio.gather(
                *(attempt(guarded, address, body, headers=kind) for address, body in attempts)
            )
            took.append(time.monotonic() - start)
        return took

    return asyncio.run(run())


def test_a_guesser_with_many_addresses_is_as_slow_as_one_with_one():
    many = [(f"10.0.0.{number}", form("operator", "wrong")) for number in range(4)]
    others = [(f"10.0.1.{number}", form(f"user{number}", "wrong")) for number in range(4)]
    on_one_user, on_many = at_the_form_door(many, others)
    assert on_one_user >= 4 * PAUSE * 0.99
    assert on_many < 2 * PAUSE


def test_guessers_elsewhere_do_not_keep_the_operator_out_where_he_has_been_before():
    guesses = [(f"10.0.0.{number}", form("operator", "wrong")) for number in range(4)]
    own = ("10.0.1.1", form("operator", "right"))
    answered = []

    async def run():
        kind = [(b"content-type", b"application/x-www-form-urlencoded")]
        guarded = SlowLogin(form_door, pause_s=PAUSE)
        await attempt(guarded, *own, headers=kind)
        tasks = [asyncio.create_task(attempt(guarded, *one, headers=kind)) for one in guesses]
        await asyncio.sleep(PAUSE / 4)
        start = time.monotonic()
        message, _ = await attempt(guarded, *own, headers=kind)
        answered.append((message["status"], time.monotonic() - start))
        await asyncio.gather(*tasks)

    asyncio.run(run())
    ((status, seconds),) = answered
    assert status == 200
    assert seconds < PAUSE / 2


def test_a_form_that_is_none_is_refused_before_it_is_read_to_its_end():
    ((status, _),) = all_at_once(("10.0.0.9", b"x" * 20_000))
    assert status == 413


def test_a_form_that_never_arrives_does_not_keep_the_turn():
    found = all_at_once(("10.0.0.9", None), ("10.0.0.9", b"right"), patience_s=PAUSE)
    assert [status for status, _ in found] == [408, 200]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"host", b"localhost")], 200),
        ([(b"host", b"localhost"), (b"origin", b"https://evil.example")], 403),
        # Of two the first counts, as for the server behind.
        ([(b"host", b"evil.example"), (b"host", b"localhost")], 403),
    ],
)
def test_the_guard_stands_before_the_page_and_no_other_page_may_frame_it(headers, status):
    guarded = SameOrigin(door, loopback_only=True)
    message, _ = asyncio.run(attempt(guarded, "127.0.0.1", b"right", "/config", headers))
    assert message["status"] == status
    if status == 200:
        found = dict(message["headers"])
        assert found[b"content-security-policy"] == b"default-src 'none'; frame-ancestors 'none'"
        assert found[b"x-content-type-options"] == b"nosniff"
        assert found[b"referrer-policy"] == b"same-origin"


# What follows asks pages that are served.


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tile")


@pytest.fixture(scope="module")
def url(bundle):
    from edge_app.serving import serving

    # A proxy of the network is not asked for this machine.
    with pytest.MonkeyPatch.context() as environment:
        for name in ("NO_PROXY", "no_proxy"):
            environment.delenv(name, raising=False)
        for name in ("http_proxy", "HTTP_PROXY"):
            environment.setenv(name, "http://127.0.0.1:1")
        with serving([bundle], "memory:", port=0) as found:
            yield found


@pytest.fixture(scope="module")
def guarded_url(bundle):
    from edge_app.serving import serving

    with serving([bundle], "memory:", port=0, password="a long one") as found:
        yield found


def ask(url, headers=(), form=None):
    """Status and headers of an answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if form is None else urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(url, data, headers=dict(headers))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["", "config", "gradio_api/upload", "gradio_api/file=/etc/hostname"]
)
@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
def test_the_served_page_refuses_others(url, path, headers):
    assert ask(url + path, headers)[0] == 403


@pytest.mark.slow
def test_the_served_page_answers_its_own_and_no_other_page_may_frame_it(url):
    status, headers = ask(url)
    assert status == 200
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["x-content-type-options"] == "nosniff"
    assert ask(url + "config", {"Origin": url.rstrip("/")})[0] == 200


@pytest.mark.slow
def test_the_served_page_slows_wrong_passwords(guarded_url):
    start = time.monotonic()
    tries = [
        ask(guarded_url + "login", form={"username": USER, "password": password})[0]
        for password in ("wrong", "wrong", "a long one")
    ]
    assert tries == [400, 400, 200]
    assert time.monotonic() - start >= 2 * PAUSE_S * 0.99
