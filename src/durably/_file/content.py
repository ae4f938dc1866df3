"""What a caller gives to be saved: as bytes, and into the temporary."""

from __future__ import annotations

import codecs
import os

from durably._system.syscalls import write_all
from durably._types import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingFile
    from durably._commit.strategy import Routine

_EARLY = 8 << 20
_NEWLINES = {None: os.linesep, "": "\n", "\n": "\n", "\r": "\r", "\r\n": "\r\n"}


def fill(routine: Routine, save: PendingFile, view: bytes | memoryview, size: int) -> None:
    """Write all of a temporary's content; what is long is written out while the rest is written."""
    written = routine.calls.write(save.fd, view if size <= _EARLY else memoryview(view)[:_EARLY])
    if written != size:
        _write_rest(routine, save, memoryview(view)[written:])
    save.steps.append("write")


def _write_rest(routine: Routine, save: PendingFile, rest: memoryview) -> None:
    while rest:
        if save.options.durability is not NONE:
            routine.start_flush(save.fd)
        write_all(routine.calls, save.fd, rest[:_EARLY])
        rest = rest[_EARLY:]


def encoded(text: str, encoding: str, errors: str | None, newline: str | None) -> bytes:
    """The bytes that a text is saved as. Raises what `write_text` raises before the disk is touched."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] # callers may be untyped
        raise TypeError(f"text must be a str, not {type(text).__name__}")
    if newline not in _NEWLINES:
        raise ValueError(f"newline must be None, '', '\\n', '\\r' or '\\r\\n', not {newline!r}")
    if _NEWLINES[newline] != "\n":
        text = text.replace("\n", _NEWLINES[newline])
    errors = "strict" if errors is None else errors
    codecs.lookup_error(errors)  # which str.encode asks for only where it needs it
    return text.encode(encoding, errors)


def bytes_of(data: object) -> bytes | memoryview:
    """Any C-contiguous buffer as bytes. Raises TypeError or BufferError for others."""
    if isinstance(data, str):
        raise TypeError("data must be bytes-like, not str; write_text saves text")
    try:
        view = memoryview(data)  # type: ignore[arg-type] # that is the check
    except TypeError:
        raise TypeError(f"data must be bytes-like, not {type(data).__name__}") from None
    if not view.c_contiguous:
        raise BufferError("data must be C-contiguous; numpy.ascontiguousarray or bytes() makes it so")
    # A memoryview with a zero in its shape cannot be cast.
    return view.cast("B") if view.nbytes else b""
