"""Streams: many short writes, and one file too large for the disk's own buffers."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING

import durably
from places import disk, memory
from rounds import Ratio, Rounds, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TextIO

_LATE = "all writes, then fsync"
_EARLY = "durably.open"
_LINE = "the quick brown fox\n"
_CHUNK = os.urandom(1 << 20)


def short_writes(rounds: int, count: int) -> list[Ratio]:
    """Write many short lines through ``durably.open(..., "w")`` and through the builtin."""
    with memory() as (directory, place):
        path = str(directory / "lines.txt")

        def ours() -> None:
            with durably.open(path, "w", durability="none") as file:
                _write_lines(file, count)

        def builtin() -> None:
            with open(path, "w", encoding="utf-8") as file:
                _write_lines(file, count)

        contenders = {"durably.open": _timed(ours), "builtin open": _timed(builtin)}
        measured = Rounds(f"{count:,} short writes, {place}, none", contenders, rounds)
    return [measured.ratio("durably.open", "builtin open", Target(1.05))]


def _write_lines(file: TextIO, count: int) -> None:
    for _ in range(count):  # noqa: FURB122 # short writes are what is measured
        file.write(_LINE)


def large(parent: Path, rounds: int, mebibytes: int) -> list[Ratio]:
    """Write a large file in 1 MiB writes and flush it: early write-out against one late fsync."""
    with disk(parent) as (directory, place):
        path = str(directory / "large.bin")
        ratios: list[Ratio] = []
        for kind, prepare in (("new file", _without_old), ("replace", _with_old)):
            contenders = {
                _LATE: _timed(partial(_late, path, mebibytes), partial(prepare, path)),
                _EARLY: _timed(partial(_early, path, mebibytes), partial(prepare, path)),
            }
            measured = Rounds(f"{mebibytes} MiB {kind}, {place}, durable", contenders, rounds)
            ratios.append(measured.ratio(_LATE, _EARLY, Target(1.3, at_least=True)))
    return ratios


def _without_old(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
    _quiesce()


def _with_old(path: str) -> None:
    assert os.path.exists(path)
    _quiesce()


def _quiesce() -> None:
    """Have earlier writes out of the way, so that no contender pays for another's."""
    if sys.platform != "win32":
        os.sync()


def _early(path: str, mebibytes: int) -> None:
    with durably.open(path, "wb") as file:
        file.writelines(_CHUNK for _ in range(mebibytes))


def _late(path: str, mebibytes: int) -> None:
    directory = os.path.dirname(path)
    fd, temporary = tempfile.mkstemp(dir=directory)
    with open(fd, "wb") as file:
        file.writelines(_CHUNK for _ in range(mebibytes))
        file.flush()
        os.fsync(fd)
    os.replace(temporary, path)
    entry = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def _timed(work: Callable[[], None], before: Callable[[], None] | None = None) -> Callable[[], float]:
    def contender() -> float:
        if before is not None:
            before()
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return contender
