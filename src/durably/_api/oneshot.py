"""Saving what is in memory already: one call, one file."""

from __future__ import annotations

from durably import _commit
from durably._api.dispatch import resolve_target
from durably._commit.pending import PendingFile
from durably._file.content import bytes_of, encoded, fill
from durably._file.protocol import abandon, finish, stage
from durably._types import Options, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

    from typing_extensions import Buffer

    from durably._file.paths import StrPath
    from durably._receipts import Receipt
    from durably._types import SaveOptions

_DEFAULTS = Options()


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
    target = resolve_target(path, options)
    checked = resolve(options) if options else _DEFAULTS
    if not isinstance(target, str):
        from durably._stores import api

        return api.write_bytes(target, view, checked)
    save = PendingFile(target, checked)
    routine = _commit.routine()
    try:
        routine.locate(save)
        stage(routine, save)
        fill(routine, save, view, size)
        return finish(routine, save, size)
    except BaseException as error:
        abandon(routine, save, error)
        raise
