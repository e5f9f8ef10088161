"""Draw docs/images/architecture.svg from the real imports: ``python -m scripts.architecture``.

grimp, which import-linter stands on, reads every import of the five packages, those inside
functions and under ``TYPE_CHECKING`` included. The table of rooms in docs/architecture.md is
written from the docstrings of the same packages.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("lineside", "export", "calibration", "edge_app", "runtime")
_MARKS = ("<!-- rooms: written by python -m scripts.architecture -->", "<!-- end of rooms -->")

_WIDTH, _HEIGHT, _GAP, _MARGIN = 430, 196, 44, 56
_COLORS = {"runtime": "#00796b", "calibration": "#5e35b1", "edge_app": "#c2410c"}


@dataclass(frozen=True)
class Package:
    """A package as its imports show it.

    Attributes:
        name: as it is imported.
        does: first line of its docstring.
        rooms: its sub-packages, each with the first line of its docstring.
        stands_on: packages of the project that it imports.
        brings: libraries that it imports and nothing below it does.
        level: 0 where it stands on none, else one above the highest that it stands on.
    """

    name: str
    does: str
    rooms: dict[str, str]
    stands_on: tuple[str, ...]
    brings: tuple[str, ...]
    level: int


def packages() -> list[Package]:
    """The packages in the order of ``PACKAGES``."""
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    imports: dict[str, set[str]] = {name: set() for name in PACKAGES}
    for module in graph.modules:
        top = module.split(".")[0]
        if top in imports:
            found = graph.find_modules_directly_imported_by(module)
            imports[top] |= {one.split(".")[0] for one in found} - {top}

    def stands_on(name: str) -> list[str]:
        return [one for one in PACKAGES if one in imports[name]]

    def level(name: str) -> int:
        return max((level(one) + 1 for one in stands_on(name)), default=0)

    made = []
    for name in PACKAGES:
        below = set().union(*(imports[one] for one in stands_on(name)), set(PACKAGES))
        brings = sorted(imports[name] - below - set(sys.stdlib_module_names))
        rooms = {
            path.parent.name: _first_line(path)
            for path in sorted((ROOT / name).glob("*/__init__.py"))
        }
        does = _first_line(ROOT / name / "__init__.py")
        made.append(Package(name, does, rooms, tuple(stands_on(name)), tuple(brings), level(name)))
    return made


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n", 1)[0]


def picture(made: list[Package]) -> str:
    """The diagram as SVG: a box a package, an arrow for each that it stands on."""
    top = max(one.level for one in made)
    at = {}
    for level in range(top + 1):
        row = sorted((one for one in made if one.level == level), key=lambda one: one.name)
        wide = (2 * _WIDTH + _GAP - (len(row) - 1) * _GAP) / len(row)
        for place, one in enumerate(row):
            left = _MARGIN + place * (wide + _GAP)
            at[one.name] = (left, 24 + (top - level) * (_HEIGHT + _GAP), wide)
    width = 2 * (_MARGIN + _WIDTH) + _GAP
    height = 24 + (top + 1) * (_HEIGHT + _GAP) - _GAP + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="14" role="img">',
        "<title>The packages, their rooms, and who imports whom</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" '
        'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#546e7a"/></marker></defs>',
        f'<rect width="{width}" height="{height}" rx="10" fill="#fafafa"/>',
    ]
    for one in made:
        parts += [_arrow(at[one.name], at[below], width) for below in one.stands_on]
    parts += [_box(one, *at[one.name]) for one in made]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float], width: float) -> str:
    """From a box down to another; around the outside where one stands between them."""
    line = 'fill="none" stroke="#546e7a" stroke-width="2" marker-end="url(#head)"'
    (left, y, wide), (to_left, to_y, to_wide) = start, end
    middle = left + wide / 2
    if to_y - y <= _HEIGHT + _GAP:
        into = min(max(middle, to_left + 20), to_left + to_wide - 20)
        return f'<path d="M{middle:g} {y + _HEIGHT:g} L{into:g} {to_y - 2:g}" {line}/>'
    on_left = middle < width / 2
    side, edge = (left, to_left) if on_left else (left + wide, to_left + to_wide)
    out = side - 28 if on_left else side + 28
    gap = -2 if on_left else 2
    return (
        f'<path d="M{side:g} {y + _HEIGHT / 2:g} H{out:g} '
        f'V{to_y + _HEIGHT / 2:g} H{edge + gap:g}" {line}/>'
    )


def _box(one: Package, left: float, y: float, wide: float) -> str:
    color = _COLORS.get(one.name, "#37474f")
    parts = [
        f'<rect x="{left:g}" y="{y:g}" width="{wide:g}" height="{_HEIGHT}" rx="8" fill="#fff" '
        f'stroke="{color}" stroke-width="2"/>',
        f'<text x="{left + 16:g}" y="{y + 28:g}" font-size="19" font-weight="700" '
        f'fill="{color}">{one.name}</text>',
    ]
    letters = int((wide - 32) / 6.6)
    x, row = left + 16, y + 36
    for line in _wrapped(one.does.replace("`", ""), letters):
        row += 16
        parts.append(
            f'<text x="{x:g}" y="{row:g}" font-size="12.5" fill="#263238">{escape(line)}</text>'
        )
    row += 12
    for room in one.rooms:
        long = 8 * len(room) + 18
        if x + long > left + wide - 12:
            x, row = left + 16, row + 30
        parts.append(
            f'<rect x="{x:g}" y="{row:g}" width="{long:g}" height="24" rx="12" '
            f'fill="{color}" fill-opacity="0.1"/><text x="{x + long / 2:g}" y="{row + 17:g}" '
            f'text-anchor="middle" fill="#263238">{escape(room)}</text>'
        )
        x += long + 8
    for number, line in enumerate(reversed(_wrapped(", ".join(one.brings), letters))):
        parts.append(
            f'<text x="{left + 16:g}" y="{y + _HEIGHT - 14 - 17 * number:g}" font-size="12.5" '
            f'fill="#546e7a">{escape(line)}</text>'
        )
    return "\n".join(parts)


def _wrapped(text: str, most: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def page(text: str, made: list[Package]) -> str:
    """The page with its table of rooms written anew.

    Args:
        text: the page as it is, with both marks.
        made: of :func:`packages`.
    """
    rows = ["| room | what it is |", "|---|---|"]
    for one in made:
        rows.append(f"| **`{one.name}`** | {one.does.replace('``', '`')} |")
        rows += [
            f"| `{one.name}/{room}` | {does.replace('``', '`')} |"
            for room, does in one.rooms.items()
        ]
    before, rest = text.split(_MARKS[0])
    after = rest.split(_MARKS[1])[1]
    return "\n\n".join([before + _MARKS[0], "\n".join(rows), _MARKS[1] + after])


if __name__ == "__main__":
    found = packages()
    PICTURE.write_text(picture(found), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
