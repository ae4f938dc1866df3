"""What was found, as a table in the terminal: in colour where rich is installed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from findings import Finding, Found

_HEADINGS = ("figure", "contender", "beside", "median", "range", "fastest", "time", "stated", "verdict")
_POINT = ("curve", "at", "place", "contender", "median", "range")


def show(found: Found) -> None:
    """Print all of it."""
    for count in found.counts:
        print(f"{count.contender}, {count.level}: {len(count.calls)} calls: {' '.join(count.calls)}")
    points: list[tuple[str, ...]] = [
        (
            point.curve,
            f"{point.at:,}",
            point.place,
            point.contender,
            measured(point.median, point.unit),
            f"{measured(point.low, point.unit)}-{measured(point.high, point.unit)}",
        )
        for point in found.points
    ]
    for headings, rows in ((_POINT, points), (_HEADINGS, [_row(one) for one in found.findings])):
        if rows and not (sys.stdout.isatty() and _in_colour(headings, rows)):
            _plainly(headings, rows)
    for reason in found.left_out:
        print(f"LEFT OUT: {reason}")
    stated = [one.verdict for one in found.findings if one.target]
    print(f"stated figures: {stated.count('met')} met, {stated.count('not met')} not met")


def _row(finding: Finding) -> tuple[str, ...]:
    return (
        finding.figure,
        finding.contender,
        finding.base,
        f"{finding.median:.2f} {finding.unit}",
        f"{finding.low:.2f}-{finding.high:.2f}",
        f"{finding.fastest:.2f} {finding.unit}",
        measured(finding.seconds, "s") if finding.seconds else "",
        finding.stated,
        finding.verdict,
    )


def _in_colour(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> bool:
    """Print with rich. False: it is not installed."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        return False
    shown = Table(*headings)
    for *cells, last in rows:
        colour = {"met": "green", "not met": "red"}.get(last, "default")
        shown.add_row(*cells, f"[{colour}]{last}[/]")
    Console().print(shown)
    return True


def _plainly(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, tuple("-" * width for width in widths), *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def measured(value: float, unit: str) -> str:
    """A time with a unit that suits it; anything else as a number of its units."""
    what, _, rest = unit.partition(" ")
    if what != "s":
        return f"{value:,.0f} {unit}"
    for name, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.2f} {name} {rest}".rstrip()
    return f"{value / 1e-6:.1f} us {rest}".rstrip()
