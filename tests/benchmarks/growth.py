"""How the cost grows: with the size of a file, the number of files, and the entries of the directory."""

from __future__ import annotations

import os
import shutil
import stat
import statistics
from functools import partial
from typing import TYPE_CHECKING

import durably
from calls import running
from findings import Finding, Found, Point, Target
from grown import LONGEST, run
from many import BATCH, CONTENT, ONE_BY_ONE, RECIPE, TRANSACTION, TREE
from others import PLAIN
from others import RECIPE as ONE_RECIPE
from places import KINDS, CannotError, disk, drain, fresh, memory
from rounds import Rounds, repeated, timed
from saves import SAME, WRITE_BYTES
from streams import builtin, early, late, quiesce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SIZES, FILES, ENTRIES = "sizes", "files", "entries"
_MIB = 1 << 20
_AT_MOST = {TRANSACTION: 10_000, TREE: 100_000, BATCH: 100_000, ONE_BY_ONE: 10_000, RECIPE: 10_000}
_SLOWEST = 12.0  # seconds: a number of files that would take longer one by one is not tried


def sizes(parent: Path, rounds: int, wanted: Iterable[int], *, slowest: float = 60.0) -> Found:
    """A file of so many bytes, replaced on the disk at hand."""
    found = Found()
    savers: dict[str, Callable[[str, int], None]] = {
        "durably.open, durable": early,
        "durably.open, none": partial(early, durability=durably.Durability.NONE),
        ONE_RECIPE: late,
        PLAIN: builtin,
    }
    with disk(parent) as (directory, place):
        before = 0.0
        for size in wanted:
            if before * 4 > slowest:  # each size is four times the one before or more
                found.left_out.append(f"a file of {size / _MIB:,.0f} MiB: it would take too long here")
                continue
            if shutil.disk_usage(directory).free < 8 * size:
                found.left_out.append(f"a file of {size / _MIB:,.0f} MiB: the disk has too little room")
                continue
            path = str(directory / "file")
            contenders = {
                name: timed(partial(save, path, size), partial(quiesce, path))
                for name, save in savers.items()
            }
            figure, small = f"{size:,} bytes, {place}", size < 64 * _MIB
            measured = Rounds(figure, contenders, rounds, seconds=8, warm=small)
            found.points += measured.points(SIZES, place, size)
            before = max(map(max, measured.times.values()))
            os.unlink(path)
    return found


def files(parent: Path, rounds: int, wanted: Iterable[int], kinds: tuple[str, ...] = KINDS) -> Found:
    """So many new files of 4 KiB: the time of each, and the peak of the process's memory."""
    found = Found()
    wanted = list(wanted)
    for kind in kinds:
        entry_points = list(_AT_MOST) if kind == "ext4" else [BATCH]
        try:
            with fresh(kind, parent) as place:
                runs = {
                    entry_point: _grown(place, entry_point, rounds, wanted, found.left_out)
                    for entry_point in entry_points
                }
        except CannotError as error:
            found.left_out.append(str(error))
            continue
        for entry_point, measured in runs.items():
            found.points += [_each(kind, entry_point, count, times) for count, (times, _) in measured.items()]
        found.findings += _flat(kind, runs[BATCH])
    return found


def _grown(
    place: Path, entry_point: str, rounds: int, wanted: list[int], left_out: list[str]
) -> dict[int, tuple[list[float], list[float]]]:
    """Seconds for each file, and peaks, by the number of files; what took too long goes to ``left_out``."""
    found: dict[int, tuple[list[float], list[float]]] = {}
    each = 0.0
    for count in wanted:
        if count > _AT_MOST[entry_point] or (entry_point in (ONE_BY_ONE, RECIPE) and each * count > _SLOWEST):
            break
        times, peaks = [], []
        for _ in range(rounds if count < 100_000 else min(rounds, 2)):
            directory = place / "files"
            if entry_point != TREE:
                directory.mkdir(mode=0o755)
            drain(place)
            measured = run(entry_point, directory, count)
            shutil.rmtree(directory, ignore_errors=measured is None)
            if measured is None:
                left_out.append(
                    f"{count:,} files by {entry_point}, {place.name}: more than {LONGEST:g} s here"
                )
                return found
            times.append(measured[0] / count)
            peaks.append(measured[1])
        each = min(times)
        found[count] = (times, peaks)
    return found


def _each(kind: str, entry_point: str, count: int, times: list[float]) -> Point:
    median, low, high = statistics.median(times), min(times), max(times)
    return Point(FILES, f"fresh {kind}", entry_point, count, median, low, high, len(times), "s a file")


def _flat(kind: str, runs: dict[int, tuple[list[float], list[float]]]) -> list[Finding]:
    """Whether the last file costs what the first did, and whether the memory stays bounded."""
    least, most = min(count for count in runs if count >= min(100, max(runs))), max(runs)
    ratios = [mine / statistics.median(runs[least][0]) for mine in runs[most][0]]
    peaks = [peak for _, found in runs.values() for peak in found]
    figure = f"{least:,} to {most:,} files of 4 KiB, new, fresh {kind}, durable"
    seconds, rounds = statistics.median(runs[most][0]), len(ratios)
    fastest = min(runs[most][0]) / min(runs[least][0])
    growth = (statistics.median(ratios), min(ratios), max(ratios), fastest, seconds, rounds)
    memory = (max(peaks), min(peaks), max(peaks), min(peaks), seconds, len(peaks))
    cost = f"a file of {most:,} by {BATCH}"
    return [
        Finding(figure, cost, f"one of {least:,}", *growth, Target(1.2)),
        Finding(figure, f"peak memory of {BATCH}", "", *memory, Target(64), "MiB"),
    ]


def entries(parent: Path, rounds: int, count: int, wanted: Iterable[int]) -> Found:
    """A save over one file of a directory that has so many others."""
    try:
        with fresh("ext4", parent, many=True) as place, memory() as (built, _), running(built) as program:
            found = Found()
            path, made = place / "target", 0
            path.write_bytes(CONTENT)
            for number in wanted:
                _fill(place, made, number)
                made = number
                drain(place)
                none = partial(durably.write_bytes, path, CONTENT, durability="none")
                durable = partial(durably.write_bytes, path, CONTENT)
                contenders = {
                    f"{WRITE_BYTES}, none": repeated(none, count * 10),
                    f"{WRITE_BYTES}, durable": repeated(durable, count),
                }
                if program is not None:
                    contenders[f"{SAME}, none"] = partial(program.save, "same", "none", place, count * 10)
                    contenders[f"{SAME}, durable"] = partial(program.save, "same", "durable", place, count)
                measured = Rounds(f"{number:,} entries, fresh ext4", contenders, rounds, seconds=10)
                found.points += measured.points(ENTRIES, "fresh ext4", number)
            return found
    except CannotError as error:
        return Found(left_out=[str(error)])


def _fill(place: Path, first: int, last: int) -> None:
    fd = os.open(place, os.O_RDONLY)
    try:
        for number in range(first, last):
            os.mknod(f"entry-{number:08}", stat.S_IFREG | 0o644, dir_fd=fd)
    finally:
        os.close(fd)
