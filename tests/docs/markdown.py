"""The little of Markdown that the tests of the pages need: code blocks, links, headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
# What the site shows without lying in docs/: `scripts/site.py` adds it.
ADDED = [
    ROOT / name
    for name in ("CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/RESULTS.md")
]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *ADDED, README]
_FENCE = re.compile(r"^(```+)(\w*)\s*$")
_NOT_RUN = re.compile(r"^<!-- not run: \S.* -->$")


@dataclass(frozen=True)
class Block:
    """A fenced or indented code block; ``line`` is that of its first line of code, from 1."""

    language: str
    line: int
    code: str
    not_run: bool = False


def blocks(page: Path) -> list[Block]:
    """Fenced blocks with their language, and indented ones with language ``""``."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence:
            end = lines.index(fence[1], at + 1)
            before = next((line for line in reversed(lines[:at]) if line.strip()), "")
            code = "\n".join(lines[at + 1 : end])
            found.append(Block(fence[2], at + 2, code, bool(_NOT_RUN.match(before.strip()))))
            at = end
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            start = at
            while at < len(lines) and lines[at].startswith("    "):
                at += 1
            found.append(Block("", start + 1, "\n".join(line[4:] for line in lines[start:at])))
        at += 1
    return found


def prose(page: Path) -> str:
    """The page without fenced blocks."""
    fenced = re.compile(r"^(```+).*?^\1\s*$", flags=re.DOTALL | re.MULTILINE)
    return fenced.sub("", page.read_text(encoding="utf-8"))


def sentences(page: Path) -> list[str]:
    """Sentences of the prose; an item, a heading and a cell of a table end one, too."""
    text = re.sub(r"<!--.*?-->|!\[[^\]]*\]\([^)]*\)", "", prose(page), flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "code", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text))
    text = re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)
    starts = re.sub(r"^ *(?:[-*>] |\d+\. |#+ )", "\n\n", text, flags=re.MULTILINE)
    cells = re.sub(r"^\|.*$", lambda row: row[0].replace("|", "\n\n"), starts, flags=re.MULTILINE)
    found = re.split(r"\n\s*\n|(?<=[.!?])[*_)]*\s+", cells)
    return [" ".join(one.split()) for one in found if one.strip()]


def links(page: Path) -> list[str]:
    """Targets of links and pictures that stay inside the project."""
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page)))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(page), flags=re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        count = sum(1 for one in found if re.fullmatch(re.escape(name) + r"(-\d+)?", one))
        found.add(f"{name}-{count}" if count else name)
    return found
