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

from durably._file.content import bytes_of
from durably._file.modes import parsed, with_action
from durably._fsspec import names
from durably._fsspec.write_set import MovingWriteSet, shared
from durably._system import fork
from durably._transaction.commit import commit
from durably._transaction.commit_one import commit_one
from durably._transaction.paths import parts_below
from durably._transaction.writer import TransactionWriter, stage_bytes
from durably._types import resolve

if TYPE_CHECKING:
    from durably._transaction.root import Parts
    from durably._types import SaveOptions

# What current_thread() gives for a thread that Python did not start.
_FOREIGN = threading._DummyThread  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
_log = logging.getLogger("durably.filesystem")
_LINKS: SaveOptions = {"symlinks": "replace"}
# By the time of a write, its directory was made if it was missing, and links were met: see _place.
_MET: SaveOptions = {"make_parents": False, "symlinks": "replace"}
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
        self._level = resolve(options).durability
        self._lock = threading.RLock()
        self._write_set: MovingWriteSet | None = None
        self._generation = fork.generation
        self._mark = object()  # not this itself: a context lives long, and would keep it
        _current.set(self._mark)
        self._is_open = True

    def takes(self) -> bool:
        """Whether a write that is made here and now is a part of it.

        It is from the context that started the transaction, and from a thread that is not Python's:
        clients such as Arrow and duckdb write in threads of their own. Others write for themselves.
        """
        if not self._is_open or self._generation != fork.generation:
            return False
        return _current.get() is self._mark or isinstance(threading.current_thread(), _FOREIGN)

    def open(self, path: str, mode: str, options: SaveOptions) -> StagedWriter:
        """A file of the transaction."""
        how = parsed(mode, -1, "utf-8", None, None)
        options = with_action(options, how)
        target = _place(path, options if how.action != "r" else {**options, "make_parents": False})
        with self._lock:
            write_set, parts = self._reached(target)
            options = {**options, **_MET}
            return StagedWriter(write_set, self._lock, (parts, path), how, options, ...)

    def write(self, path: str, data: Any, options: SaveOptions) -> None:
        """A file of the transaction that is given whole."""
        view = bytes_of(data)
        target = _place(path, options)
        with self._lock:
            write_set, parts = self._reached(target)
            stage_bytes(write_set, (parts, path), view, resolve({**options, **_MET}))

    def remove(self, target: str) -> None:
        """Remove a file or a tree at once; what is staged there is no part of the transaction any more."""
        with self._lock:
            path = _real(target, _LINKS)
            write_set = self._staged_at(path)
            is_staged = write_set is not None and write_set.holds_below(path)
            if os.path.lexists(path) or not is_staged:
                names.remove(target, self._level)  # first: where it fails, what is staged stays staged
            if write_set is not None:
                write_set.drop_below(path)

    def move(self, source: str, target: str) -> None:
        """Rename at once, or in the transaction what is staged and not on the disk yet."""
        with self._lock:
            old, new = _real(source, _LINKS), _real(target, _LINKS)
            write_set = self._staged_at(old)
            if write_set is not None:
                write_set.reach(os.path.dirname(new))
                if self._rename_staged(write_set, (old, source), (new, target)):
                    return
            is_directory = stat.S_ISDIR(os.lstat(source).st_mode)
            names.move(source, target, self._level)
            if write_set is not None and is_directory:
                write_set.carry(parts_below(write_set.root.path, old), parts_below(write_set.root.path, new))
                return
            if write_set is not None:
                write_set.drop_below(old)
            if (replaced := self._staged_at(new)) is not None:
                replaced.drop_below(new)

    def _staged_at(self, path: str) -> MovingWriteSet | None:
        """The write set, its root above a path, if something may be staged there or below."""
        write_set = self._write_set
        if write_set is None:
            return None
        common = shared(write_set.root.path, path)
        if common == path:
            write_set.reach(os.path.dirname(path))
        return write_set if common in (path, write_set.root.path) else None

    def _reached(self, target: str) -> tuple[MovingWriteSet, Parts]:
        """The write set, and the components of a target from its root."""
        write_set = self._reaching(os.path.dirname(target))
        return write_set, parts_below(write_set.root.path, target)

    def _reaching(self, directory: str) -> MovingWriteSet:
        """The write set, with its root at or above a directory."""
        if self._write_set is None:
            self._write_set = MovingWriteSet(directory, resolve(self._options))
        self._write_set.reach(directory)
        return self._write_set

    def _rename_staged(self, write_set: MovingWriteSet, old: tuple[str, str], new: tuple[str, str]) -> bool:
        """Give a staged file another name. False: nothing is staged under the first."""
        parts = parts_below(write_set.root.path, old[0])
        file = write_set.files.get(parts)
        if file is None or file.staged is None:
            return False
        renamed = parts_below(write_set.root.path, new[0])
        moved = resolve({**self._options, **_MET})
        write_set.rename(parts, renamed, old[1], new[1], moved)
        return True

    def end(self, error: BaseException | None) -> None:
        """Commit, or with an exception throw everything away. Raises as `durably.Transaction` does."""
        self._is_open = False
        if _current.get() is self._mark:
            _current.set(None)
        if self._generation != fork.generation:
            if error is None:
                raise RuntimeError(
                    "a forked child cannot commit its parent's transaction; the parent still can"
                )
            return
        with self._lock:
            write_set, self._write_set = self._write_set, None
            if write_set is not None:
                try:
                    self._end(write_set, error)
                finally:
                    write_set.close()

    @staticmethod
    def _end(write_set: MovingWriteSet, error: BaseException | None) -> None:
        if error is not None:
            write_set.throw_away(error)
            return
        try:
            _commit_staged(write_set)
        except BaseException as failure:
            write_set.throw_away(failure)
            raise
        dropped = write_set.root.notes.skipped.get("remove")
        if dropped:
            _log.warning("the transaction is committed; of what it has staged is %s", dropped)

    def __del__(self) -> None:
        if self._is_open and self._write_set is not None and self._generation == fork.generation:
            self.end(RuntimeError())
            warnings.warn("an unfinished transaction was thrown away", ResourceWarning, stacklevel=2)


def _place(path: str, options: SaveOptions) -> str:
    """The path without links of a file that is written; its directory is made where it may be."""
    checked = resolve(options)  # before the disk is touched
    try:
        return _real(path, options)
    except FileNotFoundError:
        if not checked.make_parents:
            raise
    names.make_directories(os.path.dirname(path), checked.durability)
    return _real(path, options)


def _real(path: str, options: SaveOptions) -> str:
    """The path without links. A link at its end: what the option says of it."""
    directory, name = os.path.split(path)
    os.stat(directory)  # by the kernel, which refuses some links (proc(5), protected_symlinks)
    target = os.path.join(os.path.realpath(directory), name)
    if os.path.islink(target) and options.get("symlinks", "follow") != "replace":
        message = "is a symbolic link, and a transaction follows none; symlinks='replace' replaces it"
        raise OSError(errno.ELOOP, message, path)
    return target


def _commit_staged(write_set: MovingWriteSet) -> None:
    if write_set.writing:
        unfinished = ", ".join(sorted(write_set.root.full(parts) for parts in write_set.writing))
        message = f"still being written at the end of the transaction: {unfinished}"
        raise ValueError(f"{message}; no file was changed")
    operations = write_set.operations()
    if len(operations) > 1:
        commit(write_set.root, operations, write_set.flusher.flush, write_set.verify)
    elif operations:
        commit_one(write_set.root, operations[0], write_set.flusher.flush, write_set.verify)
    write_set.forget_published(operations)
