"""Flushing the staged files of a transaction."""

from __future__ import annotations

from durably._batch.flush_group import EARLY, OPEN_FILES, FlushGroup
from durably._commit.pending import CLOSED, PendingFile
from durably._system import fork
from durably._types import LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._transaction.root import Root


class Flusher:
    """The files that were written, and not flushed yet."""

    def __init__(self, root: Root) -> None:
        self.root: Root = root
        self._disk: FlushGroup | None = None
        self._open: list[int] = []
        self._failure: OSError | None = None
        """Why nothing can be committed any more: what was lost is not told a second time (fsync(2))."""
        fork.register_group(self, self.discard)

    def add(self, save: PendingFile, size: int) -> None:
        """Take the descriptor of a file that is written. An error is that of this file, or of one before."""
        self._check()
        routine = self.root.routine
        if not self.root.flushes:
            routine.close_staged(save)
            return
        disk = self._disk or self._first()
        disk.files += 1
        disk.size += size
        if size >= EARLY:
            routine.start_flush(save.fd)
        fd, save.fd = save.fd, CLOSED
        if disk.shared:
            routine.calls.close(fd)
            return
        self._open.append(fd)
        if len(self._open) >= OPEN_FILES:
            self._relieve(disk)

    def _first(self) -> FlushGroup:
        """The root was opened before the first write, and is told of every error since."""
        root = self.root
        self._disk = FlushGroup(root.directory if root.routine.common_flush(root.directory) else None)
        return self._disk

    def _relieve(self, disk: FlushGroup) -> None:
        """Close files, so that others can be opened."""
        try:
            if disk.shares(self.root.routine):
                self._close()
            else:
                self._flush_each()
        except OSError as error:
            self._failure = error
            raise

    def _check(self) -> None:
        if self._failure is not None:
            message = f"an earlier flush failed ({self._failure.strerror}), and what it lost is not known"
            raise OSError(self._failure.errno, f"{message}; no file was changed", self.root.path)

    def flush(self) -> bool:
        """Bring everything to the device. True: all names as well. An error is final."""
        self._check()
        disk, routine = self._disk, self.root.routine
        if disk is None or not disk.shares(routine):
            self._flush_each()
            return False
        self._close()
        routine.flush_all(disk.witness)
        self.root.notes.steps.append("syncfs")
        return True

    def _flush_each(self) -> None:
        routine, notes = self.root.routine, self.root.notes
        for fd in self._open:
            routine.start_flush(fd)  # the disk is to have all before the first is waited for
        for fd in self._open:
            save = PendingFile(self.root.path, notes.options)
            save.fd = fd
            routine.flush(save)
            notes.limit = min(notes.limit, save.limit, key=LEVELS.index)
            notes.skipped.update(save.skipped)
            if save.steps[-1] not in notes.steps:
                notes.steps.append(save.steps[-1])
        self._close()

    def _close(self) -> None:
        """Close what is open, and raise the errors that only close(2) reports, on network mounts."""
        while self._open:
            fd = self._open[-1]
            del self._open[-1]
            self.root.routine.calls.close(fd)

    def discard(self) -> None:
        """Close what is open; the files are thrown away, or those of the parent of a forked child."""
        fork.unregister_group(self)
        while self._open:
            try:
                self._close()
            except OSError:
                pass  # the file is thrown away
