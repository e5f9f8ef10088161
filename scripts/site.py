"""What the documentation site adds to docs/: the pages at the repository's root.

A hook of MkDocs (``hooks:`` in mkdocs.yml). The files keep their place, where GitHub and packaging
look for them; the site shows them as pages, with their links pointing at pages.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Where a file of the repository stands on the site, relative to docs/.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "benchmarks/RESULTS.md": "measurements.md",
}
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=<code>)")
_FROM_THE_WEB = re.compile(r"<(?:script|img|iframe|link(?=[^>]*stylesheet))[^>]*https?:[^>]*>")
_LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's pages."""
    from mkdocs.structure.files import File

    for source, target in PAGES.items():
        if source != "README.md":
            text = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, target, content=relink(text, source, target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point a page's links to files outside docs/ at their pages."""
    source = page.file.src_uri
    if source in PAGES.values() and source != "index.md":
        return markdown
    return relink(markdown, f"docs/{source}", source)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Take Sphinx's roles out of docstrings, and hold the site to what lies in it."""
    from mkdocs.exceptions import PluginError

    asked = _FROM_THE_WEB.search(output)
    if asked:
        raise PluginError(
            f"{page.file.src_uri}: expected nothing from the web, found {asked[0]}; "
            "put it below docs/assets"
        )
    return _ROLE.sub("", output)


def relink(markdown: str, source: str, target: str) -> str:
    """Links of a file of the repository, as seen from its page.

    Args:
        markdown: the file's text.
        source: its path below the repository's root.
        target: its page, relative to docs/.

    Returns:
        The text with each link to a page made relative to ``target``; others stay as they are.
    """

    def moved(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        page = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
        if not page:
            return match[0]
        return match[1] + posixpath.relpath(page, posixpath.dirname(target) or ".")

    return _LINK.sub(moved, markdown)
