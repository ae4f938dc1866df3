"""The life of a transaction: entered once, then committed or thrown away."""

from __future__ import annotations

import os
from _thread import RLock  # threading costs more, and has nothing that is needed here

from durably import _commit
from durably._file.options import resolve_local
from durably._file.paths import local
from durably._file.protocol import achieved_level, note_leftovers, warn_dropped
from durably._receipts import TransactionReceipt
from durably._system import fork
from durably._transaction.commit import commit
from durably._transaction.commit_one import commit_alone, commit_one
from durably._transaction.recover import recover_standing
from durably._transaction.root import Root
from durably._transaction.write_set import Staging
from durably._types import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import NoReturn, Self, Unpack

    from durably._file.paths import StrPath
    from durably._transaction.operations import Operation
    from durably._types import Options, SaveOptions

_NEW, _OPEN, _OVER = "new", "open", "over"


class TransactionLife:
    """What a `durably.Transaction` is, apart from what can be done in it."""

    __slots__ = (
        "_generation",
        "_lock",
        "_named",
        "_options",
        "_path",
        "_resolved",
        "_root",
        "_staging",
        "_state",
        "receipt",
    )

    _root: Root
    _staging: Staging

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
            self._staging = Staging(root)
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
        staging, root = self._staging, self._root
        if staging.writing:
            names = ", ".join(sorted("/".join(parts) for parts in staging.writing))
            raise ValueError(
                f"still being written at the end of the transaction: {names}; no file was changed"
            )
        operations = staging.operations()
        if len(operations) > 1:
            commit(root, operations, staging.flusher.flush, staging.verify)
        elif operations:
            alone = commit_alone if staging.has_read_dependency else commit_one
            alone(root, operations[0], staging.flusher.flush, staging.verify)
        staging.forget_published(operations)
        self.receipt = _receipt(self._named, root, operations)

    def _throw_away(self, error: BaseException) -> None:
        try:
            if not self._root.unfinished:
                told: tuple[str, ...] = getattr(error, "leftovers", ())
                left = tuple(path for path in self._staging.discard() if path not in told)
                if left:
                    note_leftovers(error, left, "could not be removed")
        finally:
            self._staging.flusher.discard()
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


def _receipt(named: str, root: Root, operations: list[Operation]) -> TransactionReceipt:
    notes = root.notes
    written = tuple(name for each in operations if each.staged is not None for name in each.files)
    removed = tuple(name for each in operations if each.staged is None for name in each.files)
    notes.directory = root.directory
    level = notes.options.durability
    kept = NONE if level is NONE else achieved_level(root.routine, notes)
    notes.directory = None
    return TransactionReceipt(named, written, removed, kept, tuple(notes.steps), notes.skipped, notes.lost)
