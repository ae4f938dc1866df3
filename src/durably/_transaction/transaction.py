"""Transaction: several files, all or none, also across a crash."""

from __future__ import annotations

import os
from _thread import RLock  # threading costs more, and has nothing that is needed here

from durably import _commit
from durably._file.content import bytes_of, encoded
from durably._file.modes import parsed, with_action
from durably._file.options import resolve_local
from durably._file.paths import local
from durably._file.protocol import warn_dropped
from durably._system import fork
from durably._transaction.commit import commit, receipt
from durably._transaction.commit_one import commit_alone, commit_one
from durably._transaction.paths import parts_below
from durably._transaction.recover import recover_standing
from durably._transaction.root import Root
from durably._transaction.write_set import WriteSet
from durably._transaction.writer import StagedFile, TransactionWriter, stage_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import io
    from types import TracebackType
    from typing import IO, Any, Literal, NoReturn, Self, Unpack, overload

    from typing_extensions import Buffer

    from durably._file.modes import TextMode, UpdateMode, WriteMode
    from durably._file.paths import StrPath
    from durably._receipts import TransactionReceipt
    from durably._transaction.entry import Precondition
    from durably._types import Options, SaveOptions


_NEW, _OPEN, _OVER = "new", "open", "over"


class Transaction:
    """Change several files in a directory and below it: all of them, or none, also across a crash::

        with durably.Transaction("settings") as txn:
            names = json.loads(txn.read_text("names.json"))
            txn.write_text("names.json", json.dumps([*names, "new"]))
            txn.write_bytes("new/data.bin", data)
            txn.remove("old.bin")

    ``root``: str, bytes or PathLike: a directory that exists. What is changed lies in it or below it,
    on the same mount; paths are relative to it, or absolute and under it, and have no "..".
    ``options``: as for `durably.open`, for all files, but that ``make_parents`` is True by default
    (missing directories are staged, and appear with all that is in them), that links are not
    followed (``symlinks="replace"`` replaces a link, all else refuses it), and that there is no
    ``allow_in_place``.

    Leaving the block commits; an exception in it throws everything away. Inside, what was written is
    read; outside, nothing is seen until the commit. Then each file is seen whole, old or new; one that
    reads several may meet both while it lasts, and after a crash until the root was recovered, unless
    it holds a shared lock (flock) on the root, on POSIX. Entering the block recovers the root first.

    Two transactions on one root exclude each other while they commit; transactions on nested roots do
    not. A file that another has changed since this transaction first met it (read, wrote, removed or
    renamed it) makes the commit fail with errno ESTALE; ``expect=`` names the content that it must
    have. A transaction that changes one name is a plain save, without lock and journal.

    Leaving the block raises OSError where nothing was changed and nothing is left (ESTALE; ENOSPC; ...),
    and ValueError where a file of it is still open for writing: likewise; `RecoveryNeededError` where it
    broke off and the journal stands: `durably.recover` finishes or undoes it; and for a single change
    what `AtomicWriter.commit` raises. An exception from outside (KeyboardInterrupt) leaves all old, all
    new, or the journal. ``receipt``, a `TransactionReceipt`, is set after a commit.

    Entering raises OSError where the root cannot be opened, `UnsupportedError` where a journal in it
    could not be trusted (its group or everybody may write in it) or files have no lasting numbers (FAT),
    and what `durably.recover` raises. Any number of threads may use it. It is entered once, cannot be
    copied or pickled, and belongs to the process that entered it.
    """

    __slots__ = (
        "_generation",
        "_lock",
        "_named",
        "_options",
        "_path",
        "_resolved",
        "_root",
        "_state",
        "_write_set",
        "receipt",
    )

    _root: Root
    _write_set: WriteSet

    def __init__(self, root: StrPath, **options: Unpack[SaveOptions]) -> None:
        self._state = _NEW
        self._generation = fork.generation
        self._named = local(root)
        self._path = os.path.abspath(self._named)
        if options.get("allow_in_place"):
            raise ValueError("a Transaction has no allow_in_place: every file of it is renamed into place")
        self._options: SaveOptions = {"make_parents": True, **options}
        self._resolved: Options = resolve_local(self._options)
        self._lock = RLock()
        self.receipt: TransactionReceipt | None = None

    def __enter__(self) -> Self:
        if self._state is not _NEW:
            raise ValueError("a Transaction is entered once")
        self._generation = fork.generation
        self._root = root = Root(_commit.routine(), self._path, self._resolved)
        try:
            root.check_trusted()
            recover_standing(root)
            self._write_set = WriteSet(root)
        except BaseException:
            root.close()
            raise
        self._state = _OPEN
        return self

    def _check_open(self) -> None:
        if self._generation != fork.generation:
            raise RuntimeError("a forked child has no part in its parent's transaction")
        if self._state is not _OPEN:
            raise ValueError("a Transaction is used in its with block")

    # The end.

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._generation != fork.generation:
            self._state = _OVER
            if error is None:
                raise RuntimeError(
                    "a forked child cannot commit its parent's transaction; the parent still can"
                )
            return
        with self._lock:
            self._state = _OVER
            if error is not None:
                self._throw_away(error)
                return
            try:
                self._save()
            except BaseException as failure:
                self._root.set_error_path(failure)
                self._throw_away(failure)
                raise
            self._root.close()

    def _save(self) -> None:
        write_set, root = self._write_set, self._root
        if write_set.writing:
            names = ", ".join(sorted("/".join(parts) for parts in write_set.writing))
            message = f"still being written at the end of the transaction: {names}"
            raise ValueError(f"{message}; no file was changed")
        operations = write_set.operations()
        if len(operations) > 1:
            commit(root, operations, write_set.flusher.flush, write_set.verify)
        elif operations:
            alone = commit_alone if write_set.has_read_dependency else commit_one
            alone(root, operations[0], write_set.flusher.flush, write_set.verify)
        write_set.forget_published(operations)
        self.receipt = receipt(self._named, root, operations)

    def _throw_away(self, error: BaseException) -> None:
        try:
            self._write_set.throw_away(error)
        finally:
            self._write_set.flusher.discard()
            self._root.close()

    def __del__(self) -> None:
        if getattr(self, "_state", _OVER) is not _OPEN or self._generation != fork.generation:
            return
        self._state = _OVER
        dropped = RuntimeError()
        self._throw_away(dropped)
        warn_dropped("an unfinished transaction was thrown away: use it in a with block", dropped, self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Transaction cannot be copied or pickled: it decides about its files")

    # Writing.

    def write_bytes(self, path: StrPath, data: Buffer, *, expect: Precondition = ...) -> None:
        """Have a file hold these bytes: any C-contiguous buffer.

        ``expect``: what the file must hold now, and until the commit: bytes, or None: there is none.

        Raises ValueError or TypeError for bad arguments; OSError with errno ESTALE where the file does
        not hold what is expected, EBUSY where it is being written, and others where it cannot be staged.
        What was staged before stays as it was, and no file was changed.
        """
        view: bytes | memoryview = data if isinstance(data, bytes) else bytes_of(data)
        with self._lock:
            self._check(expect)
            target = parts_below(self._path, path), local(path)
            stage_bytes(self._write_set, target, view, self._resolved, expect)

    def write_text(
        self,
        path: StrPath,
        text: str,
        *,
        encoding: str = "utf-8",
        errors: str | None = None,
        newline: str | None = None,
        expect: Precondition = ...,
    ) -> None:
        """Have a file hold this text: `durably.write_text` and `write_bytes` tell of the arguments."""
        self.write_bytes(path, encoded(text, encoding, errors, newline), expect=expect)

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
            expect: Precondition = ...,
        ) -> TransactionWriter[io.TextIOWrapper]: ...
        @overload
        def open(
            self,
            path: StrPath,
            mode: WriteMode,
            *,
            buffering: Literal[-1, 1] = -1,
            expect: Precondition = ...,
        ) -> TransactionWriter[io.BufferedWriter]: ...
        @overload
        def open(
            self,
            path: StrPath,
            mode: UpdateMode,
            *,
            buffering: Literal[-1, 1] = -1,
            expect: Precondition = ...,
        ) -> TransactionWriter[io.BufferedRandom]: ...
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
            expect: Precondition = ...,
        ) -> TransactionWriter[IO[Any]]: ...

    def open(
        self,
        path: StrPath,
        mode: str = "w",
        *,
        encoding: str | None = "utf-8",
        errors: str | None = None,
        newline: str | None = None,
        buffering: int = -1,
        expect: Precondition = ...,
    ) -> TransactionWriter[Any]:
        """A file to write piece by piece: ``with txn.open(path, "wb") as file: ...``

        The modes and arguments are those of `durably.open`; a and r+ go on from what the transaction
        sees. Leaving the writer's own block makes the file part of the transaction; an exception in it
        throws that file away, and the transaction goes on if the exception is caught. A writer that is
        still open at the commit makes it fail, with nothing changed.

        Raises what `write_bytes` raises, and FileNotFoundError for r+ without a file.
        """
        how = parsed(mode, buffering, encoding, errors, newline)
        with self._lock:
            self._check(expect)
            target = parts_below(self._path, path), local(path)
            options = with_action(self._options, how)
            return TransactionWriter(self._write_set, self._lock, target, how, options, expect)

    def staged_path(self, path: StrPath, *, expect: Precondition = ...) -> StagedFile:
        """A file name to write to, for savers that want one: as `durably.staged_path`, in the transaction.

        Entering it raises what `write_bytes` raises, leaving it what `durably.staged_path` does.
        """
        self._check(expect)
        target = parts_below(self._path, path), local(path)
        return StagedFile(self._write_set, self._lock, target, self._resolved, expect)

    def _check(self, expect: Precondition) -> None:
        self._check_open()
        if not (expect is ... or expect is None or isinstance(expect, bytes)):  # pyright: ignore[reportUnnecessaryIsInstance] # callers may be untyped
            raise TypeError(f"expect must be bytes, or None for no file, not {type(expect).__name__}")

    # Removing, renaming, reading.

    def remove(self, path: StrPath, *, expect: Precondition = ...) -> None:
        """Have a file removed. ``expect``: what it must hold.

        Raises FileNotFoundError where the transaction sees none, IsADirectoryError for a directory, and
        OSError with errno ESTALE or EBUSY as `write_bytes` does.
        """
        with self._lock:
            self._check(expect)
            self._write_set.remove(parts_below(self._path, path), local(path), expect)

    def rename(self, old: StrPath, new: StrPath) -> None:
        """Have a file moved, as it is, over what has the new name, if anything.

        Raises FileNotFoundError and IsADirectoryError as `remove` does, and `UnsupportedError` where a
        file cannot have two names for a while: on a file system without hard links, or, under
        protected_hardlinks (proc(5)), another user's file.
        """
        with self._lock:
            self._check_open()
            paths = local(old), local(new)
            parts = parts_below(self._path, old), parts_below(self._path, new)
            self._write_set.rename(*parts, *paths, self._resolved)

    def read_bytes(self, path: StrPath) -> bytes:
        """The content of a file as the transaction sees it. Raises OSError where it cannot be read."""
        with self._lock:
            self._check_open()
            return self._write_set.read(parts_below(self._path, path))

    def read_text(self, path: StrPath, *, encoding: str = "utf-8", errors: str | None = None) -> str:
        r"""The same as text: ``"\r\n"`` and ``"\r"`` become ``"\n"``, as for the builtin ``open``.

        Raises UnicodeDecodeError or LookupError for the encoding too.
        """
        text = self.read_bytes(path).decode(encoding, errors or "strict")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def exists(self, path: StrPath) -> bool:
        """Whether there is a file, a directory or a link, as the transaction sees it."""
        with self._lock:
            self._check_open()
            return self._write_set.exists(parts_below(self._path, path))
