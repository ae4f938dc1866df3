"""The root of a transaction: held open, walked without following links, locked while it is changed."""

from __future__ import annotations

import errno
import os

from durably._commit.pending import PendingFile
from durably._errors import RecoveryNeededError, UnsupportedError, note_leftovers, set_error_path
from durably._system import fork
from durably._types import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Protocol, TypeVar

    from durably._commit.directory_operations import DirectoryOperations
    from durably._commit.strategy import Routine
    from durably._types import Options

    class Lying(Protocol):
        """What lies in a directory below the root."""

        @property
        def where(self) -> Parts: ...

    Parts = tuple[str, ...]
    T = TypeVar("T", bound=Lying)


_CHUNK = 1 << 20


class Root:
    """An open directory, and everything that is opened below it."""

    def __init__(self, routine: Routine, path: str, options: Options) -> None:
        self.routine = routine
        self.entries: DirectoryOperations = routine.directory_operations()
        self.path = path
        self.notes: PendingFile = PendingFile(path, options)
        """The steps, and what was left out. It stands in for the directory that is flushed."""
        self.directory: Any = None
        self.lock: Any = None
        self.journaled = False
        """Whether a journal of ours may stand in it."""
        self.unfinished = False
        """Whether a commit has left its journal."""
        self._visited: Any = None
        fork.register_group(self, self._close_after_fork)
        try:
            self.directory = routine.open_directory(path)
            self._check_numbers()
        except BaseException:
            self.close()
            raise

    def _check_numbers(self) -> None:
        if not self.entries.has_stable_inodes(self.directory):
            kind = self.routine.file_system(self.directory).kind
            message = f"files have no lasting numbers on {kind}, so that no transaction could be recovered"
            raise UnsupportedError(errno.ENOTSUP, message, self.path)

    @property
    def flushes(self) -> bool:
        """Whether what is done is to survive a power cut."""
        return self.notes.options.durability is not NONE

    def check_trusted(self, journal: str | None = None) -> None:
        """Raise where somebody else could have laid what would be acted on."""
        reason = self.entries.untrusted_reason(self.directory, journal)
        if not reason:
            return
        if journal is None:
            message = f"no transaction can be recovered there: {reason}; nothing was changed"
            raise UnsupportedError(errno.EPERM, message, self.path)
        message = (
            f"an unfinished transaction was left alone: {reason}; nothing was changed. If nobody else has "
            f"laid {self.full((journal,))}, mend its owner and the permissions and recover; otherwise look "
            "at the files, then remove it and sweep"
        )
        raise RecoveryNeededError(errno.EPERM, message, self.path)

    # Locks.

    def exclude(self) -> None:
        """Wait until no other transaction changes the root, and keep it so."""
        try:
            self.lock = self.entries.open_lock(self.directory)
            self.entries.take(self.lock)
        except OSError as error:
            set_error_path(error, self.path)
            raise

    def admit(self) -> None:
        """Let others in again."""
        lock, self.lock = self.lock, None
        if lock is not None:
            try:
                self.entries.unlock(lock)
            except OSError:
                pass  # closed, and with it gone

    # What lies in it.

    def content(self, name: str) -> bytes:
        """The content of a file in the root itself."""
        fd = self.entries.open(self.directory, name)
        try:
            chunks: list[bytes] = []
            while chunk := self.routine.calls.read(fd, _CHUNK):
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            self.dismiss(fd)

    # Directories.

    def walk(self, where: Parts) -> Any:
        """Open a directory below the root; the caller closes it."""
        if not where:
            return self._again()
        directory = self.directory
        for number, name in enumerate(where):
            above = directory
            try:
                directory = self.entries.enter(above, name)
            except OSError as error:
                set_error_path(error, self.full(where[: number + 1]))
                raise
            finally:
                if above is not self.directory:
                    self.leave(above)
        return directory

    def _again(self) -> Any:
        try:
            return self.routine.keep_directory(self.directory)
        except OSError as error:
            set_error_path(error, self.path)
            raise

    def leave(self, directory: Any) -> None:
        """Close a directory."""
        try:
            self.routine.close_directory(directory)
        except OSError:
            pass  # it was only looked at

    def dismiss(self, fd: int) -> None:
        """Close a file."""
        try:
            self.routine.calls.close(fd)
        except OSError:
            pass  # it was only read

    def visit(self, those: Iterable[T]) -> Iterator[tuple[Any, T]]:
        """Each of those with its open directory; those of one directory should stand together."""
        last: Parts | None = None
        try:
            for each in those:
                if each.where != last:
                    self._leave()
                    self._visited = self.walk(each.where)
                    last = each.where
                yield self._visited, each
        finally:
            self._leave()

    def _leave(self) -> None:
        visited, self._visited = self._visited, None
        if visited is not None:
            self.leave(visited)

    def full(self, parts: Parts) -> str:
        """A path for messages."""
        return os.path.join(self.path, *parts)

    def set_error_path(self, error: BaseException, parts: Parts = ()) -> None:
        """Have an error name the target, or the root: not a temporary, or a name without its directory."""
        named = getattr(error, "filename", None)
        if isinstance(error, OSError) and not (isinstance(named, str) and os.path.isabs(named)):
            set_error_path(error, self.full(parts))

    def _remove(self, directory: Any, name: str) -> None:
        try:
            self.entries.unlink(directory, name)
        except FileNotFoundError:
            pass
        except OSError:
            # A tree; on Windows perhaps a file that is read-only.
            self.routine.remove_entry(directory, name)

    def discard(self, names: Iterable[tuple[Parts, str | None]]) -> tuple[str, ...]:
        """Remove temporaries, each a directory and a name. Returns the paths of those that stay."""
        listed = list(names)
        try:
            return self._discard(listed)
        except BaseException as interrupt:
            left = self._discard(listed)  # once more, from where it broke off
            if left:
                note_leftovers(interrupt, left)
            raise

    def _discard(self, names: list[tuple[Parts, str | None]]) -> tuple[str, ...]:
        left: list[str] = []
        last: Parts | None = None
        directory = None
        try:
            for where, name in names:
                if name is None:
                    continue
                try:
                    if where != last:
                        left_behind, directory, last = directory, None, None
                        if left_behind is not None:
                            self.leave(left_behind)
                        directory, last = self.walk(where), where
                    self._remove(directory, name)
                except FileNotFoundError:
                    pass
                except OSError:
                    left.append(self.full((*where, name)))
        finally:
            if directory is not None:
                self.leave(directory)
        return tuple(left)

    # Flushes.

    def fsync_directories(self, all_of_them: Iterable[Parts]) -> None:
        """Bring the names in these directories to the device."""
        if self.flushes:
            for where in all_of_them:
                directory = self.walk(where)
                try:
                    self._flush(directory)
                finally:
                    self.leave(directory)

    def flush(self) -> None:
        """Bring the names in the root itself to the device."""
        if self.flushes:
            self._flush(self.directory)

    def _flush(self, directory: Any) -> None:
        notes = self.notes
        done = len(notes.steps)
        notes.directory = directory
        try:
            self.routine.fsync_directory(notes)
        finally:
            notes.directory = None
        del notes.steps[done:]

    # The end.

    def close(self) -> None:
        """Close everything, the lock last."""
        fork.unregister_group(self)
        directory, self.directory = self.directory, None
        try:
            self._leave()
            if directory is not None:
                self.leave(directory)
        finally:
            self.admit()

    def _close_after_fork(self) -> None:
        handles = [self.directory, self.lock, self._visited]
        self.directory = self.lock = self._visited = None
        self.entries.close_after_fork([handle for handle in handles if handle is not None])
