"""What a transaction does with names in open directories, on POSIX: by descriptor, following no link."""

from __future__ import annotations

import errno
import os
import stat

from durably._commit.directory_operations import DirectoryOperations, is_numbered
from durably._commit.pending import PendingFile
from durably._commit.posix import locks
from durably._commit.posix.flags import CREATE, DIRECTORY, NOFOLLOW, PRIVATE, READ
from durably._commit.posix.rename import NO_LINK
from durably._errors import UnsupportedError
from durably._system.native.darwin import RENAME_SWAP
from durably._system.native.linux import RENAME_EXCHANGE
from durably._types import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.linux.strategy import Linux
    from durably._commit.posix.strategy import Posix

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# renameat2(2) and renameatx_np(2): this file system has no exchange; this kernel has none.
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_OPTIONS = Options()


class PosixDirectoryOperations(DirectoryOperations):
    """Any POSIX system."""

    def __init__(self, routine: Posix) -> None:
        self.routine = routine
        self.calls = routine.calls

    def enter(self, directory: int, name: str) -> int:
        inner = self.calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=directory)
        if name == ".":
            return inner
        try:
            self._check_mount(directory, inner)
        except BaseException:
            self.calls.close(inner)
            raise
        return inner

    def _check_mount(self, directory: int, inner: int) -> None:
        if not self.routine.is_same_mount(directory, inner):
            raise UnsupportedError(errno.EXDEV, "lies on another mount than the root of the transaction")

    def check_name(self, name: str, path: str) -> None:
        pass

    def open(self, directory: int, name: str) -> int:
        return self.calls.open(name, READ, dir_fd=directory)

    def create(self, directory: int, name: str) -> int:
        return self.calls.open(name, CREATE, PRIVATE, dir_fd=directory)

    def make(self, directory: int, name: str) -> None:
        self.calls.mkdir(name, 0o777, dir_fd=directory)

    def move(self, old: int, name: str, new: int, as_name: str, *, replace: bool) -> None:
        if replace:
            self.calls.replace(name, as_name, src_dir_fd=old, dst_dir_fd=new)
            return
        save = PendingFile("", _OPTIONS)
        save.staging, save.temporary = old, name
        try:
            self.move_exclusively(save, new, as_name)
        except UnsupportedError:
            # A directory has no hard links. Renamed over one that somebody makes just now, it fails, or
            # takes the place of an empty one: rename(2).
            if not stat.S_ISDIR(self.calls.stat(name, dir_fd=old, follow_symlinks=False).st_mode):
                raise
            self._check_free(new, as_name)
            self.calls.replace(name, as_name, src_dir_fd=old, dst_dir_fd=new)

    def move_exclusively(self, save: PendingFile, directory: int, name: str) -> None:
        """Move the temporary of a save to a name that must not exist."""
        self.routine.move_exclusively(save, directory, name)

    def _check_free(self, directory: int, name: str) -> None:
        try:
            self.calls.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)

    def link(self, old: int, name: str, new: int, as_name: str) -> None:
        try:
            self.calls.link(name, as_name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            message = f"this file cannot be linked here ({error.strerror})"
            raise UnsupportedError(error.errno, message) from error

    def exchange(self, directory: int, one: str, other: str) -> None:
        raise UnsupportedError(errno.ENOTSUP, "two files cannot be exchanged on this system")

    def unlink(self, directory: int, name: str) -> None:
        self.calls.unlink(name, dir_fd=directory)

    def open_lock(self, directory: int) -> int:
        # A descriptor of its own: the lock belongs to what was opened, and ends when that is closed.
        return self.calls.open(".", DIRECTORY, dir_fd=directory)

    def take(self, lock: int) -> None:
        try:
            locks.lock_exclusive(self.calls, lock)
        except OSError as error:
            message = f"the root of a transaction cannot be locked here ({error.strerror})"
            raise UnsupportedError(error.errno or errno.ENOTSUP, message) from error

    def unlock(self, lock: int) -> None:
        locks.unlock_exclusive(self.calls, lock)

    def close_after_fork(self, handles: list[int]) -> None:
        for handle in handles:
            try:
                self.calls.close(handle)
            except OSError:
                pass  # closed by now

    def untrusted_reason(self, directory: int, journal: str | None) -> str:
        root = self.calls.fstat(directory)
        if root.st_mode & _OTHERS_WRITE:
            return "its group or everybody may write in it, and what lies there cannot be trusted"
        if journal is not None:
            found = self.calls.stat(journal, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or found.st_mode & _OTHERS_WRITE:
                return "its journal is no plain file, or others may write to it"
            if found.st_uid not in (self.calls.geteuid(), root.st_uid):
                return (
                    f"its journal belongs to user {found.st_uid}, neither you nor the owner of the directory"
                )
        return ""

    def has_stable_inodes(self, directory: int) -> bool:
        return is_numbered(self.routine.file_system(directory).kind)


class LinuxDirectoryOperations(PosixDirectoryOperations):
    """Linux."""

    routine: Linux
    _excludes: bool | None = None

    def move_exclusively(self, save: PendingFile, directory: int, name: str) -> None:
        if self._excludes is None:
            self._excludes = self.routine.excludes(directory)  # as all that lies on this mount
        if self._excludes:
            self.routine.rename_exclusively(save, directory, name)
        else:
            super().move_exclusively(save, directory, name)

    def exchange(self, directory: int, one: str, other: str) -> None:
        try:
            self.calls.renameat2(directory, one, directory, other, RENAME_EXCHANGE)
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
            raise _no_exchange(error) from error


class MacOSDirectoryOperations(PosixDirectoryOperations):
    """macOS."""

    def exchange(self, directory: int, one: str, other: str) -> None:
        try:
            self.calls.renameatx_np(directory, one, directory, other, RENAME_SWAP)
        except OSError as error:
            if error.errno not in _NO_EXCHANGE:
                raise
            raise _no_exchange(error) from error


def _no_exchange(error: OSError) -> UnsupportedError:
    return UnsupportedError(errno.ENOTSUP, f"two files cannot be exchanged here ({error.strerror})")
