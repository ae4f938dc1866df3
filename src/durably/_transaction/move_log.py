"""The moves of a living transaction, and the file that tells of them after a crash."""

from __future__ import annotations

import errno

from durably._commit.pending import CLOSED, PendingFile
from durably._system import fork, temp_names
from durably._system.syscalls import write_all
from durably._transaction import moves as _moves
from durably._transaction import moves_back
from durably._transaction.moves import Move, known_by
from durably._transaction.redo_undo import found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._transaction.root import Parts, Root


class MoveLog:
    """What a transaction has moved so far. It has a file only once there is something in it."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.moves: list[Move] = []
        self.name: str | None = None
        """That of the file, in the root."""
        self._fd = CLOSED
        self._has_failed = False
        self._left: tuple[str, ...] = ()
        fork.register_group(self, self._close_after_fork)

    def move(self, old: Parts, new: Parts) -> None:
        """Rename something, to a name that is free, so that it is put back after a crash."""
        root = self.root
        source = root.walk(old[:-1])
        try:
            target = root.walk(new[:-1])
            try:
                there = root.routine.lookup(source, old[-1])
                self._note(Move(old, new, known_by(there, new[-1])))
                try:
                    root.entries.move(source, old[-1], target, new[-1], replace=False)
                except OSError:
                    if found(root, target, new[-1]) is None:
                        self.moves.pop()  # of the log's line nothing comes
                    raise
            finally:
                root.leave(target)
        finally:
            root.leave(source)

    def _note(self, move: Move) -> None:
        if self._has_failed:
            message = "the log of this transaction could not be written before; it was not moved"
            raise OSError(errno.EIO, message, self.root.full(move.old))
        self._has_failed = True  # unless all goes well: no second flush of what has failed once
        if self.name is None:
            self.name, self._fd = self._made(self.root, [])
            self.root.log = self.name
        self._write(self.root, self._fd, _moves.record(move))
        self.moves.append(move)
        self._has_failed = False

    def _made(self, root: Root, moves: list[Move]) -> tuple[str, int]:
        """A new log in a root, with these moves, on the disk."""
        root.check_trusted()
        name, fd = self._locked(root)
        try:
            self._write(root, fd, _moves.begin(root, moves))
            root.flush()
        except BaseException:
            self._throw_away(root, name, fd)
            raise
        return name, fd

    @staticmethod
    def _locked(root: Root) -> tuple[str, int]:
        while True:
            name = temp_names.fresh("u")
            fd = root.entries.create(root.directory, name)
            try:
                if root.entries.hold(fd):
                    return name, fd
                root.dismiss(fd)  # a recovery has come between, and removes it
            except BaseException:
                root.dismiss(fd)
                root.entries.unlink(root.directory, name)
                raise

    @staticmethod
    def _write(root: Root, fd: int, data: bytes) -> None:
        write_all(root.routine.calls, fd, memoryview(data))
        if root.flushes:
            save = PendingFile(root.path, root.notes.options)
            save.fd = fd
            root.routine.flush(save)

    @staticmethod
    def _throw_away(root: Root, name: str, fd: int) -> None:
        """Remove a log that means nothing any more."""
        root.dismiss(fd)
        try:
            root.entries.unlink(root.directory, name)
        except FileNotFoundError:
            pass  # by a recovery

    def move_up(self, root: Root, down: Parts) -> None:
        """Go to a root that is above, from which the present one is reached by ``down``."""
        moves = [Move((*down, *each.old), (*down, *each.new), each.known) for each in self.moves]
        if self.name is not None:
            # The new one is on the disk before the old one is over: after a crash either does.
            name, fd = self._made(root, moves)
            old = self.root, self.name, self._fd
            self.root, self.name, self._fd, self.moves = root, name, fd, moves
            root.log = name
            self._has_failed = True  # or, after a commit, it would have all put back
            try:
                self._write(root, old[2], _moves.line(_moves.OVER))
                self._has_failed = False
            finally:
                self._remove(*old)
        self.root, self.moves = root, moves

    # The end.

    def flush(self) -> None:
        """Bring all that was moved to the device, before it is committed."""
        if self._has_failed:
            message = "the log of what was moved could not be written; no file was changed"
            raise OSError(errno.EIO, message, self.root.path)
        _moves.flush(self.root, self.moves)

    def end(self) -> None:
        """The commit of a log that has a file: from here on nothing is put back."""
        size = self.root.routine.calls.fstat(self._fd).st_size
        try:
            self._write(self.root, self._fd, _moves.line(_moves.OVER))
        except BaseException:
            self.root.routine.calls.ftruncate(self._fd, size)
            raise
        self.root.log = None
        self._forget()

    def _forget(self) -> None:
        assert self.name is not None
        fd, self._fd = self._fd, CLOSED
        name, self.name, self.root.log = self.name, None, None
        self._remove(self.root, name, fd)

    def _remove(self, root: Root, name: str, fd: int) -> None:
        try:
            self._throw_away(root, name, fd)
        except OSError:
            self._left = (*self._left, root.full((name,)))

    def discard_asides(self) -> tuple[str, ...]:
        """Remove what was taken away. Returns the paths of what stays, the log's too."""
        return (*self._left, *self.root.discard(_moves.asides(self.moves)))

    def put_back(self) -> None:
        """Undo all moves. Raises OSError where that cannot be: then a recovery has to."""
        if self.name is not None and self.root.log is not None:
            moves_back.put_back(self.root, self.moves)
            self._forget()
            self.root.flush()

    def close(self) -> None:
        """Close the file. One that still stands is for a recovery."""
        fork.unregister_group(self)
        self._close_after_fork()

    def _close_after_fork(self) -> None:
        fd, self._fd = self._fd, CLOSED
        if fd != CLOSED:
            self.root.dismiss(fd)
