"""The examples of docs/api.md run against a server, curl's and Python's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.access.tokens import add_token
from edge_app.serving import serving
from tests.docs.markdown import ROOT, Block, blocks
from tests.edge_app.tiny_bundle import write_tiny_bundle

PAGE = ROOT / "docs" / "api.md"
WRITTEN = "http://127.0.0.1:7860"
CURL = [block for block in blocks(PAGE) if block.language == "bash" and "curl" in block.code]
PYTHON = [block for block in blocks(PAGE) if block.language == "python"]


def at(block: Block) -> str:
    return f"line {block.line}"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """A server's address, a token, and a folder with two pictures."""
    folder = tmp_path_factory.mktemp("api")
    image = np.full((64, 64, 3), 128, np.uint8)
    for name, level in (("part", 28), ("other", 120)):
        image[:16, :16] = level
        cv2.imwrite(str(folder / f"{name}.jpg"), image)
    bundle = write_tiny_bundle(folder / "tile-patchcore")
    token = add_token(folder / "tokens.json", "press-3")
    options = {"port": 0, "api_token_file": folder / "tokens.json"}
    with serving([bundle], str(folder / "neighbours"), **options) as url:
        yield url.rstrip("/"), token, folder


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("block", CURL, ids=at)
def test_curl_is_answered(block: Block, box: tuple[str, str, Path]) -> None:
    url, token, folder = box
    code = block.code.replace(WRITTEN, url)
    if "Authorization" not in code:
        # The first example is of a box that asks nobody.
        code = code.replace("curl", f"curl -H 'Authorization: Bearer {token}'")
    done = subprocess.run(
        ["bash", "-e", "-c", code],
        cwd=folder,
        env={**os.environ, "TOKEN": token, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"bundle' in done.stdout


def test_python_is_answered(
    box: tuple[str, str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, token, folder = box
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TOKEN", token)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    names: dict[str, object] = {"__name__": "snippets"}
    for block in PYTHON:
        code = "\n" * (block.line - 1) + block.code.replace(WRITTEN, url)
        exec(compile(code, str(PAGE), "exec"), names)
    said = capsys.readouterr().out
    region, said = said.split("\n", 1)
    assert region.startswith("Box(x=0, y=0, width=")
    assert said.startswith("anomalous 100.0 64.0")
    assert "'who': 'press-3', 'word': 'right'" in said
    assert "part.jpg right" in said
    assert said.endswith("anomalous\n")


def test_every_route_and_metric_stands_on_the_page(box: tuple[str, str, Path]) -> None:
    import httpx

    url, token, _ = box
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        routes = client.get("/v1/openapi.json").json()["paths"]
        metrics = client.get("/metrics").text
    page = PAGE.read_text(encoding="utf-8")
    told = {path.replace("{part_id}", "{id}") for path in routes if "heat-maps" not in path}
    assert [path for path in told if f"/v1{path}`" not in page] == []
    names = {line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE")}
    known = {name for name in names if not name.endswith("_created")}
    assert [name for name in known if f"`{name}`" not in page] == []
