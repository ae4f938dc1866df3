"""What ``with fs.transaction:`` does: stage beside the targets, and commit as `durably.Transaction` does.

A `durably.Transaction` has a root, and fsspec's has none: it is found while files are staged, as the
directory that is common to all of them, and is locked and journaled at the commit alone.
"""

from __future__ import annotations

import errno
import os
import threading
import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from fsspec.transaction import Transaction  # pyright: ignore[reportMissingTypeStubs]

from durably import _commit, _forks
from durably._errors import UnsupportedError
from durably._modes import parsed, with_action
from durably._options import Options, resolve
from durably._saving import note_leftovers
from durably._transaction_writer import TransactionWriter
from durably._txn._course import commit, commit_one
from durably._txn._names_below import parts_below, split
from durably._txn._root import Root
from durably._txn._staging import Staging

if TYPE_CHECKING:
    from durably._options import SaveOptions
    from durably._txn._root import Parts
    from durably._txn._staging import Expected, StagedSave

# What current_thread() gives for a thread that Python did not start.
_FOREIGN = threading._DummyThread  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
_current: ContextVar[object] = ContextVar("durably_filesystem_transaction", default=None)


class MovingStaging(Staging):
    """A staging whose root moves up when a target does not lie below it."""

    def __init__(self, path: str, options: Options) -> None:
        super().__init__(Root(_commit.routine(), path, options))
        self._options = options
        self._anchor = self.root
        """Opened before the first write, and so a witness of what fails; see Flusher."""
        self._saves: list[StagedSave] = []

    def begin(
        self, parts: Parts, path: str, options: Options, expected: Expected, *, private: bool = False
    ) -> StagedSave:
        save = super().begin(parts, path, options, expected, private=private)
        self._saves.append(save)
        return save

    def finish(self, save: StagedSave, size: int, expected: Expected) -> None:
        super().finish(save, size, expected)
        self._saves.remove(save)

    def abandon(self, save: StagedSave, error: BaseException) -> None:
        super().abandon(save, error)
        if save in self._saves:
            self._saves.remove(save)

    def reach(self, directory: str) -> None:
        """Have the root at or above a directory."""
        try:
            common = os.path.commonpath([self.root.path, directory])
        except ValueError:  # two drives
            common = ""
        if common == self.root.path:
            return
        if not common or os.stat(common).st_dev != os.stat(self._anchor.path).st_dev:
            message = (
                f"lies on another file system than {self._anchor.path}: one transaction cannot have both"
            )
            raise UnsupportedError(errno.EXDEV, f"{message}; nothing was written", directory)
        root = Root(self.root.routine, common, self._options)
        self._move(split(os.path.relpath(self.root.path, common)))
        if self.root is not self._anchor:
            self.root.close()
        self.root = root

    def _move(self, down: Parts) -> None:
        self.files = {(*down, *parts): file for parts, file in self.files.items()}
        self.met = {(*down, *parts): known for parts, known in self.met.items()}
        self.writing = {(*down, *parts) for parts in self.writing}
        for save in self._saves:
            save.parts = (*down, *save.parts)

    def drop_below(self, path: str) -> bool:
        """Forget what is staged at a path, or below it: it is removed, or something else comes there."""
        found = False
        if os.path.commonpath([self.root.path, path]) != self.root.path:
            return False
        above = split(os.path.relpath(path, self.root.path)) if path != self.root.path else ()
        for parts in [each for each in self.met if each[: len(above)] == above]:
            del self.met[parts]
            file = self.files.pop(parts, None)
            if file is not None and file.staged is not None:
                found = True
                try:
                    self.root.routine.calls.unlink(os.path.join(self.root.path, *parts[:-1], file.staged))
                except FileNotFoundError:
                    pass  # removed with the directory
        return found

    def close(self) -> None:
        """Close the roots."""
        self.flusher.discard()
        if self.root is not self._anchor:
            self.root.close()
        self._anchor.close()


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
        self._token = _current.set(self)
        self._is_open = True

    def takes(self) -> bool:
        """Whether a write that is made here and now is a part of it.

        It is from the context that started the transaction, and from a thread that is not Python's:
        clients such as Arrow and duckdb write in threads of their own. Others write for themselves.
        """
        if not self._is_open or self._generation != _forks.generation:
            return False
        return _current.get() is self or isinstance(threading.current_thread(), _FOREIGN)

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

    def drop_below(self, path: str) -> bool:
        """Forget what is staged at or below a path that is about to be removed or replaced."""
        with self._lock:
            return self._staging is not None and self._staging.drop_below(os.path.realpath(path))

    def move(self, source: str, target: str, options: SaveOptions) -> bool:
        """Give a staged file another name. False: nothing is staged under the first."""
        with self._lock:
            staging = self._staging
            if staging is None or os.path.commonpath([staging.root.path, source]) != staging.root.path:
                return False
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
        if not self._is_open:
            return
        self._is_open = False
        if _current.get() is self:
            _current.set(None)
        if self._generation != _forks.generation:
            if error is None:
                raise RuntimeError(
                    "a forked child cannot commit its parent's transaction; the parent still can"
                )
            return
        with self._lock:
            staging, self._staging = self._staging, None
            if staging is None:
                return
            try:
                if error is None:
                    _commit_staged(staging)
                else:
                    _throw_away(staging, error)
            except BaseException as failure:
                _throw_away(staging, failure)
                raise
            finally:
                staging.close()

    def __del__(self) -> None:
        if self._is_open and self._staging is not None and self._generation == _forks.generation:
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
        raise ValueError(f"still being written at the end of the transaction: {names}; no file was changed")
    operations = staging.operations()
    if len(operations) > 1:
        commit(staging.root, operations, staging.flusher.flush, staging.verify)
    elif operations:
        commit_one(staging.root, operations[0], staging.flusher.flush, staging.verify)
    staging.settle(operations)


def _throw_away(staging: MovingStaging, error: BaseException) -> None:
    if not staging.root.unfinished:
        left = staging.discard()
        if left:
            note_leftovers(error, left, "could not be removed")


class DurableTransaction(Transaction):  # type: ignore[misc]
    """Several files, all or none, also across a crash: ``with fs.transaction: ...``

    What is written is staged beside its target and seen by nobody, the block included, until the block
    ends; but a file that is opened again goes on from what is staged. An exception throws everything
    away. A file whose own block failed is no part of it. What makes directories, moves or removes acts
    at once, and stays. The commit raises what that of a `durably.Transaction` does, whose root is the
    directory that all files have in common; if it was broken off, `DurableFileSystem.recover` finishes
    or undoes it.

    A write is a part of the transaction if it comes from where the block was entered, or from a thread
    that Python did not start (Arrow, duckdb); other threads write for themselves, and so does a forked
    child. One transaction of a file system is open at a time: ValueError.
    """

    fs: Any
    core: TransactionCore | None = None

    def taker(self) -> TransactionCore | None:
        """What takes a write that is made here and now; None: it is not a part of this transaction."""
        return self.core if self.core is not None and self.core.takes() else None

    def start(self) -> None:
        """Begin. ValueError, and nothing changes, if one is under way."""
        if self.core is not None:
            raise ValueError("a transaction of this file system is under way; they cannot be nested")
        self.core = TransactionCore(self.fs.saves)
        super().start()

    def complete(self, commit: bool = True) -> None:  # fsspec's
        """End: commit, or throw everything away."""
        self._end(None if commit else RuntimeError("the transaction was given up"))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        core, self.core = self.core, None
        fs, self.fs = self.fs, None
        if fs is not None:  # ended for good
            fs._intrans, fs._transaction = False, None  # noqa: SLF001
        if core is not None:
            core.end(error)
