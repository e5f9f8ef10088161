"""Other web pages may not talk to the operator's page."""

from __future__ import annotations

import urllib.error
import urllib.request

import gradio as gr
import pytest

from edge_app.page.same_origin import refusal
from edge_app.page.serve import serve
from runtime.errors import PageError


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
    assert "expected a request of localhost:7860" in refusal(
        "localhost:7860", origin, loopback_only
    )


@pytest.mark.parametrize(
    "host", ["evil.example:7860", "", "localhost.evil.example", "127.0.0.1.evil.example", "["]
)
def test_other_names_are_refused_on_this_machine_alone(host):
    assert "expected a name of this machine" in refusal(host, None, loopback_only=True)


@pytest.fixture(scope="module")
def url():
    with gr.Blocks() as page:
        gr.HTML("ours")
    yield serve(page, "127.0.0.1", 0, None)
    page.close(verbose=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["", "config", "gradio_api/upload", "gradio_api/file=/etc/hostname"]
)
@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
def test_the_served_page_refuses_them(url, path, headers):
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(url + path, headers)
    assert refused.value.code == 403


@pytest.mark.slow
def test_the_served_page_answers_its_own(url, monkeypatch):
    assert ask(url, {}) == 200
    assert ask(url + "config", {"Origin": url.rstrip("/")}) == 200


@pytest.mark.slow
def test_no_other_page_may_frame_it(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=20) as answer:
        assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.slow
def test_a_proxy_of_the_network_is_not_asked_for_this_machine(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with gr.Blocks() as page:
        gr.HTML("ours")
    assert serve(page, "127.0.0.1", 0, None).startswith("http://127.0.0.1:")
    page.close(verbose=False)


def test_an_ipv6_address_is_refused_in_one_line():
    with gr.Blocks() as page, pytest.raises(PageError, match="expected a name or an IPv4 address"):
        serve(page, "::1", 0, None)


def ask(url, headers):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        return answer.status
