"""The table of file systems as a picture: the promises of `durably.probe`, and which of them is proven."""

from __future__ import annotations

import support
import svg
from commits import NAMES

_WIDTH, _LINE, _CHARACTERS = 500, 16, 36
_COLUMNS = (285, 367, 449)
_CELL, _HIGH = 76, 20
_ANY = "any other"
_COLOURS = {"proven": "good", "yes": "fair", "unknown": "doubt", "no": "bad"}


def drawn() -> str:
    """The picture."""
    shapes, y = [], 28.0
    for system in support.SYSTEMS:
        shapes.append(svg.text(16, y, NAMES[system], "ink strong"))
        shapes += [
            svg.text(x, y, promise, "faint small", "middle")
            for x, promise in zip(_COLUMNS, support.PROMISES, strict=True)
        ]
        y += 12
        for row in support.rows(system):
            for kinds, words in support.answers(system, row).items():
                more, y = _row(kinds, row.options, words, y)
                shapes += more
        y += 34
    for word, meaning in _LEGEND.items():
        shapes += [*_answer(50, y - 14, word), svg.text(98, y, meaning, "faint small")]
        y += 26
    described = "What each file system promises: readers, crash, durable"
    return svg.document(_WIDTH, round(y), "What each file system promises", described, shapes)


_LEGEND = {
    "proven": "a rig has tried to break it, and could not",
    "yes": "by the system's documentation or source; not proven",
    "unknown": "depends on the other side, or is not documented",
    "no": "not kept, and the receipt says so",
}


def _row(
    kinds: tuple[str, ...], options: tuple[str, ...], words: list[str], y: float
) -> tuple[list[str], float]:
    said = ", ".join(_name(kind) for kind in kinds)
    if options:
        said = said.replace(_ANY, "any")
        said += f", if {' or '.join(options)}"
    lines = _wrapped(said)
    height = max(_HIGH + 8, _LINE * len(lines) + 12)
    shapes = [svg.line(16, y, _WIDTH - 12, y)]
    for number, line in enumerate(lines):
        start = y + height / 2 + 4 - _LINE * (len(lines) - 1) / 2
        shapes.append(svg.text(16, start + _LINE * number, line, "ink small"))
    for x, word in zip(_COLUMNS, words, strict=True):
        shapes += _answer(x, y + (height - _HIGH) / 2, word)
    return shapes, y + height


def _answer(x: float, y: float, word: str) -> list[str]:
    """A word in a box: filled where it is proven."""
    left, colour = x - _CELL / 2, _COLOURS[word]
    if word == "proven":
        shape, ink = svg.box(left, y, _CELL, _HIGH, colour), "paper strong"
    else:
        shape, ink = svg.frame(left, y, _CELL, _HIGH, colour), colour
    return [shape, svg.text(x, y + 14, word, f"{ink} small", "middle")]


def _name(kind: str) -> str:
    return {"": _ANY}.get(kind, f"{kind}*" if kind.endswith(".") else kind)


def _wrapped(said: str) -> list[str]:
    lines = [""]
    for word in said.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= _CHARACTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
