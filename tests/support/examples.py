"""The fenced blocks of a Markdown page, and a program that runs the Python ones, as the reader would.

    python examples.py < {"page": ..., "setup": ..., "blocks": [[line, source], ...]}

The blocks of a page share one namespace, as they share one reader. A block that needs a package which is
not installed is left out, and so is one that goes on from it. The last line of the output tells of them: a
list of [line, package].
"""

from __future__ import annotations

import ast
import json
import re
import sys
import textwrap
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: the number of its first line, from 1, its language, and what is in it."""

    line: int
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(text.count("\n", 0, found.start(3)) + 1, found[2], textwrap.dedent(found[3]))
        for found in _FENCE.finditer(text)
    ]


class Command(NamedTuple):
    """A line that is typed after a ``$``, and what is shown below it."""

    line: str
    output: str


def commands(block: str) -> list[Command]:
    typed = re.split(r"^\$ ", block, flags=re.MULTILINE)
    assert not typed[0], f"what stands before the first $ ?\n{block}"
    return [Command(*each.partition("\n")[::2]) for each in typed[1:]]


def is_shown(output: str, shown: str) -> bool:
    """Whether the output is what a page shows; three dots there stand for anything."""
    pattern = re.escape(shown.strip()).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def _bound(source: str) -> set[str]:
    """The names that a block would have set."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names


def _run(page: str, setup: str, sources: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Run the blocks of a page. Returns those that were left out: the line, and the package that lacks."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    missing: list[tuple[int, str]] = []
    lost: dict[str, str] = {}
    for line, source in [(0, setup), *sources]:
        code = compile("\n" * (line - 1) + source, page if line else f"the setup of {page}", "exec")
        try:
            exec(code, namespace)
        except ModuleNotFoundError as error:
            package, _, inside = (error.name or "").partition(".")
            if package == "durably" or (inside and package in sys.stdlib_module_names):
                raise
            missing.append((line, package))
            lost |= dict.fromkeys(_bound(source), package)
            if not line:
                break
        except NameError as error:
            if error.name not in lost:
                raise
            missing.append((line, lost[error.name]))
            lost |= dict.fromkeys(_bound(source), lost[error.name])
    return missing


if __name__ == "__main__":
    print(json.dumps(_run(**json.load(sys.stdin))))
