"""Measure durably beside what it stands in for, and print the ratios.

    python tests/benchmarks/run.py [--quick] [--json FILE] [--disk DIRECTORY] [FIGURE ...]

Figures: calls, memory, ext4, short, large, fsspec, fsspec-ext4, fsspec-many, import; without a name, all
of them. Nothing here is asserted: a ratio is a finding, and a slow machine is not a defect.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import counts
import filesystems
import imports
import saves
import streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from counts import Count
    from rounds import Ratio

_HEADINGS = ("figure", "contender", "base", "ratio", "range", "fastest", "time", "target", "verdict")


def main() -> None:
    """Run the figures that were asked for."""
    arguments = _arguments()
    figures = _figures(quick=arguments.quick, disk=arguments.disk)
    traced = counts.counts() if not arguments.figure or "calls" in arguments.figure else []
    for count in traced:
        print(f"{count.contender}, {count.level}: {len(count.calls)} calls: {' '.join(count.calls)}")
    ratios: list[Ratio] = []
    for name, figure in figures.items():
        if not arguments.figure or name in arguments.figure:
            ratios += figure()
    if ratios:
        _print(ratios)
    if arguments.json:
        arguments.json.write_text(json.dumps(_data(traced, ratios), indent=2) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    names = ["calls", *_figures(quick=True, disk=Path())]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figure", nargs="*", help=f"one of {', '.join(names)}; default: all")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that the figures run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios to a data file as well")
    parser.add_argument("--disk", type=Path, default=Path.cwd(), metavar="DIRECTORY", help="a real disk")
    arguments = parser.parse_args()
    if unknown := set(arguments.figure) - set(names):
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    return arguments


def _figures(*, quick: bool, disk: Path) -> dict[str, Callable[[], list[Ratio]]]:
    if quick:
        return {
            "memory": lambda: saves.on_memory(rounds=5, count=50),
            "ext4": lambda: saves.on_ext4(disk, rounds=3, count=5),
            "short": lambda: streams.short_writes(rounds=3, count=20_000),
            "large": lambda: streams.large(disk, rounds=1, mebibytes=16),
            "fsspec": lambda: filesystems.on_memory(rounds=5, count=20),
            "fsspec-ext4": lambda: filesystems.on_ext4(disk, rounds=3, count=5),
            "fsspec-many": lambda: filesystems.transactions(disk, rounds=1, files=30),
            "import": lambda: imports.import_time(rounds=3),
        }
    return {
        "memory": lambda: saves.on_memory(rounds=301, count=50),
        "ext4": lambda: saves.on_ext4(disk, rounds=31, count=30),
        "short": lambda: streams.short_writes(rounds=25, count=100_000),
        "large": lambda: streams.large(disk, rounds=5, mebibytes=512),
        "fsspec": lambda: filesystems.on_memory(rounds=301, count=50),
        "fsspec-ext4": lambda: filesystems.on_ext4(disk, rounds=31, count=30),
        "fsspec-many": lambda: filesystems.transactions(disk, rounds=7),
        "import": lambda: imports.import_time(rounds=41),
    }


def _print(ratios: list[Ratio]) -> None:
    rows: list[tuple[str, ...]] = [
        (
            ratio.figure,
            ratio.contender,
            ratio.base,
            f"{ratio.median:.2f} x",
            f"{ratio.low:.2f}-{ratio.high:.2f}",
            f"{ratio.fastest:.2f} x",
            _time(ratio.seconds),
            str(ratio.target or ""),
            ratio.verdict,
        )
        for ratio in ratios
    ]
    if not (sys.stdout.isatty() and _print_in_colour(rows)):
        _print_plainly(rows)


def _print_in_colour(rows: list[tuple[str, ...]]) -> bool:
    """Print with rich. False: it is not installed."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        return False
    table = Table(*_HEADINGS)
    for *cells, verdict in rows:
        colour = {"met": "green", "not met": "red"}.get(verdict, "default")
        table.add_row(*cells, f"[{colour}]{verdict}[/]")
    Console().print(table)
    return True


def _print_plainly(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    for row in (_HEADINGS, tuple("-" * width for width in widths), *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-6:.1f} us"


def _data(traced: list[Count], ratios: list[Ratio]) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "calls": [vars(count) for count in traced],
        "ratios": [ratio.as_data() for ratio in ratios],
    }


if __name__ == "__main__":
    main()
