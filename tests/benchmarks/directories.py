"""A directory of 1,000 files of 4 KiB: durably.staged_directory beside Batch and the classic recipe.

    python tests/benchmarks/directories.py [--quick] [--rounds N] [--json FILE] [--disk DIRECTORY] [FIGURE]

Figures: ext4, xfs, btrfs; without a name, all of them. Each file system is a fresh image, mounted where
only this process sees it; that takes root.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import durably
from batches import fresh, recipe
from rounds import Ratio, Rounds, Target

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTENT = b"x" * 4096
_KINDS = ("ext4", "xfs", "btrfs")
_TREE = "durably.staged_directory"
_BATCH = "durably.Batch"
_RECIPE = "the classic recipe in a loop"
_WANTED = Target(1.2)


def main() -> None:
    """Measure what was asked for, and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figure", nargs="*", choices=[*_KINDS, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="one round of 100 files")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-recipe", dest="recipe", action="store_false", help="it takes most of the time")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--disk", type=Path, default=Path.cwd(), metavar="DIRECTORY")
    asked = parser.parse_args()
    rounds, count = (1, 100) if asked.quick else (asked.rounds, 1000)
    ratios: list[Ratio] = []
    for kind in asked.figure or _KINDS:
        with fresh(kind, asked.disk) as place:
            for state in ("new", "replaced"):
                found = _measured(
                    f"{count} files, {kind}, {state}", place, rounds, count, state, asked.recipe
                )
                _print(found)
                ratios += found
    if asked.json:
        asked.json.write_text(
            json.dumps([one.as_data() for one in ratios], indent=2) + "\n", encoding="utf-8"
        )


def _print(ratios: list[Ratio]) -> None:
    for one in ratios:
        took = f"{one.figure:28} {one.contender:26} {one.seconds * 1000:8.1f} ms"
        ratio = f"{one.median:6.2f} x {one.base} ({one.low:.2f}-{one.high:.2f})"
        print(f"{took}  {ratio}  {one.target or ''} {one.verdict}".rstrip(), flush=True)


def _measured(
    figure: str, place: Path, rounds: int, count: int, state: str, with_recipe: bool
) -> list[Ratio]:
    savers = {_TREE: _tree, _BATCH: _batch} | ({_RECIPE: recipe} if with_recipe else {})
    contenders = {
        name: _timed(save, place / str(number), count, state)
        for number, (name, save) in enumerate(savers.items())
    }
    measured = Rounds(figure, contenders, rounds)
    found = [measured.ratio(_TREE, _BATCH, _WANTED)]
    if with_recipe:
        found += [measured.ratio(_TREE, _RECIPE), measured.ratio(_BATCH, _RECIPE)]
    return found


def _timed(save: Callable[[str, int], None], directory: Path, count: int, state: str) -> Callable[[], float]:
    def once() -> float:
        if state == "new" and directory.exists():
            shutil.rmtree(directory)
        if save is not _tree:
            directory.mkdir(exist_ok=True)
        os.sync()
        start = time.perf_counter()
        save(str(directory), count)
        return time.perf_counter() - start

    return once


def _tree(directory: str, count: int) -> None:
    with durably.staged_directory(directory) as staged:
        place = os.fspath(staged)
        for number in range(count):
            with open(f"{place}/{number}", "wb", buffering=0) as file:
                file.write(_CONTENT)


def _batch(directory: str, count: int) -> None:
    with durably.Batch() as batch:
        for number in range(count):
            batch.write_bytes(f"{directory}/{number}", _CONTENT)


if __name__ == "__main__":
    main()
