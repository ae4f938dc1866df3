"""The curves and bars of the recorded figures, drawn with matplotlib (`pip install --group bench`).

A picture carries a digest of the rows that it was drawn from, by which a test tells whether it is
current, whatever release of matplotlib drew it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import charts
import record
from prove import picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from findings import Finding, Found, Point


class Plot(NamedTuple):
    """A picture: the group whose data it shows, which of its rows, and how."""

    group: str
    title: str
    rows: Callable[[Found], list[Finding] | list[Point]]
    draw: Callable[[Any, Any], Any]
    """Takes matplotlib.pyplot and the rows; gives the figure."""


PLOTS = {
    "small": Plot("memory", "4 KiB on a tmpfs, nothing flushed", charts.beside_c, charts.bars),
    "small-durable": Plot("disk", "4 KiB on a fresh ext4, flushed to the end", charts.beside_c, charts.bars),
    "many": Plot("many", "1,000 files of 4 KiB beside one batch", charts.beside_a_batch, charts.bars_of_many),
    "levels": Plot("levels", "4 KiB, by level and place", charts.points, charts.levels),
    "sizes": Plot("sizes", "One file, by its size", charts.points, charts.sizes),
    "files": Plot("files", "Each of many files of 4 KiB, fresh ext4", charts.points, charts.files),
    "entries": Plot("entries", "4 KiB into a directory with many others", charts.points, charts.entries),
    "workers": Plot("workers", "Many at a time", charts.points, charts.workers),
}


def shown(figures: Path) -> dict[str, list[Finding] | list[Point]]:
    """The rows of each picture for which something was recorded."""
    found: dict[str, list[Finding] | list[Point]] = {}
    for name, plot in PLOTS.items():
        kept = record.read(figures, plot.group)
        rows = plot.rows(kept.found) if kept else []
        if rows:
            found[name] = rows
    return found


def digest(rows: list[Finding] | list[Point]) -> str:
    """What stands for the rows in their picture."""
    data = json.dumps([asdict(row) for row in rows], sort_keys=True)
    return hashlib.sha256(data.encode()).hexdigest()


def draw(figures: Path) -> list[str]:
    """Draw those that are not current, and take away those without data. Returns what could not be drawn."""
    wanted = {name: rows for name, rows in shown(figures).items() if not _is_current(figures, name, rows)}
    for name in PLOTS:
        if name not in shown(figures):
            (figures / f"{name}.svg").unlink(missing_ok=True)
    try:
        library: Any = import_module("matplotlib")
    except ImportError:
        return [f"{name}.svg" for name in wanted]
    library.use("svg")
    library.rcParams.update(picture.STYLE | {"axes.grid": True})
    for name, rows in wanted.items():
        _write(figures / f"{name}.svg", PLOTS[name], rows)
    return []


def outdated(figures: Path) -> list[str]:
    """The pictures that are not of what was recorded, and those of what was not."""
    rows = shown(figures)
    stale = [f"{name}.svg" for name, own in rows.items() if not _is_current(figures, name, own)]
    return stale + [
        f"{name}.svg" for name in PLOTS if name not in rows and (figures / f"{name}.svg").exists()
    ]


def _is_current(figures: Path, name: str, rows: list[Finding] | list[Point]) -> bool:
    path = figures / f"{name}.svg"
    return path.exists() and digest(rows) in path.read_text(encoding="utf-8")


def _write(path: Path, plot: Plot, rows: list[Finding] | list[Point]) -> None:
    pyplot: Any = import_module("matplotlib.pyplot")
    figure = plot.draw(pyplot, rows)
    about = {"Date": None, "Creator": None, "Title": plot.title, "Description": digest(rows)}
    figure.savefig(path, format="svg", metadata=about)
    pyplot.close(figure)
    picture.finish(path)
