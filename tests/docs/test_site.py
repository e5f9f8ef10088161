"""The site has every page, and its links to the repository's other pages lead to pages."""

from __future__ import annotations

import re

import pytest

from scripts.site import PAGES, relink
from tests.docs.markdown import ROOT

NAV = re.findall(r"([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)


def test_every_page_stands_in_the_navigation_once() -> None:
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert sorted(NAV) == sorted(pages | set(PAGES.values())), "mend nav in mkdocs.yml"
    assert [source for source in PAGES if not (ROOT / source).exists()] == []


@pytest.mark.parametrize(
    ("link", "source", "target", "expected"),
    [
        ("docs/int8.md#the-gate", "README.md", "index.md", "int8.md#the-gate"),
        ("../docs/int8.md", "benchmarks/RESULTS.md", "measurements.md", "int8.md"),
        ("../CONTRIBUTING.md#words", "docs/start.md", "start.md", "contributing.md#words"),
        ("../int8.md", "docs/decisions/001.md", "decisions/001.md", "../int8.md"),
        ("../../SECURITY.md", "docs/decisions/001.md", "decisions/001.md", "../security.md"),
        ("https://arxiv.org/abs/1", "docs/int8.md", "int8.md", "https://arxiv.org/abs/1"),
        ("#words", "CONTRIBUTING.md", "contributing.md", "#words"),
        ("LICENSE", "README.md", "index.md", "LICENSE"),
    ],
)
def test_links_lead_to_pages(link: str, source: str, target: str, expected: str) -> None:
    assert relink(f"see [it]({link}).", source, target) == f"see [it]({expected})."
