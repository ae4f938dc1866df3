"""The handle that the file system gives for writing: an AtomicWriter behind a file that is closed."""

from __future__ import annotations

import io
import logging
import os
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from durably._fsspec import exception_detection
from durably._system import fork

if TYPE_CHECKING:
    from types import TracebackType

    from durably._file.writer import AtomicWriter
    from durably._fsspec.transaction import StagedWriter
    from durably._receipts import Receipt

    Writer = AtomicWriter[Any] | StagedWriter

_PICKLED = ("path", "name", "mode", "fs", "autocommit", "blocksize", "receipt")

_log = logging.getLogger("durably.filesystem")


class DurableFile(io.BufferedIOBase):
    """A binary file that replaces its target when it is closed, and not when something failed.

    What is written goes to a temporary beside the target. `close` commits it; leaving a ``with``
    block by an exception discards it, also where a layer in between drops the exception (see
    `durably.filesystem`). With ``autocommit=False`` closing ends the writing, and `commit` or
    `discard` decides.

    ``path``, ``name``: the target. ``mode``: of opening. ``fs``: the file system. ``autocommit``.
    ``receipt``: the `durably.Receipt`, once it is committed.
    """

    name: str
    mode: str
    blocksize = io.DEFAULT_BUFFER_SIZE
    receipt: Receipt | None = None
    _closed = False
    _doomed = False
    _given_up = ""

    def __init__(
        self,
        writer: Writer,
        path: str,
        mode: str,
        fs: Any,
        *,
        autocommit: bool = True,
    ) -> None:
        self._generation = fork.generation
        self._writer: Writer | None = writer
        self._file = file = writer.file
        self._before = exception_detection.pending()
        self._in_finalizer = exception_detection.is_finalizing()
        # The buffer's own method: no call of ours for each piece that is written.
        vars(self)["write"] = file.write
        self.path = self.name = path
        self.mode = mode
        self.fs = fs
        self.autocommit = autocommit

    # The end.

    @property
    def closed(self) -> bool:
        """Whether the writing has ended."""
        return self._closed

    def close(self) -> None:
        """End the writing, and commit unless ``autocommit=False``. Idempotent.

        Discards instead, with a warning in the log of ``durably.filesystem``, if a with statement is
        being left by an exception that was not there when the file was opened, or if the call comes
        from a ``__del__`` and the opening did not. Raises what `durably.AtomicWriter.commit` raises.
        """
        if self._closed:
            return
        if self._doomed:
            self.discard()
        elif self._given_up:
            self._abandon(self._given_up)
        elif (error := exception_detection.failure(self._before)) is not None:
            self._discard_inferred(f"closed while {type(error).__name__} was leaving a with statement")
        elif not self._in_finalizer and exception_detection.is_finalizing():
            self._abandon("given up unfinished and closed by a __del__")
        else:
            self._end()

    def _end(self) -> None:
        self._closed = True
        self._before = None
        if self.autocommit:
            self.commit()
        else:
            self._file.close()

    def commit(self) -> Receipt | None:
        """Put the file in the target's place, closing it if it is open. Returns the receipt.

        In a transaction that is for its end to do: the file becomes a part of it, and there is none.

        Raises what `durably.AtomicWriter.commit` raises: ValueError after a discard, and otherwise
        errors that say what the target holds.
        """
        self._closed = True
        writer = self._writer
        if writer is None:
            raise ValueError(f"the save of {self.path!r} is over: this is a copy of its handle")
        try:
            return writer.commit()
        finally:
            self.receipt = writer.receipt

    def discard(self) -> None:
        """Throw away what was written; the target stays as it is.

        Idempotent, and nothing after a commit, so that it fits a ``finally``. Raises OSError if the
        temporary cannot be removed; it is named in ``error.leftovers``.
        """
        self._closed = True
        self._before = None
        if self._writer is not None:
            self._writer.discard()

    def doom(self) -> None:
        """Have whatever ends the writing discard: what the layers above still hold is thrown away."""
        self._doomed = True

    def _discard_inferred(self, reason: str) -> None:
        _log.warning("%s was not saved: its file was %s; the target was not changed", self.path, reason)
        self.discard()

    def _abandon(self, reason: str) -> None:
        self._discard_inferred(reason)
        message = f"unfinished save of {self.path!r} was discarded: {reason}; close it, or use a with block"
        warnings.warn(message, ResourceWarning, stacklevel=3)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._closed:
            return
        if error is None and not self._doomed:
            self._end()
            return
        if error is None:
            self.discard()
        else:
            self._closed = True
            self._throw_away(error)

    def _throw_away(self, error: BaseException) -> None:
        """Discard while ``error`` goes on: what cannot be removed is told in a note."""
        self._before = None
        try:
            if self._writer is not None:
                self._writer.discard()
        except OSError as failure:
            error.leftovers = getattr(failure, "leftovers", ())  # type: ignore[attr-defined] # documented
            error.add_note(f"durably: {failure.strerror}: {', '.join(error.leftovers)}")  # type: ignore[attr-defined]

    def _dealloc_warn(self, source: object) -> None:
        # TextIOWrapper and BufferedWriter call this when they are finalized, before they close us.
        self.give_up(source)

    def give_up(self, source: object) -> None:
        """Have `close` discard with a warning: the layer above was finalized unfinished."""
        # It still flushes before it closes us: nothing is closed here.
        if self._generation == fork.generation:
            self._given_up = f"given up unfinished under a {type(source).__name__}"

    def __del__(self) -> None:
        # The writer, which nobody else has, discards and warns.
        self._closed = True

    # The file.

    def write(self, data: Any, /) -> int:
        """Write bytes; returns their number."""
        return int(self._file.write(data))

    def readable(self) -> bool:
        """Whether it was opened with a "+"."""
        return bool(self._file.readable())

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def flush(self) -> None:
        """Hand what is buffered to the system. Nothing that the target's readers see.

        If that fails the save is discarded, and closing raises ValueError: fsspec's OpenFile flushes
        at its end, and never closes what it could not flush.
        """
        try:
            self._file.flush()
        except BaseException as error:
            self._throw_away(error)
            raise

    def tell(self) -> int:
        """The position."""
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Change the position."""
        return int(self._file.seek(offset, whence))

    def truncate(self, size: int | None = None, /) -> int:
        """Change the size, by default to the position."""
        return int(self._file.truncate(size))

    def fileno(self) -> int:
        """The descriptor of the temporary."""
        return int(self._file.fileno())

    @property
    def size(self) -> int:
        """The bytes so far, without what is still buffered."""
        return os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, in the modes with a "+"."""
        return bytes(self._file.read(size))

    def read1(self, size: int = -1, /) -> bytes:
        """Read what one call of the system gives."""
        return bytes(self._file.read1(size))

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer."""
        return int(self._file.readinto(buffer))

    def readinto1(self, buffer: Any, /) -> int:
        """Read into a buffer what one call of the system gives."""
        return int(self._file.readinto1(buffer))

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line."""
        return bytes(self._file.readline(-1 if size is None else size))

    # What it is.

    def __getstate__(self) -> dict[str, Any]:
        if not self._closed:
            raise ValueError(f"cannot pickle the handle of {self.path!r}: it is open for writing")
        return {name: getattr(self, name) for name in _PICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._closed, self._doomed, self._given_up, self._generation = True, False, "", -1
        self._writer = self._before = None
        self._file = io.BytesIO()
        self._file.close()
        vars(self)["write"] = self._file.write

    def __copy__(self) -> NoReturn:
        raise TypeError("the handle of a save cannot be copied")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<DurableFile {self.path!r} mode={self.mode!r} {state}>"
