"""How each picture is laid out: narrow, one panel below the other, so that a phone shows it too."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import many
import saves
from growth import ENTRIES, FILES, SIZES
from others import PLAIN
from workers import PROCESSES, THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from findings import Finding, Found, Point

_WIDTH = 5.2
_OURS, _OTHERS, _FLOOR = "#2f81d6", "#8b949e", "#d98324"
_CYCLE = (_OURS, "#d98324", "#2e9e5b", "#b15fc9", "#8b949e", "#c2473f")
_LEVELS = ("none", "consistent", "durable", PLAIN)


def beside_c(found: Found) -> list[Finding]:
    """Those measured in units of the bare calls."""
    return [one for one in found.findings if one.base == saves.BARE]


def beside_a_batch(found: Found) -> list[Finding]:
    """Those of a thousand files in units of a batch."""
    return [one for one in found.findings if one.base == many.BATCH and not one.figure.startswith("10 ")]


def points(found: Found) -> list[Point]:
    """All curves of the group."""
    return found.points


def bars(pyplot: Any, rows: list[Finding]) -> Any:
    """The time of each contender in units of the bare calls, the fastest first."""
    figure, axis = pyplot.subplots(figsize=(_WIDTH, 0.9 + 0.27 * len(rows)))
    _bars(axis, sorted(rows, key=lambda one: one.median), [one.median for one in rows])
    axis.set_title(rows[0].figure)
    axis.set_xlabel("x the time of the bare calls in C (median)")
    figure.tight_layout()
    return figure


def bars_of_many(pyplot: Any, rows: list[Finding]) -> Any:
    """A panel for each file system, new and replaced."""
    figures = list(dict.fromkeys(one.figure for one in rows))
    figure, axes = pyplot.subplots(
        len(figures), 1, figsize=(_WIDTH, 1.35 * len(figures) + 0.5), sharex=True, squeeze=False
    )
    for axis, name in zip(axes.flat, figures, strict=True):
        _bars(axis, [one for one in rows if one.figure == name], [one.median for one in rows])
        axis.set_title(name)
    axes.flat[-1].set_xlabel(f"x the time of {many.BATCH} (median)")
    figure.tight_layout()
    return figure


def _bars(axis: Any, rows: list[Finding], values: list[float]) -> None:
    """Bars that start at 1, the time of the base; ``values`` are all that the scale has to hold."""
    names = [one.contender for one in rows]
    colours = [_OURS if "durably" in name else _FLOOR if "same calls" in name else _OTHERS for name in names]
    axis.barh(range(len(rows)), [one.median - 1 for one in rows], left=1, color=colours, height=0.62)
    axis.set_xscale("log")
    axis.set_xlim(min([*values, 0.8]) * 0.8, max(values) * 2.2)
    axis.grid(visible=False, axis="y")
    axis.axvline(1, color="#1f2328", linewidth=0.8)
    for at, one in enumerate(rows):
        said = f"{one.median:.2f}" if one.median < 10 else f"{one.median:.0f}"
        axis.text(max(one.median, 1) * 1.06, at, said, va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), names)
    axis.invert_yaxis()
    _labelled(axis.xaxis, _plain)


def _labelled(scale: Any, said: Callable[[float, int], str]) -> None:
    """Label a logarithmic scale at 1, 10, 100; if it holds less than two of those, at 2 and 5 as well."""
    low, high = scale.get_view_interval()
    narrow = high < low * 100
    scale.set_major_formatter(said)
    scale.set_minor_formatter(said if narrow else lambda _, __: "")
    if narrow:
        scale.set_minor_locator(import_module("matplotlib.ticker").LogLocator(subs=(2, 5)))


def _plain(value: float, _: int) -> str:
    return f"{value:g}"


def levels(pyplot: Any, rows: list[Point]) -> Any:
    """Bars of the time of a save, by place and level."""
    places = list(dict.fromkeys(row.place for row in rows))
    figure, axis = pyplot.subplots(figsize=(_WIDTH, 3.2))
    for number, level in enumerate(_LEVELS):
        own = {row.place: row.median for row in rows if row.contender == level}
        at = [place + (number - 1.5) * 0.2 for place in range(len(places))]
        axis.bar(at, [own[place] for place in places], width=0.19, label=level, color=_CYCLE[number])
    axis.set_xticks(range(len(places)), places)
    axis.set_yscale("log")
    _labelled(axis.yaxis, _time)
    axis.grid(visible=False, axis="x")
    axis.set_title("One save of 4 KiB over another (median)")
    figure.legend(loc="lower center", ncols=2)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    return figure


def sizes(pyplot: Any, rows: list[Point]) -> Any:
    """The time of a save, by the size of the file."""
    figure, axis = pyplot.subplots(figsize=(_WIDTH, 3.9))
    _curves(axis, [row for row in rows if row.curve == SIZES])
    axis.set_xscale("symlog", linthresh=1024)
    axis.set_xlim(left=-300)
    axis.set_xticks([0, *(1 << power for power in (12, 20, 26, 32))], ["0", "4K", "1M", "64M", "4G"])
    axis.set_xlabel(f"bytes; {rows[0].place}")
    return _finished(figure, axis, "The time of one save (median, range)", _time)


def files(pyplot: Any, rows: list[Point]) -> Any:
    """The time of each file, by their number: every entry point on ext4, and the batch everywhere."""
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(_WIDTH, 6.4))
    own = [row for row in rows if row.curve == FILES]
    _curves(above, [row for row in own if row.place == own[0].place])
    _curves(below, [row for row in own if row.contender == many.BATCH], lambda row: row.place)
    above.set_title(f"The time of each file, {own[0].place} (median, range)")
    below.set_title(many.BATCH)
    for axis in (above, below):
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("files")
        _labelled(axis.xaxis, _number)
        _labelled(axis.yaxis, _time)
        axis.legend()
    figure.tight_layout()
    return figure


def entries(pyplot: Any, rows: list[Point]) -> Any:
    """The time of a save, by how many others are in the directory."""
    figure, axis = pyplot.subplots(figsize=(_WIDTH, 3.9))
    _curves(axis, [row for row in rows if row.curve == ENTRIES])
    axis.set_xscale("symlog", linthresh=10)
    axis.set_xlim(left=-3)
    axis.xaxis.set_major_formatter(_number)
    axis.set_xlabel(f"other entries of the directory; {rows[0].place}")
    return _finished(figure, axis, "The time of one save (median, range)", _time)


def workers(pyplot: Any, rows: list[Point]) -> Any:
    """Saves a second by 1 to 32 threads, and by as many processes."""
    curves = [curve for curve in (THREADS, PROCESSES) if any(row.curve == curve for row in rows)]
    figure, axes = pyplot.subplots(
        len(curves), 1, figsize=(_WIDTH, 3.2 * len(curves)), sharex=True, squeeze=False
    )
    for axis, curve in zip(axes.flat, curves, strict=True):
        own = [row for row in rows if row.curve == curve]
        _curves(axis, own, lambda row: f"{row.contender}, {row.place}")
        axis.set_title(f"Saves a second by all {curve} (median, range)")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel(curve)
        axis.xaxis.set_major_formatter(_number)
        _labelled(axis.yaxis, _number)
    axes.flat[0].legend()
    figure.tight_layout()
    return figure


def _curves(
    axis: Any, rows: Sequence[Point], name: Callable[[Point], str] = lambda row: row.contender
) -> None:
    for number, label in enumerate(dict.fromkeys(map(name, rows))):
        own = sorted((row for row in rows if name(row) == label), key=lambda row: row.at)
        at, colour = [row.at for row in own], _CYCLE[number % len(_CYCLE)]
        marker = "osD^vP"[number % 6]
        axis.plot(
            at,
            [row.median for row in own],
            label=label,
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=1.4,
        )
        low, high = [row.low for row in own], [row.high for row in own]
        axis.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)


def _finished(figure: Any, axis: Any, title: str, scale: Callable[[float, int], str]) -> Any:
    axis.set_yscale("log")
    axis.set_title(title)
    _labelled(axis.yaxis, scale)
    figure.legend(loc="lower center", ncols=2)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    return figure


def _time(seconds: float, _: int) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds / 1e-6:g} us"


def _number(value: float, _: int) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
