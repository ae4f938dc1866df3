"""One file of a transaction: given whole, written piece by piece, or written by others."""

from __future__ import annotations

from durably._file.content import fill
from durably._file.part_writer import PartWriter
from durably._file.protocol import stage_stream, warn_dropped
from durably._system import fork
from durably._types import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Any, NoReturn

    from durably._file.modes import Mode
    from durably._file.stream import F_co  # noqa: F401 # named in a string
    from durably._transaction.entry import Precondition, StagedSave
    from durably._transaction.root import Parts
    from durably._transaction.write_set import WriteSet
    from durably._types import Options, SaveOptions


def stage_bytes(
    write_set: WriteSet,
    target: tuple[Parts, str],
    view: bytes | memoryview,
    options: Options,
    precondition: Precondition = ...,
) -> None:
    """Stage a file that holds these bytes. What was staged before stays as it was if that fails."""
    save = write_set.begin(*target, options, precondition)
    try:
        write_set.root.routine.create(save)
        fill(write_set.root.routine, save, view, len(view))
        write_set.finish(save, len(view), precondition)
    except BaseException as error:
        write_set.abandon(save, error)
        raise


class TransactionWriter(PartWriter["F_co"]):
    """One file of a `durably.Transaction`, from `durably.Transaction.open`.

    ``with`` yields `file`, as `AtomicWriter` does. Leaving the block makes the file part of the
    transaction; an exception in it throws this file away, goes on, and leaves the rest as it was.
    Without a block, call `add` or `discard`. It belongs to one thread at a time.
    """

    __slots__ = ("_lock", "_precondition", "_staged", "_write_set")

    _precondition: Precondition
    _lock: Any
    _staged: StagedSave
    _write_set: WriteSet
    _whole: str = "transaction"

    def __init__(
        self,
        write_set: WriteSet,
        lock: Any,
        target: tuple[Parts, str],
        how: Mode,
        options: SaveOptions,
        precondition: Precondition,
    ) -> None:
        self._write_set = write_set
        self._lock = lock
        self._precondition = precondition
        with lock:
            save = write_set.begin(*target, resolve(options), precondition)
            write_set.has_read_dependency |= how.keeps
            super().__init__(save)
            self._staged = save
            try:
                channel, file = stage_stream(write_set.root.routine, save, how)
            except BaseException as error:
                write_set.abandon(save, error)
                raise
        self._begin(write_set.root.routine, channel, file)

    def _take(self) -> None:
        with self._lock:
            write_set, save = self._write_set, self._staged
            size = write_set.root.routine.calls.fstat(save.fd).st_size
            self._decide()
            write_set.finish(save, size, self._precondition)

    def _drop(self, error: BaseException) -> bool:
        self._throw_away(error)
        return True

    def _throw_away(self, error: BaseException) -> None:
        with self._lock:
            self._write_set.abandon(self._staged, error)


class StagedFile:
    """A file of a `durably.Transaction` that others write, from `durably.Transaction.staged_path`."""

    __slots__ = (
        "_arguments",
        "_entered",
        "_generation",
        "_is_open",
        "_lock",
        "_precondition",
        "_save",
        "_write_set",
    )

    _save: StagedSave

    def __init__(
        self,
        write_set: WriteSet,
        lock: Any,
        target: tuple[Parts, str],
        options: Options,
        precondition: Precondition,
    ) -> None:
        self._write_set = write_set
        self._lock = lock
        self._precondition = precondition
        self._arguments = (*target, options, precondition)
        self._generation = fork.generation
        self._entered = self._is_open = False

    def __enter__(self) -> Path:
        from pathlib import Path  # costs as much as the rest of the package

        if self._entered:
            raise ValueError("a staged_path is entered once")
        self._entered = True
        with self._lock:
            write_set = self._write_set
            self._save = save = write_set.begin(*self._arguments, private=True)
            try:
                path = write_set.root.routine.create_private(save)
            except BaseException as error:
                write_set.abandon(save, error)
                raise
        self._is_open = True
        fork.watch(None, write_set.root.routine, save)
        return Path(path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._generation != fork.generation:
            if error is None:
                raise RuntimeError("a forked child has no part in its parent's transaction")
            return
        self._decide()
        with self._lock:
            if error is not None:
                self._write_set.abandon(self._save, error)
                return
            try:
                self._add()
            except BaseException as failure:
                self._write_set.abandon(self._save, failure)
                raise

    def _add(self) -> None:
        write_set, save = self._write_set, self._save
        size = write_set.root.routine.take_over(save)
        if write_set.root.flushes:
            # By its own witness, which was opened before the first write.
            write_set.root.routine.flush_unwitnessed(save)
        write_set.finish(save, size, self._precondition)

    def _decide(self) -> None:
        self._is_open = False
        fork.forget(self._save)

    def __del__(self) -> None:
        if getattr(self, "_is_open", False) and self._generation == fork.generation:
            self._decide()
            dropped = RuntimeError()
            with self._lock:
                self._write_set.abandon(self._save, dropped)
            said = f"unfinished file of a transaction, {self._save.path!r}, was thrown away"
            warn_dropped(f"{said}: use staged_path in a with block", dropped, self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a staged_path cannot be copied or pickled: it decides about one file")
