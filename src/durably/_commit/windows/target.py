"""Finding a target on Windows: by absolute paths, since Windows opens nothing relative to a directory."""

from __future__ import annotations

import errno
import os
import stat

from durably._commit.posix.target import exists, is_followed
from durably._commit.windows.paths import split
from durably._errors import UnsupportedError
from durably._system.native import win32 as win

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingFile
    from durably._system.syscalls import Syscalls


def target(save: PendingFile) -> str:
    """The path of the target, links followed."""
    return os.path.join(save.directory, save.name)


def staged(save: PendingFile) -> str:
    """The path of the temporary."""
    assert save.temporary is not None
    return os.path.join(save.staging, save.temporary)


def examine(calls: Syscalls, save: PendingFile) -> int:
    """Find the old file. Returns the attributes of what is to be replaced, or 0."""
    found = look(calls, save)
    while found is not None and stat.S_ISLNK(found.st_mode) and _follow(calls, save):
        found = look(calls, save)
    if found is None:
        return 0
    if not save.options.overwrite:
        raise exists(save)
    _check_kind(save, found)
    attributes = calls.get_file_attributes(target(save))
    check_attributes(save, attributes)
    if not stat.S_ISLNK(found.st_mode):
        save.replaces(found)
    return attributes


def look(calls: Syscalls, save: PendingFile) -> os.stat_result | None:
    """The status of the target, or of the link that it is; None if there is none."""
    try:
        return calls.stat(target(save), follow_symlinks=False)
    except FileNotFoundError:
        return None


def check_attributes(save: PendingFile, attributes: int) -> None:
    """Refuse what Windows never lets a rename replace."""
    if attributes & win.FILE_ATTRIBUTE_DIRECTORY:
        raise _is_directory(save)
    if attributes & win.FILE_ATTRIBUTE_READONLY:
        message = "is read-only, and Windows does not replace such a file; it was not changed"
        raise PermissionError(errno.EACCES, message, save.path)


def _check_kind(save: PendingFile, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise _is_directory(save)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        raise UnsupportedError(errno.ENOTSUP, "is not a regular file; nothing was written", save.path)


def _is_directory(save: PendingFile) -> IsADirectoryError:
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), save.path)


def enter(calls: Syscalls, save: PendingFile, path: str) -> None:
    """Find the directory."""
    save.directory, save.name = split(path)
    save.staging = save.where = save.directory
    _find(calls, save, save.directory)


def _find(calls: Syscalls, save: PendingFile, directory: str) -> None:
    try:
        found = calls.stat(directory)
    except FileNotFoundError:
        parent, name = os.path.split(directory)
        if not (save.options.make_parents and name):
            raise
        _find(calls, save, parent)
        _make(calls, save, parent, name)
        return
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), save.path)


def _make(calls: Syscalls, save: PendingFile, parent: str, name: str) -> None:
    save.made = (*save.made, (parent, name))
    try:
        calls.mkdir(os.path.join(parent, name), 0o777)
    except FileExistsError:
        save.made = save.made[:-1]  # somebody else's by now


def _follow(calls: Syscalls, save: PendingFile) -> bool:
    """Go on to where a link leads. False: the link itself is to be replaced."""
    if not is_followed(save):
        return False
    destination: str = calls.readlink(target(save))
    enter(calls, save, os.path.join(save.directory, destination))
    return True
