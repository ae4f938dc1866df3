"""Removing on POSIX: what a save has made, when it is given up, and what others left behind."""

from __future__ import annotations

import errno
import stat

from durably._commit.pending import CLOSED
from durably._commit.posix.flags import DIRECTORY, NOFOLLOW
from durably._system import temp_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingFile
    from durably._commit.posix.strategy import Posix

NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST}  # rmdir(2): both are allowed
# unlink(2) of a directory: Linux; POSIX.
_DIRECTORY_UNLINKED = {errno.EISDIR, errno.EPERM}
_DEEPEST = 64
_ATTEMPTS = 20


def remove(routine: Posix, save: PendingFile) -> None:
    """Close and remove the temporary, and what was made on the way if nothing was published there."""
    fd, save.fd = save.fd, CLOSED
    if fd != CLOSED:
        try:
            routine.calls.close(fd)
        except OSError:
            pass  # the file is thrown away
    try:
        _remove_staged(routine, save)
    finally:
        if not save.published:
            _remove_made(routine, save)


def _remove_staged(routine: Posix, save: PendingFile) -> None:
    """Remove the temporary under every name that it may have, and the private directory."""
    try:
        unlink_staged(routine, save, save.second)
        save.second = None
    finally:
        unlink_staged(routine, save, save.temporary)
        save.temporary = None
    if save.private is not None:
        routine.remove_entry(save.directory, save.private)
        save.private = None


def unlink_staged(routine: Posix, save: PendingFile, name: str | None) -> None:
    """Remove a name of the temporary, if it is there."""
    if name is not None:
        try:
            routine.calls.unlink(name, dir_fd=save.staging)
        except FileNotFoundError:
            pass
        except OSError:
            # A read-only mount refuses before it looks whether there is such a name.
            if _is_there(routine, save.staging, name):
                raise


def _is_there(routine: Posix, directory: int, name: str) -> bool:
    try:
        routine.lookup(directory, name)
    except FileNotFoundError:
        return False
    except OSError:
        pass  # perhaps
    return True


def _remove_made(routine: Posix, save: PendingFile) -> None:
    """Remove the directories that were made on the way, as far as they are empty."""
    for parent, name in reversed(save.made):
        if name:
            try:
                routine.calls.rmdir(name, dir_fd=parent)
            except FileNotFoundError:
                continue  # its making failed
            except OSError:
                return  # in use by others by now


def remove_entry(routine: Posix, directory: int, name: str) -> None:
    """Remove a file, or a directory with all that is in it, by descriptor. Never crosses a mount.

    A tree that a file system is mounted in is left whole, with OSError EBUSY. Depth is no limit, and
    what others still write into it is removed as well, unless they are faster for long.
    """
    calls = routine.calls
    try:
        status = calls.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        calls.unlink(name, dir_fd=directory)
        return
    try:
        calls.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in NOT_EMPTY:
            raise
        mounted = routine.mounts_in(directory, name)
        if mounted:
            message = f"another file system is mounted in it, at {mounted[0]}"
            raise OSError(errno.EBUSY, message, name) from error
        remover = _Remover(routine, directory)
        remover.remove(directory, name, 0)
        while remover.moved:
            remover.remove(directory, remover.moved.pop(), 0)


class _Remover:
    """Removes directories that are not empty; ``top`` is the directory that the first one lies in."""

    def __init__(self, routine: Posix, top: int) -> None:
        self.routine = routine
        self.top = top
        self.moved: list[str] = []
        """Directories that were too deep, and lie in ``top`` now."""

    def remove(self, parent: int, name: str, depth: int) -> None:
        calls = self.routine.calls
        if depth > _DEEPEST:
            # Neither the stack nor the descriptors suffice for every depth: go on from above.
            above = temp_names.fresh("d")
            self.moved.append(above)
            calls.replace(name, above, src_dir_fd=parent, dst_dir_fd=self.top)
            return
        attempt = 0
        while True:
            self._empty(parent, name, depth)
            try:
                calls.rmdir(name, dir_fd=parent)
            except OSError as error:
                attempt += 1
                if error.errno not in NOT_EMPTY or attempt == _ATTEMPTS:
                    raise
            else:
                return

    def _empty(self, parent: int, name: str, depth: int) -> None:
        calls = self.routine.calls
        directory = self._open(parent, name)
        try:
            if not self.routine.is_same_mount(parent, directory):
                raise OSError(errno.EBUSY, "another file system is mounted in it", name)
            for entry in calls.listdir(directory):
                self._remove_entry(directory, entry, depth)
        finally:
            calls.close(directory)

    def _remove_entry(self, directory: int, name: str, depth: int) -> None:
        calls = self.routine.calls
        try:
            calls.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in _DIRECTORY_UNLINKED or not self._is_directory(directory, name):
                raise
            self.remove(directory, name, depth + 1)

    def _is_directory(self, directory: int, name: str) -> bool:
        return stat.S_ISDIR(self.routine.lookup(directory, name).st_mode)

    def _open(self, parent: int, name: str) -> int:
        """Open a directory, with the right to look into it and to change it, if that is ours to give."""
        calls = self.routine.calls
        try:
            directory = calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=parent)
        except PermissionError:
            self.routine.permit(parent, name)
            directory = calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=parent)
        try:
            if calls.fstat(directory).st_mode & stat.S_IRWXU != stat.S_IRWXU:
                calls.fchmod(directory, stat.S_IRWXU)
        except PermissionError:
            pass  # another user's: whether its entries may be removed is seen by doing it
        except BaseException:
            calls.close(directory)
            raise
        return directory
