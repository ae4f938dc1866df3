"""The log of a disk: what it was told, in order.

A record is a letter, an offset, a length (little-endian, 17 bytes), and the data of the letters that
have some:

    W offset length data    a write
    Z offset length         a discard, or zeroes
    F 0 0                   a flush
    M 0 length data         a mark of the writer, in JSON
    H 0 length data         the first one: what was recorded, in JSON
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from typing import Any, NamedTuple

HEAD = struct.Struct("<cQQ")
WRITE, ZERO, FLUSH, MARK, HEADER = b"W", b"Z", b"F", b"M", b"H"
_WITH_DATA = (WRITE, MARK, HEADER)


class Entry(NamedTuple):
    """One record. ``at``: where its data lie in the log."""

    kind: bytes
    offset: int
    length: int
    at: int


class LogWriter:
    """Appends records to a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def append(self, kind: bytes, offset: int = 0, length: int = 0, data: bytes | memoryview = b"") -> None:
        """Write one record."""
        os.write(self._fd, HEAD.pack(kind, offset, len(data) or length) + data)

    def note(self, kind: bytes, content: dict[str, Any]) -> None:
        """Write a record that holds JSON."""
        self.append(kind, data=json.dumps(content).encode())


class Log:
    """A finished log, read through a map of its file.

    ``fd``: a descriptor of it; may be closed afterwards. Raises ValueError if it is not a whole log.
    """

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        self.view = memoryview(self._map)
        self.entries = list(_entries(self.view))
        if not self.entries or self.entries[0].kind != HEADER:
            raise ValueError("not a log of the power-cut rig")
        self.header: dict[str, Any] = self.content(self.entries[0])

    def release(self) -> None:
        """Give its memory back; only the header stays."""
        self.view.release()
        self._map.close()

    def data(self, entry: Entry) -> memoryview:
        """The data of a record."""
        return self.view[entry.at : entry.at + entry.length]

    def content(self, entry: Entry) -> Any:
        """The JSON of a mark or of the header."""
        return json.loads(bytes(self.data(entry)))

    def marks(self) -> list[tuple[int, dict[str, Any]]]:
        """Each mark, with its position."""
        return [(at, self.content(entry)) for at, entry in enumerate(self.entries) if entry.kind == MARK]


def _entries(view: memoryview) -> Any:
    at = 0
    while at < len(view):
        if at + HEAD.size > len(view):
            raise ValueError("the log breaks off within a record")
        kind, offset, length = HEAD.unpack_from(view, at)
        if kind not in (WRITE, ZERO, FLUSH, MARK, HEADER):
            raise ValueError(f"no record begins at byte {at} of the log")
        at += HEAD.size
        yield Entry(kind, offset, length, at)
        at += length if kind in _WITH_DATA else 0
    if at != len(view):
        raise ValueError("the log breaks off within a record")
