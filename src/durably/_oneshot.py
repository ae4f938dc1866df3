"""Saving what is in memory already: one call, one file."""

from __future__ import annotations

import codecs
import os

from durably import _commit
from durably._errors import StoreNamedError
from durably._options import NONE, Options, resolve
from durably._paths import local
from durably._save import Save
from durably._saving import abandon, finish, stage
from durably._syscalls import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from typing_extensions import Buffer

    from durably._commit._routine import Routine
    from durably._options import Receipt, SaveOptions
    from durably._paths import StrPath

_DEFAULTS = Options()
_EARLY = 8 << 20
_NEWLINES = {None: os.linesep, "": "\n", "\n": "\n", "\r": "\r", "\r\n": "\r\n"}


def atomic_write(
    path: StrPath, data: str | Buffer, *, encoding: str = "utf-8", **options: Unpack[SaveOptions]
) -> Receipt:
    """Save text or bytes, so that the path holds the whole old or the whole new content.

    ``path``: str, bytes or PathLike.
    ``data``: text, which is encoded and gets no other newlines, or any C-contiguous buffer.
    ``encoding``: of text.
    ``options``: see `durably.open`.

    Returns a `Receipt`. Raises what `write_bytes` raises, and UnicodeEncodeError or LookupError for
    the encoding, before the disk is touched.
    """
    if isinstance(data, str):
        return write_bytes(path, data.encode(encoding), **options)
    return write_bytes(path, data, **options)


def write_text(
    path: StrPath,
    text: str,
    *,
    encoding: str = "utf-8",
    errors: str | None = None,
    newline: str | None = None,
    **options: Unpack[SaveOptions],
) -> Receipt:
    r"""Save text, as `pathlib.Path.write_text` does.

    ``encoding``, ``errors``: as in `str.encode`; ``errors=None`` is "strict".
    ``newline``: what each ``"\n"`` becomes; None: the system's own (`os.linesep`); ``""`` or ``"\n"``:
    itself.
    ``options``: see `durably.open`.

    Returns a `Receipt`. Raises what `write_bytes` raises, TypeError if ``text`` is not a str,
    ValueError for another ``newline``, UnicodeEncodeError, and LookupError for an unknown encoding or
    unknown ``errors``, before the disk is touched.
    """
    return write_bytes(path, encoded(text, encoding, errors, newline), **options)


def write_bytes(path: StrPath, data: Buffer, **options: Unpack[SaveOptions]) -> Receipt:
    """Save bytes, so that the path holds the whole old or the whole new content.

    ``path``: str, bytes or PathLike.
    ``data``: bytes, or any C-contiguous buffer (bytearray, memoryview, array, NumPy array).
    ``options``: see `durably.open`.

    Returns a `Receipt`. Raises TypeError for other data and BufferError for a buffer that is not
    contiguous, before the disk is touched; otherwise what `AtomicWriter.commit` raises: after any
    builtin error the target is unchanged and nothing is left beside it, or the leftover is named in
    ``error.leftovers``.
    """
    view: bytes | memoryview = data if isinstance(data, bytes) else bytes_of(data)
    size = len(view)
    try:
        save = Save(local(path), resolve(options) if options else _DEFAULTS)
    except StoreNamedError:
        save = None
    if save is None:  # here, or the error would be the context of every error of the store
        from durably._stores import _doors

        return _doors.write_bytes(path, view, options, write_bytes)
    routine = _commit.routine()
    try:
        routine.locate(save)
        stage(routine, save)
        fill(routine, save, view, size)
        return finish(routine, save, size)
    except BaseException as error:
        abandon(routine, save, error)
        raise


def fill(routine: Routine, save: Save, view: bytes | memoryview, size: int) -> None:
    """Write all of a temporary's content; what is long is written out while the rest is written."""
    written = routine.calls.write(save.fd, view if size <= _EARLY else memoryview(view)[:_EARLY])
    if written != size:
        _write_rest(routine, save, memoryview(view)[written:])
    save.steps.append("write")


def _write_rest(routine: Routine, save: Save, rest: memoryview) -> None:
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
