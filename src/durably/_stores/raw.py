"""The raw file under a save to a store: what is written goes to the store as it comes."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, Any

from durably._stores.protocol import fail

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from durably._file.modes import Mode
    from durably._stores.protocol import StoreSave

_BUFFER = 256 << 10


class Sink(io.RawIOBase):
    """Takes bytes for a save, in order. Closing it ends the writing and decides nothing."""

    def __init__(self, save: StoreSave, mode: str) -> None:
        self._save: StoreSave | None = save
        self._failure: BaseException | None = None
        self.name = save.path
        self.mode = mode

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """How much was written."""
        return self._open_save().size

    def write(self, data: Buffer, /) -> int:
        """Write all of it."""
        save = self._open_save()
        if self._failure is not None:
            self.check()
        with memoryview(data).cast("B") as view:
            try:
                save.write(view)
            except BaseException as error:  # noqa: BLE001 # raised again
                self._failure = error
                fail(error, save.path)
            return len(view)

    def check(self) -> None:
        """Raise OSError if a write failed: a caller that went on all the same has lost that part."""
        if self._failure is not None:
            text = f"an earlier write failed ({self._failure!r}), and its error was dropped"
            raise OSError(errno.EIO, text, self.name)

    def detach(self) -> None:
        """Close it, which drops what is buffered above it, and let go of the save."""
        self._save = None
        self.close()

    def _open_save(self) -> StoreSave:
        if self._save is None or self.closed:
            raise ValueError("I/O operation on closed file")
        return self._save


def opened(save: StoreSave, mode: Mode) -> tuple[Sink, Any]:
    """The sink, and the file over it: as the builtin ``open`` would give it for a pipe."""
    sink = Sink(save, "xb" if mode.action == "x" else "wb")
    if mode.buffering == 0:
        return sink, sink
    buffer = io.BufferedWriter(sink, mode.buffering if mode.buffering > 1 else _BUFFER)
    if not mode.text:
        return sink, buffer
    text = io.TextIOWrapper(
        buffer, mode.encoding, mode.errors, mode.newline, line_buffering=mode.buffering == 1
    )
    text.mode = mode.mode  # type: ignore[misc] # as the builtin open does
    return sink, text
