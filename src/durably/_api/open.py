"""The public ``open``: what each mode gives, and what every option means."""

from __future__ import annotations

from durably._api.dispatch import is_local, resolve_target
from durably._file.modes import parsed, with_action
from durably._file.writer import AtomicWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    from typing import IO, Any, Literal, Unpack, overload

    from durably._file.modes import TextMode, UpdateMode, WriteMode
    from durably._file.paths import StrPath
    from durably._types import SaveOptions


if TYPE_CHECKING:

    @overload
    def open(  # noqa: A001 # as gzip.open
        path: StrPath,
        mode: TextMode = "w",
        *,
        encoding: str | None = "utf-8",
        errors: str | None = None,
        newline: str | None = None,
        buffering: int = -1,
        **options: Unpack[SaveOptions],
    ) -> AtomicWriter[io.TextIOWrapper]: ...
    @overload
    def open(  # noqa: A001
        path: StrPath,
        mode: WriteMode | UpdateMode,
        *,
        buffering: Literal[0],
        **options: Unpack[SaveOptions],
    ) -> AtomicWriter[io.FileIO]: ...
    @overload
    def open(  # noqa: A001
        path: StrPath, mode: WriteMode, *, buffering: Literal[-1, 1] = -1, **options: Unpack[SaveOptions]
    ) -> AtomicWriter[io.BufferedWriter]: ...
    @overload
    def open(  # noqa: A001
        path: StrPath, mode: UpdateMode, *, buffering: Literal[-1, 1] = -1, **options: Unpack[SaveOptions]
    ) -> AtomicWriter[io.BufferedRandom]: ...
    @overload
    def open(  # noqa: A001
        path: StrPath,
        mode: str,
        *,
        encoding: str | None = "utf-8",
        errors: str | None = None,
        newline: str | None = None,
        buffering: int = -1,
        **options: Unpack[SaveOptions],
    ) -> AtomicWriter[IO[Any]]: ...


def open(  # noqa: A001 # as gzip.open
    path: StrPath,
    mode: str = "w",
    *,
    encoding: str | None = "utf-8",
    errors: str | None = None,
    newline: str | None = None,
    buffering: int = -1,
    **options: Unpack[SaveOptions],
) -> AtomicWriter[Any]:
    """Open a file for saving: an `AtomicWriter`, to be used in a ``with`` block.

    ``path``: str, bytes or PathLike.
    ``mode``: w, x, a, r+, w+, x+ or a+, with b or t; x is ``overwrite=False``; a and r+ work on a
    private copy, and what others append meanwhile is lost.
    ``encoding``, ``errors``, ``newline``, ``buffering``: as for the builtin ``open``, but for the
    encoding's default, "utf-8", and a larger buffer, 64 KiB.

    Options, the same for every function:

    ``durability``: a `Durability` or its name; "durable" by default.
    ``overwrite``: True (the default), or False: create only. FileExistsError if the target exists, at
    once or, when it was created meanwhile, at the commit.
    ``metadata``: "preserve" (the default): a replaced file's mode, owner, group, POSIX ACL and user
    attributes are carried over, without setuid and setgid, and ``receipt.lost`` names what could
    not be kept; "strict": that is an error instead; "fresh": as for a new file. A new file gets the
    mode that the builtin ``open`` gives it.
    ``symlinks``: "follow" (the default): the link's target is replaced, unless the link is another
    user's in a shared directory (PermissionError); "replace": the link itself; "refuse": OSError
    with errno ELOOP.
    ``permissions``: an explicit mode such as 0o640, exact, in place of the carried mode and ACL; None
    by default.
    ``make_parents``: True: make missing directories on the way; False by default. A save that is given up
    removes those that it has made, if they are empty.
    ``allow_in_place``: False by default; True: where no rename is possible (a bind-mounted file, a
    directory that may not be written), rewrite the old file itself from a flushed copy. None of the
    three promises remains then; the receipt says ``in_place``. The file keeps its owner, attributes and,
    without ``permissions``, its mode.

    A URL (``s3://bucket/key``), an fsspec OpenFile or a UPath is saved to in the way of that store,
    through fsspec (``durably[fsspec]`` and the store's own package). Two options are for them alone:

    ``storage_options``: what the URL's file system is made with: credentials, an endpoint.
    ``fs``: the file system itself; ``path`` is then a path there.

    At a store the modes w and x write through, to a file that cannot seek; the others work on a local
    copy. ``metadata="strict"``, ``symlinks`` other than "follow" and ``permissions`` are not to be
    had, and ``overwrite=False`` where the store itself can refuse: otherwise `UnsupportedError`.

    Raises, before anything is staged, ValueError, TypeError or LookupError for bad arguments,
    FileNotFoundError (no directory; r+ without a file), PermissionError, FileExistsError,
    IsADirectoryError, and `UnsupportedError` for what cannot be saved to atomically: a FIFO, socket
    or device, a store that durably has no routine for. In all these cases the target was not changed.
    For the end of the block, see `AtomicWriter.commit`.
    """
    if is_local(path, options):
        return AtomicWriter(
            path, mode, encoding=encoding, errors=errors, newline=newline, buffering=buffering, **options
        )
    how = parsed(mode, buffering, encoding, errors, newline)
    options = with_action(options, how)
    target = resolve_target(path, options)
    if isinstance(target, str):
        return AtomicWriter(
            target, mode, encoding=encoding, errors=errors, newline=newline, buffering=buffering, **options
        )
    from durably._stores.writer import StoreWriter

    return StoreWriter(target, how, options)
