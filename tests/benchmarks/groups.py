"""Many files, all or none: durably.Transaction beside durably.Batch, which promises less.

    python tests/benchmarks/groups.py [--quick] [--rounds N] [--json FILE] [--disk DIRECTORY] [KIND ...]

Figures: ext4, xfs, btrfs; without a name, all of them. Each file system is a fresh image, mounted
where only this process sees it; that takes root.
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
from batches import fresh
from durably._native import linux
from rounds import Rounds, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from rounds import Ratio

_CONTENT = b"x" * 4096
_KINDS = ("ext4", "xfs", "btrfs")
# Files, and times the time of a batch.
_TARGETS = {1000: 1.6, 10: 2.2}
_BATCH, _TRANSACTION = "durably.Batch", "durably.Transaction"


def _batch(directory: Path, count: int) -> None:
    with durably.Batch() as batch:
        for number in range(count):
            batch.write_bytes(f"{directory}/{number}", _CONTENT)


def _transaction(directory: Path, count: int) -> None:
    with durably.Transaction(directory) as transaction:
        for number in range(count):
            transaction.write_bytes(str(number), _CONTENT)


def _drain(directory: Path) -> None:
    """Have written what others have left: it is not the next contender's to write."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        linux.syncfs(fd)
    finally:
        os.close(fd)


def _round(
    directory: Path, save: Callable[[Path, int], None], count: int, *, replaced: bool
) -> Callable[[], float]:
    def timed() -> float:
        if directory.exists() and not replaced:
            shutil.rmtree(directory)
        directory.mkdir(mode=0o755, exist_ok=True)
        _drain(directory)
        start = time.perf_counter()
        save(directory, count)
        return time.perf_counter() - start

    if replaced:
        directory.mkdir(mode=0o755, exist_ok=True)
        save(directory, count)
    return timed


def on_fresh(kind: str, parent: Path, rounds: int) -> list[Ratio]:
    """New files and replaced ones, each contender in a directory of its own."""
    found: list[Ratio] = []
    with fresh(kind, parent) as place:
        for count, bound in _TARGETS.items():
            for replaced in (False, True):
                what = f"{count} files of 4 KiB, {'replaced' if replaced else 'new'}, fresh {kind}, durable"
                contenders = {
                    name: _round(place / f"{name}-{count}-{replaced}", save, count, replaced=replaced)
                    for name, save in ((_BATCH, _batch), (_TRANSACTION, _transaction))
                }
                measured = Rounds(what, contenders, rounds)
                found.append(measured.ratio(_TRANSACTION, _BATCH, Target(bound)))
    return found


def main() -> None:
    """Run the figures that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("figure", nargs="*", choices=[*_KINDS, []], help="default: all")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that the figures run")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios to a data file as well")
    parser.add_argument("--disk", type=Path, default=Path.cwd(), metavar="DIRECTORY", help="for the images")
    arguments = parser.parse_args()
    ratios: list[Ratio] = []
    for kind in arguments.figure or _KINDS:
        for ratio in on_fresh(kind, arguments.disk, 3 if arguments.quick else arguments.rounds):
            ratios.append(ratio)
            print(
                f"{ratio.figure}: {ratio.contender} takes {ratio.median:.2f} x the time of {ratio.base} "
                f"({ratio.low:.2f}-{ratio.high:.2f}, fastest {ratio.fastest:.2f}; "
                f"{ratio.seconds * 1e3:.1f} ms); "
                f"{ratio.target}: {ratio.verdict}",
                flush=True,
            )
    if arguments.json:
        data = [ratio.as_data() for ratio in ratios]
        arguments.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
