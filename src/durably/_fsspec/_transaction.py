"""What ``with fs.transaction:`` does: stage beside the targets, and commit as `durably.Transaction` does.

A `durably.Transaction` has a root, and fsspec's has none: it is found while files are staged, as the
directory that is common to all of them, and is locked and journaled at the commit alone.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from durably import _forks, _names
from durably._fsspec import _entries
from durably._fsspec._moving_staging import MovingStaging, shared
from durably._modes import parsed, with_action
from durably._options import NONE, resolve
from durably._saving import note_leftovers
from durably._transaction_writer import TransactionWriter
from durably._txn._course import commit, commit_one
from durably._txn._names_below import parts_below

if TYPE_CHECKING:
    from durably._options import SaveOptions

# What current_thread() gives for a thread that Python did not start.
_FOREIGN = threading._DummyThread  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
_log = logging.getLogger("durably.filesystem")
_current: ContextVar[object] = ContextVar("durably_filesystem_transaction", default=None)


class StagedWriter(TransactionWriter[Any]):
    """One file of a transaction, to a handle: an `AtomicWriter` whose commit is the transaction's."""

    __slots__ = ()
    receipt = None

    def commit(self) -> None:
        """Make the file part of the transaction."""
        self.add()


class TransactionCore:
    """One transaction of a file system, from its start to its end."""

    def __init__(self, options: SaveOptions) -> None:
        self._options = options
        self._lock = threading.RLock()
        self._staging: MovingStaging | None = None
        self._generation = _forks.generation
        self._mark = object()  # not this itself: a context lives long, and would keep it
        _current.set(self._mark)
        self._is_open = True
        self._undo: list[tuple[str, str]] = []
        """What was moved, in order: where it is now, and where it was."""

    def takes(self) -> bool:
        """Whether a write that is made here and now is a part of it.

        It is from the context that started the transaction, and from a thread that is not Python's:
        clients such as Arrow and duckdb write in threads of their own. Others write for themselves.
        """
        if not self._is_open or self._generation != _forks.generation:
            return False
        return _current.get() is self._mark or isinstance(threading.current_thread(), _FOREIGN)

    def open(self, path: str, mode: str, options: SaveOptions) -> StagedWriter:
        """A file of the transaction. The directory of ``path`` exists."""
        how = parsed(mode, -1, "utf-8", None, None)
        target = _real(path, options)
        # Its directory was made, if it was missing, when it was looked for: the tree is not staged.
        options = with_action({**options, "make_parents": False, "symlinks": "replace"}, how)
        with self._lock:
            directory = os.path.dirname(target)
            if self._staging is None:
                self._staging = MovingStaging(directory, resolve(self._options))
            self._staging.reach(directory)
            parts = parts_below(self._staging.root.path, target)
            return StagedWriter(self._staging, self._lock, (parts, path), how, options, ...)

    def remove(self, target: str) -> None:
        """Take a file or a tree away at once; it is put back if the transaction comes to nothing."""
        with self._lock:
            dropped = self._drop_below(target)
            if os.path.lexists(target) or not dropped:
                self._put_aside(target)

    def move(self, source: str, target: str) -> None:
        """Rename at once, to be undone if the transaction comes to nothing."""
        with self._lock:
            if self._rename_staged(source, target):
                return
            level = resolve(self._options).durability
            is_directory = stat.S_ISDIR(os.lstat(source).st_mode)
            self._drop_below(target)
            self._drop_below(source)
            if os.path.lexists(target) and not is_directory:
                self._put_aside(target)
            _entries.move(source, target, level)
            self._undo.append((target, source))

    def _put_aside(self, target: str) -> None:
        name = _names.fresh("d" if os.path.isdir(target) and not os.path.islink(target) else "t")
        aside = os.path.join(os.path.dirname(target), name)
        _entries.move(target, aside, NONE)
        self._undo.append((aside, target))

    def _put_back(self, error: BaseException) -> None:
        level = resolve(self._options).durability
        while self._undo:
            now, before = self._undo.pop()
            try:
                if os.path.isdir(now) and os.path.isdir(before):
                    _entries.remove_directory(before, NONE)  # Windows renames over none, also if it is empty
                _entries.move(now, before, level)
            except OSError as failure:
                error.add_note(f"durably: {before} could not be put back from {now}: {failure.strerror}")

    def _throw_aside(self) -> None:
        """Remove what was taken away: the transaction is committed."""
        level = resolve(self._options).durability
        while self._undo:
            aside, target = self._undo.pop(0)
            if _entries.is_temporary(aside):
                try:
                    _entries.remove(aside, level)
                except OSError as failure:
                    reason = f"{target} was removed, and is left over as {aside}: {failure.strerror}"
                    _log.warning("the transaction is committed; %s", reason)

    def _drop_below(self, path: str) -> bool:
        """Forget what is staged at or below a path."""
        return self._staging is not None and self._staging.drop_below(os.path.realpath(path))

    def _rename_staged(self, source: str, target: str) -> bool:
        """Give a staged file another name. False: nothing is staged under the first."""
        staging = self._staging
        if staging is None or shared(staging.root.path, source) != staging.root.path:
            return False
        options = self._options
        old, new = _real(source, options), _real(target, options)
        staging.reach(os.path.dirname(new))
        parts = parts_below(staging.root.path, old)
        file = staging.files.get(parts)
        if file is None or file.staged is None:
            return False
        renamed = parts_below(staging.root.path, new)
        moved = resolve({**options, "make_parents": False, "symlinks": "replace"})
        staging.rename(parts, renamed, source, target, moved)
        return True

    def end(self, error: BaseException | None) -> None:
        """Commit, or with an exception throw everything away. Raises as `durably.Transaction` does."""
        self._is_open = False
        if _current.get() is self._mark:
            _current.set(None)
        if self._generation != _forks.generation:
            if error is None:
                raise RuntimeError(
                    "a forked child cannot commit its parent's transaction; the parent still can"
                )
            return
        with self._lock:
            staging, self._staging = self._staging, None
            try:
                if error is not None:
                    self._take_back(staging, error)
                    return
                self._commit(staging)
            finally:
                if staging is not None:
                    staging.close()
            self._throw_aside()

    def _commit(self, staging: MovingStaging | None) -> None:
        if staging is not None:
            try:
                _commit_staged(staging)
            except BaseException as failure:
                self._take_back(staging, failure)
                raise

    def _take_back(self, staging: MovingStaging | None, error: BaseException) -> None:
        if staging is not None and staging.root.unfinished:
            # The journal stands, and a recovery may finish what it says.
            kept = ", ".join(aside for aside, _ in self._undo)
            if kept:
                error.add_note(f"durably: what the transaction has removed is kept as {kept}")
            self._undo.clear()
            return
        if staging is not None:
            left = staging.discard()
            if left:
                note_leftovers(error, left, "could not be removed")
        self._put_back(error)

    def __del__(self) -> None:
        if (
            self._is_open
            and (self._staging is not None or self._undo)
            and self._generation == _forks.generation
        ):
            self.end(RuntimeError())
            warnings.warn("an unfinished transaction was thrown away", ResourceWarning, stacklevel=2)


def _real(path: str, options: SaveOptions) -> str:
    """The path without links. A link at its end: what the option says of it."""
    directory, name = os.path.split(path)
    os.stat(directory)  # by the kernel, which refuses some links (proc(5), protected_symlinks)
    target = os.path.join(os.path.realpath(directory), name)
    if os.path.islink(target) and options.get("symlinks", "follow") != "replace":
        message = "is a symbolic link, and a transaction follows none; symlinks='replace' replaces it"
        raise OSError(errno.ELOOP, message, path)
    return target


def _commit_staged(staging: MovingStaging) -> None:
    if staging.writing:
        names = ", ".join(sorted(staging.root.full(parts) for parts in staging.writing))
        message = f"still being written at the end of the transaction: {names}"
        raise ValueError(f"{message}; no file was changed")
    operations = staging.operations()
    if len(operations) > 1:
        commit(staging.root, operations, staging.flusher.flush, staging.verify)
    elif operations:
        commit_one(staging.root, operations[0], staging.flusher.flush, staging.verify)
    staging.settle(operations)
