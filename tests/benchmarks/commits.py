"""A commit as a sequence diagram, for each system: the steps are those of its platform.toml.

Who is talked to by a step is known here; which steps there are, in which order and at which level, and on
which file systems a promise holds, is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import support
import svg

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = {"linux": "Linux", "macos": "macOS", "windows": "Windows"}
_WIDTH, _ROW, _TOP = 500, 34, 84
_LANES = {"durably": 96, "directory": 186, "temporary": 276, "disk": 342}
_LEVELS = ("none", "consistent", "durable")
_DOTS = {"none": 16, "consistent": 30, "durable": 44}
_READER, _CUT = 402, 468


class Step(NamedTuple):
    """What a step looks like: from one lane to another, and on to the disk if it is a flush."""

    to: str
    said: str
    flushes: bool = False


_STEPS = {
    "create": Step("directory", "create a temporary beside it"),
    "create unnamed": Step("directory", "create, no name (O_TMPFILE)"),
    "write": Step("temporary", "write the new content"),
    "link": Step("directory", "link to a temporary name"),
    "fsync": Step("temporary", "fsync", flushes=True),
    "F_FULLFSYNC": Step("temporary", "F_FULLFSYNC", flushes=True),
    "F_BARRIERFSYNC": Step("temporary", "F_BARRIERFSYNC", flushes=True),
    "rename": Step("directory", "rename over the target"),
    "fsync directory": Step("directory", "fsync directory", flushes=True),
}


def drawn(system: str) -> str:
    """The picture of a system."""
    platform = support.load(system)
    named = platform["steps"]
    one_shot = {level: named[level] for level in _LEVELS}
    stream = {level: named["stream"][level] for level in _LEVELS}
    panels = {"write_bytes, write_text, atomic_write; open": one_shot}
    if stream != one_shot:
        panels = {"write_bytes, write_text, atomic_write": one_shot, "open (a stream)": stream}
    shapes, at = [svg.text(16, 26, f"A save on {NAMES[system]}", "ink strong")], 34
    for title, steps in panels.items():
        shapes += _panel(title, steps, at, certain=_promised(system, "durable") != [])
        at += _TOP + _ROW * len(steps["durable"]) + 30
    notes = [*_notes(system, platform), *_barrier(one_shot)]
    shapes += [svg.text(16, at + 8 + 17 * number, note, "faint small") for number, note in enumerate(notes)]
    described = "; ".join(f"{title}: {', '.join(steps['durable'])}" for title, steps in panels.items())
    height = at + 17 * len(notes) + 12
    return svg.document(_WIDTH, height, f"The steps of a save on {NAMES[system]}", described, shapes)


def _panel(title: str, steps: dict[str, list[str]], top: int, *, certain: bool) -> list[str]:
    """One diagram: the lanes, and the steps of "durable" with dots for the levels that take them."""
    taken, bottom = steps["durable"], top + _TOP + _ROW * len(steps["durable"])
    shapes = [svg.text(16, top + 18, title, "faint code")]
    for name, x in _LANES.items():
        shapes += [svg.text(x, top + 58, name, "ink strong small", "middle")]
        shapes += [svg.line(x, top + 66, x, bottom, dashed=True)]
    for x, first, second in ((_READER, "a reader", "finds"), (_CUT, "after a", "power cut")):
        shapes += [svg.text(x, top + 44, first, "faint small", "middle")]
        shapes += [svg.text(x, top + 58, second, "faint small", "middle")]
    for level, x in _DOTS.items():
        shapes += [svg.text(x, top + 58, level[0].upper(), "ink strong small", "middle")]
    renamed = taken.index("rename")
    for number, name in enumerate(taken):
        y = top + _TOP + _ROW * number + 6
        shapes += _step(_STEPS[name], y)
        shapes += [
            f'<circle cx="{_DOTS[level]}" cy="{y - 3}" r="4" class="fair"/>'
            for level in _LEVELS
            if _has(steps[level], name)
        ]
        reader = "new" if number >= renamed else "old"
        after = "old" if number < renamed else "new" if certain and number > renamed else "old or new"
        shapes += [svg.text(_READER, y + 1, reader, _colour(reader), "middle")]
        shapes += [svg.text(_CUT, y + 1, after, _colour(after), "middle")]
    return shapes


def _step(step: Step, y: float) -> list[str]:
    start, end = _LANES["durably"], _LANES[step.to]
    shapes = [svg.text(start + 5, y - 6, step.said, "ink small halo")]
    shapes += [svg.arrow(start, y, end)]
    if step.flushes:
        shapes += [svg.arrow(end, y, _LANES["disk"], "fair")]
    return shapes


def _colour(state: str) -> str:
    return {"old": "faint", "new": "good strong"}.get(state, "doubt") + " small"


def _has(steps: list[str], name: str) -> bool:
    """Whether a level takes the step, or a weaker kind of it."""
    return name in steps or (name == "F_FULLFSYNC" and "F_BARRIERFSYNC" in steps)


def _barrier(steps: dict[str, list[str]]) -> list[str]:
    if "F_BARRIERFSYNC" in steps["consistent"] and "F_FULLFSYNC" in steps["durable"]:
        return ["At level consistent, F_BARRIERFSYNC stands for F_FULLFSYNC."]
    return []


def _promised(system: str, promise: str) -> list[str]:
    """The file systems on which a promise is given, mounted as usual."""
    which = support.PROMISES.index(promise)
    return [
        kind
        for row in support.rows(system)
        if not row.options and row.promises[which] == "yes"
        for kind in row.kinds
    ]


def _notes(system: str, platform: dict[str, Any]) -> list[str]:
    proven = [kind for kind in _promised(system, "crash") if support.proof_of(platform, "crash", kind, ())]
    durable = _listed(_promised(system, "durable")) or "no file system"
    return [
        "N, C, D: the levels none, consistent and durable. Dots: who takes the step.",
        "Right: at level durable.",
        f"Old or new, but whole: on {_listed(_promised(system, 'crash'))}.",
        f"New for certain in the end: on {durable}.",
        f"Proven by power cuts: on {_listed(proven)}." if proven else "Not proven by power cuts yet.",
    ]


def _listed(names: Iterable[str]) -> str:
    *most, last = [*names] or [""]
    return f"{', '.join(most)} and {last}" if most else last
