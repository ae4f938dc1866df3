"""Streams: many short writes, and one file too large for the disk's own buffers."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING

import durably
from findings import Found, Target
from others import fsync_names
from places import disk, memory
from rounds import Rounds, timed

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

LATE = "all writes, then fsync"
OURS = "durably.open"
BUILTIN = "builtin open"
_LINE = "the quick brown fox\n"
_CHUNK = os.urandom(1 << 20)


def short_writes(rounds: int, count: int) -> Found:
    """Write many short lines through ``durably.open(..., "w")`` and through the builtin."""
    with memory() as (directory, place):
        path = str(directory / "lines.txt")

        def ours() -> None:
            with durably.open(path, "w", durability="none") as file:
                _write_lines(file, count)

        def builtin() -> None:
            with open(path, "w", encoding="utf-8") as file:
                _write_lines(file, count)

        contenders = {OURS: timed(ours), BUILTIN: timed(builtin)}
        measured = Rounds(f"{count:,} short writes, {place}, none", contenders, rounds)
    return Found([measured.ratio(OURS, BUILTIN, Target(1.05))])


def _write_lines(file: TextIO, count: int) -> None:
    for _ in range(count):  # noqa: FURB122 # short writes are what is measured
        file.write(_LINE)


def large(parent: Path, rounds: int, mebibytes: int) -> Found:
    """Write a large file in 1 MiB writes and flush it: early write-out against one late fsync."""
    found = Found()
    with disk(parent) as (directory, place):
        path = str(directory / "large.bin")
        for kind, prepare in (("new", _without_old), ("replaced", quiesce)):
            before = partial(prepare, path)
            contenders = {
                LATE: timed(partial(late, path, mebibytes << 20), before),
                OURS: timed(partial(early, path, mebibytes << 20), before),
            }
            measured = Rounds(f"{mebibytes} MiB {kind}, {place}, durable", contenders, rounds, seconds=60)
            found.findings.append(measured.ratio(LATE, OURS, Target(1.3, at_least=True)))
    return found


def _without_old(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
    quiesce(path)


def quiesce(_: str) -> None:
    """Have earlier writes out of the way, so that no contender pays for another's."""
    if sys.platform != "win32":
        os.sync()


def early(path: str, size: int, durability: durably.Durability = durably.Durability.DURABLE) -> None:
    """With durably, in writes of 1 MiB."""
    with durably.open(path, "wb", durability=durability) as file:
        file.writelines(_chunks(size))


def late(path: str, size: int) -> None:
    """The classic recipe, in writes of 1 MiB."""
    directory = os.path.dirname(path)
    fd, temporary = tempfile.mkstemp(dir=directory)
    with open(fd, "wb") as file:
        file.writelines(_chunks(size))
        file.flush()
        os.fsync(fd)
    os.replace(temporary, path)
    fsync_names(directory)


def builtin(path: str, size: int) -> None:
    """Neither atomic nor flushed."""
    with open(path, "wb") as file:
        file.writelines(_chunks(size))


def _chunks(size: int) -> list[bytes]:
    whole, rest = divmod(size, len(_CHUNK))
    return [_CHUNK] * whole + [_CHUNK[:rest]] * bool(rest)
