"""The house: its modules, who imports whom, its floors; and the picture of them.

python tests/support/house.py      # draws docs/explanation/architecture.svg anew
"""

from __future__ import annotations

import ast
import sys
import textwrap
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import durably

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(durably.__file__).parent
PICTURE = Path(__file__).parents[2] / "docs" / "explanation" / "architecture.svg"

# From below to above. A room may import the rooms of the lines before its own, and its own modules.
RANKS = (
    {"_errors", "_receipts", "_types"},
    {"_system"},
    {"_commit"},
    {"_file", "testing"},
    {"_batch", "_tree"},
    {"_transaction"},
    {"_stores"},
    {"_api", "stores"},
    {"__init__", "_fsspec"},
    {"_cli", "filesystem"},
    {"__main__"},
)


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below ``durably``; the package is ``__init__``."""
    found: dict[str, Path] = {}
    for path in PACKAGE.rglob("*.py"):
        *above, name = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(above if above and name == "__init__" else [*above, name])] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    return module.partition(".")[0]


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below a node but the bodies of ``if TYPE_CHECKING:``, which never run."""
    yield node
    children = node.orelse if isinstance(node, ast.If) and is_for_types(node) else ast.iter_child_nodes(node)
    for child in children:
        yield from run_time_nodes(child)


def named(path: str) -> str | None:
    """The module of ours that a dotted name stands for, or lies in."""
    if path == "durably":
        return "__init__"
    inside = path.removeprefix("durably.")
    if inside == path:
        return None
    while inside not in MODULES:
        inside, _, _ = inside.rpartition(".")
        if not inside:
            return "__init__"
    return inside


def imports(module: str) -> set[str]:
    """The modules of ours that a module imports at run time, at its top or inside a function."""
    found: set[str | None] = set()
    for node in run_time_nodes(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {named(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            found |= {named(f"{node.module}.{alias.name}") for alias in node.names}
    return {target for target in found if target is not None}


IMPORTS = {module: imports(module) for module in MODULES}


# The picture.

_WIDTH, _MARGIN, _GAP, _LINE = 980, 20, 12, 17
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1a2733 }
  .name { font: 600 14px ui-monospace, monospace }
  .uses { font: 12px ui-monospace, monospace; fill: #5b6b79 }
  rect { fill: #eef3f8; stroke: #8aa4bd; rx: 6 }
  .floor { fill: #fbfcfd; stroke: #d6dee6 }
"""
_OWN_NAMES = {"__init__": "durably", "__main__": "durably.__main__"}


def subject(name: str) -> str:
    """What a room is about: the first sentence of its docstring."""
    folder = PACKAGE / name / "__init__.py"
    path = folder if folder.exists() else PACKAGE / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = text.partition("\n\n")[0].replace("\n", " ").rstrip(":. ")
    return first.partition(". ")[0].replace("`", "")


def uses(name: str) -> list[str]:
    """The rooms that a room imports, from below to above."""
    found = {
        room(target) for module, targets in IMPORTS.items() if room(module) == name for target in targets
    }
    return [each for rooms in RANKS for each in sorted(rooms) if each in found - {name}]


def drawn() -> str:
    """The floors as an SVG: each room with its subject, and what it imports."""
    parts: list[str] = []
    top = _MARGIN
    for rooms in reversed(RANKS):
        floor, height = _floor(sorted(rooms), top)
        parts += floor
        top += height + _GAP
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img">\n'
        "<title>The floors of durably: each room imports only from the floors below it</title>\n"
        f"<style>{_STYLE}</style>\n{body}\n</svg>\n"
    )


def _floor(rooms: list[str], top: int) -> tuple[list[str], int]:
    width = (_WIDTH - 2 * _MARGIN - _GAP * (len(rooms) + 1)) // len(rooms)
    boxes = [_lines(name, width) for name in rooms]
    tall = max(map(len, boxes)) * _LINE + 16
    parts = [_rect(_MARGIN, top, _WIDTH - 2 * _MARGIN, tall + 2 * _GAP, "floor")]
    for number, lines in enumerate(boxes):
        left = _MARGIN + _GAP + number * (width + _GAP)
        parts.append(_rect(left, top + _GAP, width, tall, "room"))
        for at, (kind, text) in enumerate(lines, 1):
            y = top + _GAP + 4 + at * _LINE
            parts.append(f'<text class="{kind}" x="{left + 10}" y="{y}">{escape(text)}</text>')
    return parts, tall + 2 * _GAP


def _lines(name: str, width: int) -> list[tuple[str, str]]:
    told = textwrap.wrap(subject(name), max(width // 7 - 2, 12))
    below = textwrap.wrap("imports " + (", ".join(uses(name)) or "nothing of ours"), max(width // 8 - 2, 12))
    return [
        ("name", _OWN_NAMES.get(name, name)),
        *(("said", line) for line in told),
        *(("uses", line) for line in below),
    ]


def _rect(left: int, top: int, width: int, height: int, kind: str) -> str:
    return f'<rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{height}"/>'


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
    sys.exit(0)
