"""Batch: many files, each atomic by itself, that become durable together."""

from __future__ import annotations

import errno

from durably import _commit
from durably._api.dispatch import resolve_target
from durably._batch.group_commit import Group
from durably._batch.writer import BatchWriter
from durably._commit.pending import PendingFile
from durably._errors import BatchError, UnsupportedError
from durably._file.content import bytes_of, encoded, fill
from durably._file.modes import parsed, with_action
from durably._file.paths import is_url
from durably._file.protocol import warn_dropped
from durably._receipts import BatchReceipt, Receipts
from durably._system import fork
from durably._types import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    from types import TracebackType
    from typing import IO, Any, Literal, NoReturn, Self, Unpack, overload

    from typing_extensions import Buffer

    from durably._file.modes import TextMode, WriteMode
    from durably._file.paths import StrPath
    from durably._stores.batch import Objects
    from durably._stores.target import Target
    from durably._types import Options, SaveOptions

_ON_ERROR = ("abort", "continue")
_NEW, _OPEN, _OVER = "new", "open", "over"


class Batch:
    """Save many files, and share the flushes among them::

        with durably.Batch() as batch:
            for name, data in pages:
                batch.write_bytes(directory / name, data)

    Leaving the block saves all: everything is flushed together, then each file gets its name, then
    each directory is flushed once. An exception in the block throws all of them away. Each file is
    atomic by itself, and durable once the block has been left; the batch is not one step: while it
    is being published a reader may meet new files beside old ones, and so may the next program
    after a crash.

    ``on_error``: "abort": when a file cannot be saved, none is; only where a rename fails after
    others, those others stay, and the receipt names them. "continue": the others are saved.
    ``options``: as for `durably.open`, for all files; each call may give its own. There is no
    ``allow_in_place`` here, and ``fs`` goes with the single calls.

    Objects of stores (URLs) wait in a local directory for the end of the block, and are sent before local
    files are renamed, up to eight at a time. Under "abort" none is begun once one has failed.

    Leaving the block raises `BatchError` if a file could not be saved or is not known to be durable,
    and OSError or what else broke off the end (KeyboardInterrupt): each file is whole then, old or
    new. ``receipt``, a `BatchReceipt`, tells what became of each file; it is None before the end.

    Any number of threads may add files, which may lie on several file systems; two paths that lead
    to one file raise ValueError. Not more than about 130 descriptors are open at a time, beside those
    of files that are being written. A batch is entered once, cannot be copied or pickled, and a forked
    child can neither add to it nor save it. One that is dropped in the middle throws its files away,
    with a ResourceWarning.
    """

    __slots__ = ("_generation", "_group", "_objects", "_options", "_resolved", "_state", "_remote", "receipt")

    def __init__(
        self, *, on_error: Literal["abort", "continue"] = "abort", **options: Unpack[SaveOptions]
    ) -> None:
        self._state = _NEW
        if on_error not in _ON_ERROR:
            raise ValueError(f"on_error must be 'abort' or 'continue', not {on_error!r}")
        if options.pop("fs", None) is not None:
            raise ValueError("fs goes with each call: batch.write_bytes(path, data, fs=fs)")
        self._remote = options.pop("storage_options", None)
        self._options = options
        self._resolved = _resolved(options)
        self._generation = fork.generation
        self.receipt: BatchReceipt | None = None
        self._group = Group(_commit.routine(), continue_on_error=on_error == "continue")
        self._objects: Objects | None = None

    def write_bytes(self, path: StrPath, data: Buffer, **options: Unpack[SaveOptions]) -> None:
        """Add a file with this content. The arguments are those of `durably.write_bytes`.

        Raises TypeError, ValueError or BufferError for bad arguments, and for a path that was added
        already; RuntimeError in a forked child; `BatchError` once another file has failed under
        ``on_error="abort"``; and OSError where this file cannot be staged, which under
        ``on_error="continue"`` is told at the end of the block instead. The target was not changed.
        """
        view: bytes | memoryview = data if isinstance(data, bytes) else bytes_of(data)
        size = len(view)
        self._check_open()
        group = self._group
        target: str | Target
        try:
            if type(path) is str and not options and "://" not in path:
                target = path
            else:
                target = self._locate(path, options)
        except UnsupportedError:
            raise
        except OSError:
            if not group.continue_on_error:
                raise
            return
        checked = _resolved({**self._options, **options}) if options else self._resolved
        if not isinstance(target, str):
            self._at_stores().write_bytes(target, view, checked)
            return
        save = PendingFile(target, checked)
        place = None
        try:
            place = group.enter(save)
            group.routine.create(save)
            fill(group.routine, save, view, size)
            group.add(place, save, size)
        except BaseException as error:
            group.drop(place, save, error)
            if not (isinstance(error, OSError) and group.continue_on_error):
                raise

    def write_text(
        self,
        path: StrPath,
        text: str,
        *,
        encoding: str = "utf-8",
        errors: str | None = None,
        newline: str | None = None,
        **options: Unpack[SaveOptions],
    ) -> None:
        """Add a file with this text. The arguments are those of `durably.write_text`.

        Raises what `write_bytes` raises, and UnicodeEncodeError or LookupError for the encoding.
        """
        self.write_bytes(path, encoded(text, encoding, errors, newline), **options)

    if TYPE_CHECKING:

        @overload
        def open(
            self,
            path: StrPath,
            mode: TextMode = "w",
            *,
            encoding: str | None = "utf-8",
            errors: str | None = None,
            newline: str | None = None,
            buffering: int = -1,
            **options: Unpack[SaveOptions],
        ) -> BatchWriter[io.TextIOWrapper]: ...
        @overload
        def open(
            self,
            path: StrPath,
            mode: WriteMode,
            *,
            buffering: Literal[-1, 1] = -1,
            **options: Unpack[SaveOptions],
        ) -> BatchWriter[io.BufferedWriter]: ...
        @overload
        def open(
            self,
            path: StrPath,
            mode: str,
            *,
            encoding: str | None = "utf-8",
            errors: str | None = None,
            newline: str | None = None,
            buffering: int = -1,
            **options: Unpack[SaveOptions],
        ) -> BatchWriter[IO[Any]]: ...

    def open(
        self,
        path: StrPath,
        mode: str = "w",
        *,
        encoding: str | None = "utf-8",
        errors: str | None = None,
        newline: str | None = None,
        buffering: int = -1,
        **options: Unpack[SaveOptions],
    ) -> BatchWriter[Any]:
        """A file of the batch to write piece by piece: ``with batch.open(path, "wb") as file: ...``

        The arguments and errors are those of `durably.open`. Leaving the writer's own block adds
        the file; an exception in it throws that file away, and the batch goes on if the exception is
        caught. A writer that is still open when the batch ends is thrown away, and has failed.
        """
        how = parsed(mode, buffering, encoding, errors, newline)
        self._check_open()
        target = self._locate(path, options)
        given: SaveOptions = {**self._options, **options}
        _resolved(given)
        if isinstance(target, str):
            return BatchWriter(self._group, target, how, given)
        return self._at_stores().open(target, how, resolve(with_action(given, how)))

    def _locate(self, path: StrPath, options: SaveOptions) -> str | Target:
        """What is named, with the batch's ``storage_options`` if it is a URL."""
        if self._remote is not None and "fs" not in options and isinstance(path, str) and is_url(path):
            options.setdefault("storage_options", self._remote)
        try:
            return resolve_target(path, options)
        except UnsupportedError:
            raise
        except OSError as error:  # the store's client connects
            self._group.failed[str(error.filename)] = error
            raise

    def _check_open(self) -> None:
        if self._generation != fork.generation:
            raise RuntimeError("a forked child cannot add to its parent's batch")
        if self._state is not _OPEN:
            raise ValueError("files are added to a Batch in its with block")
        if self._group.failed and not self._group.continue_on_error:
            raise self._error(self._outcome())

    def _at_stores(self) -> Objects:
        from durably._stores import batch as room

        with room.making:
            if self._objects is None:
                self._objects = room.Objects(self._group)
            return self._objects

    def __enter__(self) -> Self:
        if self._state is not _NEW:
            raise ValueError("a Batch is entered once")
        self._state = _OPEN
        self._generation = fork.generation
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._generation != fork.generation:
            self._state = _OVER
            if error is None:
                raise RuntimeError("a forked child cannot save its parent's batch; the parent still can")
            return
        self._state = _OVER
        if error is not None:
            self._close(error)
            self.receipt = self._outcome()
        else:
            self._save()

    def _save(self) -> None:
        group = self._group
        failure: BaseException | None = None
        try:
            group.flush()
            if self._objects is not None:
                self._objects.send()
            if group.continue_on_error or not group.failed:
                group.rename_into_place()
        except BaseException as error:
            failure = error
            raise
        finally:
            failure = failure or OSError()  # not before: an interrupt there would leave the group open
            self._close(failure)
            self.receipt = self._outcome()
        if group.failed:
            told = self._error(self.receipt)
            told.__dict__.update(failure.__dict__, receipt=self.receipt)
            raise told

    def _close(self, error: BaseException) -> None:
        try:
            self._group.close(error)
        finally:
            if self._objects is not None:
                self._objects.close(error)

    def _outcome(self) -> BatchReceipt:
        group = self._group
        if self._objects is not None:
            return self._objects.outcome()
        return BatchReceipt(Receipts(group.count(), group.receipts), group.failed, tuple(group.unsaved()))

    def _error(self, receipt: BatchReceipt) -> BatchError:
        path, cause = next(iter(receipt.failed.items()))
        failed, saved = len(receipt.failed), len(receipt.saved)
        others = f"{saved} were saved" if saved else "no other was saved"
        message = (
            f"{failed} of {failed + saved + len(receipt.unsaved)} files of the batch could not be saved "
            f"to the end, and {others}; error.receipt tells of each, and the first is: {cause.strerror}"
        )
        error = BatchError(cause.errno or errno.EIO, message, path, receipt)
        error.__cause__ = cause
        return error

    def __del__(self) -> None:
        begun = getattr(self, "_state", _NEW) is not _NEW
        if not begun or self._group.closed or self._generation != fork.generation:
            return
        dropped = RuntimeError()
        self._close(dropped)
        warn_dropped("an unfinished batch was thrown away: use it in a with block", dropped, self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Batch cannot be copied or pickled: it decides about its files")


def _resolved(options: SaveOptions) -> Options:
    if options.get("allow_in_place"):
        raise ValueError("a Batch has no allow_in_place: every file of it is renamed into place")
    return resolve(options)
