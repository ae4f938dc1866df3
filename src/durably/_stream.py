"""The file object that a writer yields: exactly what the builtin ``open`` gives, over a descriptor."""

from __future__ import annotations

import io
import os

from durably._options import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Buffer
    from typing import Any

    from durably._commit._routine import Routine
    from durably._modes import Mode
    from durably._save import Save

_EARLY = 8 << 20
_BUFFER = 64 << 10


class _Channel:
    """The raw file's way to the table of calls. Write-out starts while the caller goes on.

    It is put into the raw file as instance attributes, which its buffer calls: a subclass of an io
    class would lose the C fast paths and make short writes twice as slow. It must not refer to the
    writer, or each would be a cycle that only the garbage collector ends.
    """

    __slots__ = ("_eager", "_fd", "_pending", "_routine")

    def __init__(self, routine: Routine, fd: int, eager: bool) -> None:
        self._routine = routine
        self._fd = fd
        self._eager = eager
        self._pending = 0

    def write(self, data: Buffer) -> int:
        count: int = self._routine.calls.write(self._fd, data)
        self._pending += count
        if self._pending >= _EARLY and self._eager:
            self._pending = 0
            self._routine.start_flush(self._fd)
        return count

    def truncate(self, size: int | None = None) -> int:
        calls = self._routine.calls
        if size is None:
            size = calls.lseek(self._fd, 0, os.SEEK_CUR)
        calls.ftruncate(self._fd, size)
        return size


def opened(routine: Routine, save: Save, mode: Mode) -> tuple[io.FileIO, Any]:
    """The raw file and the file for the caller. Closing either leaves the descriptor open."""
    raw = io.FileIO(save.fd, _raw_mode(mode), closefd=False)
    raw.name = save.path  # type: ignore[misc] # read-only in the stubs, settable in truth
    channel = _Channel(routine, save.fd, save.options.durability is not NONE)
    if mode.buffering == 0:
        return raw, raw
    raw.write = channel.write  # type: ignore[method-assign]
    raw.truncate = channel.truncate  # type: ignore[method-assign]
    size = mode.buffering if mode.buffering > 1 else _BUFFER
    buffer = io.BufferedRandom(raw, size) if mode.reads else io.BufferedWriter(raw, size)
    if not mode.text:
        return raw, buffer
    text = io.TextIOWrapper(
        buffer, mode.encoding, mode.errors, mode.newline, line_buffering=mode.buffering == 1
    )
    text.mode = mode.mode  # type: ignore[misc] # as the builtin open does
    return raw, text


def _raw_mode(mode: Mode) -> str:
    if mode.action == "a":
        return "ab+" if mode.reads else "ab"
    return "rb+" if mode.reads else "wb"
