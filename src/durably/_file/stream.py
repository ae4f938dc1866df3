"""The file object that a writer yields: exactly what the builtin ``open`` gives, over a descriptor."""

from __future__ import annotations

import errno
import io
import os

from durably._system.syscalls import write_all
from durably._types import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any, Generic, TypeVar

    from typing_extensions import Buffer

    from durably._commit.pending import PendingFile
    from durably._commit.strategy import Routine
    from durably._file.modes import Mode

    F_co = TypeVar("F_co", bound=IO[Any], covariant=True)

    class Life(Generic[F_co]):
        """What decides about one kind of file object."""
else:
    # typing is not imported at run time: it would take as long as everything else together.
    class Life:
        __slots__ = ()

        def __class_getitem__(cls, item: object) -> type:
            return cls


_EARLY = 8 << 20
_BUFFER = 64 << 10


class Channel:
    """The raw file's way to the table of calls. Write-out starts while the caller goes on.

    It is put into the raw file as instance attributes, which its buffer calls: a subclass of an io
    class would lose the C fast paths and make short writes twice as slow. It must not refer to the
    writer, or each would be a cycle that only the garbage collector ends; `detach` ends its own.
    """

    __slots__ = ("_eager", "_failure", "_fd", "_path", "_pending", "_raw", "_routine")

    def __init__(self, routine: Routine, save: PendingFile, raw: io.FileIO) -> None:
        self._routine = routine
        self._fd = save.fd
        self._path = save.path
        self._eager = save.options.durability is not NONE
        self._raw = raw
        self._pending = 0
        self._failure: tuple[int | None, str | None] | None = None
        raw.write = self.write  # type: ignore[method-assign]
        raw.truncate = self.truncate  # type: ignore[method-assign]

    def detach(self) -> None:
        """Close the raw file, which drops what is buffered above it, and let go of it."""
        self._raw.close()
        vars(self._raw).pop("write", None)
        vars(self._raw).pop("truncate", None)

    def check(self) -> None:
        """Raise OSError if a write failed: a caller that went on all the same has lost that part."""
        if self._failure is not None:
            number, text = self._failure
            raise OSError(number, f"an earlier write failed ({text}), and its error was dropped")

    def write(self, data: Buffer) -> int:
        self._check_open()
        try:
            count: int = self._routine.calls.write(self._fd, data)
            if count != memoryview(data).nbytes:
                # The callers of an unbuffered file seldom look: half a file would be committed.
                write_all(self._routine.calls, self._fd, memoryview(data).cast("B")[count:])
                count = memoryview(data).nbytes
            self._pending += count
            if self._pending >= _EARLY and self._eager:
                self._pending = 0
                self._routine.start_flush(self._fd)
        except OSError as error:
            self._fail(error)
            raise
        return count

    def truncate(self, size: int | None = None) -> int:
        self._check_open()
        calls = self._routine.calls
        try:
            if size is None:
                size = calls.lseek(self._fd, 0, os.SEEK_CUR)
            calls.ftruncate(self._fd, size)
        except OSError as error:
            if error.errno != errno.EINVAL:  # no size at all: a mistake of the caller, and nothing is lost
                self._fail(error)
            raise
        return size

    def _check_open(self) -> None:
        # The descriptor outlives the file object.
        if self._raw.closed:
            raise ValueError("I/O operation on closed file")

    def _fail(self, error: OSError) -> None:
        error.filename = self._path
        self._failure = error.errno, error.strerror


def opened(routine: Routine, save: PendingFile, mode: Mode) -> tuple[Channel, Any]:
    """The file for the caller, and the channel under it. Closing the file leaves the descriptor open."""
    raw = io.FileIO(save.fd, mode.raw, closefd=False)
    raw.name = save.path  # the stubs call it read-only
    channel = Channel(routine, save, raw)
    if mode.buffering == 0:
        return channel, raw
    size = mode.buffering if mode.buffering > 1 else _BUFFER
    buffer = io.BufferedRandom(raw, size) if mode.reads else io.BufferedWriter(raw, size)
    if not mode.text:
        return channel, buffer
    text = io.TextIOWrapper(
        buffer, mode.encoding, mode.errors, mode.newline, line_buffering=mode.buffering == 1
    )
    text.mode = mode.mode  # type: ignore[misc] # as the builtin open does
    return channel, text
