"""Flushing many staged files: by one flush of the file system where that is proof, else each by itself."""

from __future__ import annotations

from durably import _forks
from durably._options import LEVELS
from durably._save import CLOSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._save import Save
    from durably._txn._root import Root

_OPEN_FILES = 64
"""Files that stay open until they are flushed, each by its own descriptor: the one that wrote it."""
_WORTHWHILE = 16
"""Files from which on one flush of the file system is faster than one for each."""

_EARLY = 256 << 10
"""Bytes from which on a file is written out before the flush."""


class Flusher:
    """The files that were written, and not flushed yet."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self._shares: bool | None = None
        self._open: list[Save] = []
        self._files = 0
        self._size = 0
        self._waits = False
        _forks.watch_many(self, self.discard)

    def add(self, save: Save, size: int) -> None:
        """Take the descriptor of a file that is written. An error is that of this file."""
        self._files += 1
        self._size += size
        if not self.root.flushes:
            self.root.routine.close_staged(save)
            return
        if self._shares is None:
            # The root was opened before the first write, and is told of every error since.
            self._shares = bool(self.root.routine.common_flush(self.root.directory))
        taken = type(save)(save.path, save.options)
        taken.skipped = save.skipped
        taken.fd, save.fd = save.fd, CLOSED
        if size >= _EARLY:
            self.root.routine.start_flush(taken.fd)
        self._open.append(taken)
        if len(self._open) >= _OPEN_FILES:
            self._relieve()

    def _relieve(self) -> None:
        """Close files, so that others can be opened."""
        if not (self._waits or self._is_worthwhile()):
            self._flush_each()
            return
        self._waits = True
        self._close()

    def _is_worthwhile(self) -> bool:
        enough = self._shares is True and self._files >= _WORTHWHILE
        return enough and self.root.routine.is_quiet(self._files, self._size)

    def flush(self) -> bool:
        """Bring everything to the device. True: all names as well. An error is final."""
        together = self._waits or (self.root.flushes and self._is_worthwhile())
        if together:
            self._close()
            self.root.routine.flush_all(self.root.directory)
            self.root.notes.steps.append("syncfs")
        else:
            self._flush_each()
        return together

    def _flush_each(self) -> None:
        routine, notes = self.root.routine, self.root.notes
        for save in self._open:
            routine.start_flush(save.fd)  # the disk is to have all before the first is waited for
        for save in self._open:
            routine.flush(save)
            notes.limit = min(notes.limit, save.limit, key=LEVELS.index)
            notes.skipped.update(save.skipped)
            if save.steps[-1] not in notes.steps:
                notes.steps.append(save.steps[-1])
        self._close()

    def _close(self) -> None:
        """Close what is open, and raise the errors that only close(2) reports, on network mounts."""
        while self._open:
            save = self._open[-1]
            fd, save.fd = save.fd, CLOSED
            del self._open[-1]
            self.root.routine.calls.close(fd)

    def discard(self) -> None:
        """Close what is open; the files are thrown away, or those of the parent of a forked child."""
        _forks.forget_many(self)
        while self._open:
            save = self._open.pop()
            self.root.routine.release(save)
