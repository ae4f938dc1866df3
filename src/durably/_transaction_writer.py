"""The life of one file of a transaction that is written piece by piece, or by others."""

from __future__ import annotations

import errno
import warnings

from durably import _forks
from durably._options import resolve
from durably._saving import stage_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import IO, Any, Generic, NoReturn, TypeVar

    from durably._modes import Mode
    from durably._options import Options, SaveOptions
    from durably._stream import Channel
    from durably._txn._root import Parts
    from durably._txn._staged import Expected, StagedSave
    from durably._txn._staging import Staging

    F_co = TypeVar("F_co", bound=IO[Any], covariant=True)

    class _Life(Generic[F_co]):
        """The writer of one kind of file."""
else:
    # typing is not imported at run time.
    class _Life:
        __slots__ = ()

        def __class_getitem__(cls, item: object) -> type:
            return cls


class TransactionWriter(_Life["F_co"]):
    """One file of a `durably.Transaction`, from `durably.Transaction.open`.

    ``with`` yields `file`, as `AtomicWriter` does. Leaving the block makes the file part of the
    transaction; an exception in it throws this file away, goes on, and leaves the rest as it was.
    Without a block, call `add` or `discard`. It belongs to one thread at a time.
    """

    __slots__ = ("_channel", "_expected", "_file", "_generation", "_is_open", "_lock", "_save", "_staging")

    _channel: Channel
    _file: Any

    def __init__(
        self,
        staging: Staging,
        lock: Any,
        target: tuple[Parts, str],
        how: Mode,
        options: SaveOptions,
        expected: Expected,
    ) -> None:
        self._is_open = False
        self._staging = staging
        self._lock = lock
        self._expected = expected
        self._generation = _forks.generation
        with lock:
            self._save = staging.begin(*target, resolve(options), expected)
            try:
                self._channel, self._file = stage_stream(staging.root.routine, self._save, how)
            except BaseException as error:
                staging.abandon(self._save, error)
                raise
        self._is_open = True
        _forks.watch(self._channel, staging.root.routine, self._save)

    @property
    def path(self) -> str:
        """The target as the caller named it."""
        return self._save.path

    @property
    def file(self) -> F_co:
        """The file to write to. Its ``name`` is the target."""
        file: F_co = self._file
        return file

    def __enter__(self) -> F_co:
        if not self._is_open:
            raise ValueError("a TransactionWriter is entered before it is decided")
        return self.file

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._give_up(error)
        elif self._is_open:
            self.add()

    def add(self) -> None:
        """Make the file part of the transaction.

        Raises ValueError where it was decided already, RuntimeError in a forked child, and OSError
        where what was written could not be staged: then it is no part of the transaction.
        """
        if not self._is_open:
            raise ValueError(f"the file for {self.path!r} was added or thrown away already")
        if self._generation != _forks.generation:
            raise RuntimeError(f"a forked child cannot add to its parent's transaction: {self.path!r}")
        staging, save = self._staging, self._save
        with self._lock:
            try:
                self._file.close()
                self._channel.check()
                save.steps.append("write")
                size = staging.root.routine.calls.fstat(save.fd).st_size
                self._decide()
                staging.finish(save, size, self._expected)
            except BaseException as error:
                self._decide()
                staging.abandon(save, error)
                raise

    def discard(self) -> None:
        """Throw the file away. Nothing where it was decided already.

        Raises OSError if the temporary cannot be removed; it is named in ``error.leftovers``.
        """
        error = OSError(errno.EIO, "the temporary could not be removed", self.path)
        self._give_up(error)
        if hasattr(error, "leftovers"):
            raise error

    def _give_up(self, error: BaseException) -> None:
        if not self._is_open:
            return
        self._decide()
        if self._generation == _forks.generation:
            with self._lock:
                self._staging.abandon(self._save, error)

    def _decide(self) -> None:
        if self._is_open:
            self._is_open = False
            # Not by closing the file: see AtomicWriter.
            self._channel.detach()
            _forks.forget(self._save)

    def __del__(self) -> None:
        if getattr(self, "_is_open", False) and self._generation == _forks.generation:
            self._give_up(RuntimeError())
            warnings.warn(
                f"unfinished file of a transaction, {self.path!r}, was thrown away: use it in a with block, "
                "or call add() or discard()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError("a TransactionWriter cannot be copied or pickled: it decides about one file")


class StagedFile:
    """A file of a `durably.Transaction` that others write, from `durably.Transaction.staged_path`."""

    __slots__ = (
        "_arguments",
        "_entered",
        "_expected",
        "_generation",
        "_is_open",
        "_lock",
        "_save",
        "_staging",
    )

    _save: StagedSave

    def __init__(
        self, staging: Staging, lock: Any, target: tuple[Parts, str], options: Options, expected: Expected
    ) -> None:
        self._staging = staging
        self._lock = lock
        self._expected = expected
        self._arguments = (*target, options, expected)
        self._generation = _forks.generation
        self._entered = self._is_open = False

    def __enter__(self) -> Path:
        from pathlib import Path  # costs as much as the rest of the package

        if self._entered:
            raise ValueError("a staged_path is entered once")
        self._entered = True
        with self._lock:
            staging = self._staging
            self._save = save = staging.begin(*self._arguments, private=True)
            try:
                path = staging.root.routine.create_private(save)
            except BaseException as error:
                staging.abandon(save, error)
                raise
        self._is_open = True
        _forks.watch(None, staging.root.routine, save)
        return Path(path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._generation != _forks.generation:
            if error is None:
                raise RuntimeError("a forked child has no part in its parent's transaction")
            return
        self._decide()
        with self._lock:
            if error is not None:
                self._staging.abandon(self._save, error)
                return
            try:
                self._add()
            except BaseException as failure:
                self._staging.abandon(self._save, failure)
                raise

    def _add(self) -> None:
        staging, save = self._staging, self._save
        size = staging.root.routine.adopt(save)
        if staging.root.flushes:
            # By its own witness, which was opened before the first write.
            staging.root.routine.flush_unwitnessed(save)
        staging.finish(save, size, self._expected)

    def _decide(self) -> None:
        self._is_open = False
        _forks.forget(self._save)

    def __del__(self) -> None:
        if getattr(self, "_is_open", False) and self._generation == _forks.generation:
            self._decide()
            with self._lock:
                self._staging.abandon(self._save, RuntimeError())
            warnings.warn(
                f"unfinished file of a transaction, {self._save.path!r}, was thrown away: use staged_path in "
                "a with block",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
