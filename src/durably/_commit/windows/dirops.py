"""What a transaction does with names in directories on Windows: by absolute paths, following no link."""

from __future__ import annotations

import errno
import os
import stat

from durably._commit.directory_operations import DirectoryOperations, is_numbered
from durably._commit.windows.handles import TAKEN, code
from durably._commit.windows.paths import split
from durably._errors import UnsupportedError
from durably._system import temp_names
from durably._system.native import win32 as win

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from durably._commit.windows.strategy import Windows

_PAUSE = 0.01
# Somebody holds the lock; it is going away at this moment.
_LOCKED = {win.ERROR_SHARING_VIOLATION, win.ERROR_ACCESS_DENIED}
# CreateHardLinkW: FAT and exFAT have no links; a file has 1,023 at most; another volume.
_NO_LINK = {errno.EINVAL, errno.EMLINK, errno.EPERM, errno.ENOSYS, errno.EXDEV}


class WindowsDirectoryOperations(DirectoryOperations):
    """Windows."""

    def __init__(self, routine: Windows) -> None:
        self.routine = routine
        self.calls = routine.calls
        self.files = routine.files

    def enter(self, directory: str, name: str) -> str:
        if name in (".", ".."):
            return directory if name == "." else os.path.dirname(directory)
        path = os.path.join(directory, name)
        attributes = self.calls.get_file_attributes(path)
        if attributes & win.FILE_ATTRIBUTE_REPARSE_POINT:
            raise OSError(errno.ELOOP, "is a link or a mount point, and is not followed", path)
        if not attributes & win.FILE_ATTRIBUTE_DIRECTORY:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return path

    def check_name(self, name: str, path: str) -> None:
        split(name)

    def open(self, directory: str, name: str) -> int:
        path = os.path.join(directory, name)
        if stat.S_ISLNK(self.calls.stat(path, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "is a link, and is not followed", path)
        return self.files.open(path, win.GENERIC_READ)

    def create(self, directory: str, name: str) -> int:
        return self.files.create(os.path.join(directory, name), win.FILE_ATTRIBUTE_NORMAL, None)

    def make(self, directory: str, name: str) -> None:
        self.calls.mkdir(os.path.join(directory, name), 0o777)

    def move(self, old: str, name: str, new: str, as_name: str, *, replace: bool) -> None:
        source, target = os.path.join(old, name), os.path.join(new, as_name)
        try:
            self.files.retry_sharing_violation(lambda: self._move(source, target, replace=replace))
        except OSError as error:
            if code(error) not in TAKEN:
                raise
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error

    def _move(self, source: str, target: str, *, replace: bool) -> None:
        if self.calls.get_file_attributes(source) & win.FILE_ATTRIBUTE_DIRECTORY:
            self.calls.move_file(source, target, win.MOVEFILE_WRITE_THROUGH)
            return
        fd = self.files.open(source)
        try:
            self.files.rename(fd, source, target, replace=replace)
        finally:
            try:
                self.calls.close(fd)
            except OSError:
                pass  # it was only renamed

    def link(self, old: str, name: str, new: str, as_name: str) -> None:
        try:
            self.calls.link(os.path.join(old, name), os.path.join(new, as_name))
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            message = f"this file cannot be linked here ({error.strerror})"
            raise UnsupportedError(error.errno, message) from error

    def exchange(self, directory: str, one: str, other: str) -> None:
        raise UnsupportedError(errno.ENOTSUP, "two files cannot be exchanged on Windows")

    def unlink(self, directory: str, name: str) -> None:
        self.files.retry_sharing_violation(lambda: self.calls.unlink(os.path.join(directory, name)))

    def open_lock(self, directory: str) -> int:
        # A directory cannot be locked here: a file that nobody else can open, and that goes with its handle.
        path = os.path.join(directory, temp_names.LOCK)
        access = win.GENERIC_READ | win.DELETE
        flags = win.FILE_ATTRIBUTE_HIDDEN | win.FILE_FLAG_DELETE_ON_CLOSE
        while True:
            try:
                return self.calls.create_file(path, access, 0, win.OPEN_ALWAYS, flags)
            except OSError as error:
                if code(error) not in _LOCKED or self._is_forbidden(path, error):
                    raise
            self.calls.sleep(_PAUSE)

    def _is_forbidden(self, path: str, error: OSError) -> bool:
        """Whether "access denied" is not the lock of another, which can always be looked at."""
        if code(error) != win.ERROR_ACCESS_DENIED:
            return False
        try:
            self.calls.get_file_attributes(path)
        except FileNotFoundError:
            return True
        except OSError:
            return False  # it is on its way out
        return False

    def take(self, lock: int) -> None:
        pass  # it is locked as soon as it is open

    def unlock(self, lock: int) -> None:
        self.calls.close_handle(lock)

    def close_after_fork(self, handles: list[Any]) -> None:
        pass  # Windows has no fork

    def untrusted_reason(self, directory: str, journal: str | None) -> str:
        return ""  # no modes and no user numbers: who may write here is for the access list to say

    def has_stable_inodes(self, directory: str) -> bool:
        return is_numbered(self.routine.file_system(directory).kind)
