"""What a transaction has moved before its commit, and the log that tells of it.

    <checksum> ["durably-moves", <version>, <number of the root>, <moves that it has from the start>]
    <checksum> [[where it was], [where it is], <number>, <size>, <time>]
    <checksum> "over"

A line for each move, on the disk before the move is made; the checksum is the CRC-32 of what follows it.
All names are relative to the root, in which the log lies. A log that is "over", which a commit says
last, means nothing any more. An "aside" is what was moved to a temporary's name, to be removed then.
"""

from __future__ import annotations

import stat
import zlib

from durably._system import temp_names
from durably._transaction.operations import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from typing import Any

    from durably._transaction.root import Parts, Root

_MAGIC = "durably-moves"
_VERSION = 1
OVER = "over"
_ANY_TIME = 1 << 63
"""Later than every file's: the number alone tells."""


class Move:
    """One move: where something was, where it is now, and by what it is known again."""

    __slots__ = ("known", "new", "old")

    def __init__(self, old: Parts, new: Parts, known: Identity) -> None:
        self.old = old
        self.new = new
        self.known = known

    @property
    def is_aside(self) -> bool:
        """Whether it was taken away, and not given another name."""
        return temp_names.parse(self.new[-1]) is not None


def known_by(there: os.stat_result, new: str) -> Identity:
    """By what something is known again under another name.

    A directory, and what has a name that nobody else has, by its number alone: others may write to it.
    """
    if stat.S_ISDIR(there.st_mode) or temp_names.parse(new) is not None:
        return Identity(there.st_ino, 0, _ANY_TIME)
    return Identity(there.st_ino, there.st_size, there.st_mtime_ns)


# To text and back.


def begin(root: Root, moves: list[Move]) -> bytes:
    """The first line, and those of the moves that were made before; all of it counts, or nothing."""
    number = root.routine.lookup(root.directory, ".").st_ino
    return line([_MAGIC, _VERSION, number, len(moves)]) + b"".join(map(record, moves))


def record(move: Move) -> bytes:
    """The line of one move."""
    known = move.known
    return line([move.old, move.new, known.number, known.size, known.changed])


def line(value: object) -> bytes:
    """A line of the log."""
    import json  # costs as much as the rest of the package, and only a transaction needs it

    body = json.dumps(value, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode(data: bytes) -> tuple[int, list[Move]] | None:
    """The number of the root, and the moves. None: there is nothing to put back. Raises ValueError."""
    values = _values(data)
    if not values or values[-1] == OVER:
        return None
    magic, version, number, least = values[0]
    if magic != _MAGIC or version != _VERSION:
        raise ValueError(f"it begins with {values[0]!r}")
    if len(values) <= least:
        return None  # it was to take another's place, which still stands
    return number, [
        Move(_checked(old), _checked(new), Identity(*map(int, known))) for old, new, *known in values[1:]
    ]


def _values(data: bytes) -> list[Any]:
    import json

    values: list[Any] = []
    *lines, rest = data.split(b"\n")
    for count, each in enumerate(lines, 1):
        if each[:9] != b"%08x " % zlib.crc32(each[9:]):
            if rest or count < len(lines):
                raise ValueError(f"the checksum of its line {count} does not fit")
            break  # the last, half written: its move was never made
        values.append(json.loads(each[9:]))
    return values


def _checked(parts: list[str]) -> Parts:
    bad = {"", ".", ".."}
    if not parts or any(each in bad or not {"/", "\0"}.isdisjoint(each) for each in parts):
        raise ValueError(f"{parts!r} is no path below the root")
    return tuple(parts)


# What they come to.


def touched(moves: Iterable[Move]) -> dict[Parts, None]:
    """The directories whose names were changed."""
    return dict.fromkeys(parts[:-1] for each in moves for parts in (each.old, each.new))


def asides(moves: list[Move]) -> list[tuple[Parts, str]]:
    """Where what was taken away lies now, each a directory and a name."""
    lying: list[tuple[Parts, str]] = []
    for number, each in enumerate(moves):
        if each.is_aside:
            parts = each.new
            for later in moves[number + 1 :]:
                if parts[: len(later.old)] == later.old:
                    parts = (*later.new, *parts[len(later.old) :])
            if temp_names.parse(parts[-1]) is not None:  # it was not put back
                lying.append((parts[:-1], parts[-1]))
    return lying


def flush(root: Root, moves: Iterable[Move]) -> None:
    """Bring the names in the directories that were touched to the device."""
    for where in touched(moves):
        try:
            root.fsync_directories([where])
        except (FileNotFoundError, NotADirectoryError):
            pass  # it was moved itself, or is gone
