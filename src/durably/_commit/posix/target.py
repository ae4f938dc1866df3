"""Finding a target: its directory is opened once, and everything else goes through the descriptor."""

from __future__ import annotations

import errno
import os
import stat

from durably._commit.posix.flags import DIRECTORY, SEARCH
from durably._errors import UnsupportedError
from durably._types import CONSISTENT, DURABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingFile
    from durably._system.syscalls import Syscalls

_LINKS = 40
_UNREADABLE = "the directory may be written but not read"


def enter(calls: Syscalls, save: PendingFile, path: str, start: int | None) -> int:
    """Open the directory of ``path``, seen from ``start``; the last component becomes ``save.name``."""
    head, slash, name = path.rpartition("/")
    if name in ("", ".", ".."):
        number = errno.EISDIR if path else errno.ENOENT
        raise OSError(number, os.strerror(number), save.path)
    save.name = name
    head = head or slash or "."
    save.where = os.path.join(save.where, head) if save.where else head
    try:
        return calls.open(head, DIRECTORY, dir_fd=start)
    except OSError as error:
        return _open_otherwise(calls, save, head, start, error)


def visit(calls: Syscalls, path: str) -> tuple[int, str]:
    """Open a directory as a save in it does. Also why it could not be flushed, or ""."""
    try:
        return calls.open(path, DIRECTORY), ""
    except PermissionError:
        if not (SEARCH and os.access(path, os.W_OK | os.X_OK)):
            raise
    return calls.open(path, SEARCH | DIRECTORY), _UNREADABLE


def borrow(calls: Syscalls, save: PendingFile, directory: int, identity: tuple[int, int]) -> bool:
    """Have a directory that another save has open, if the path still leads to it."""
    head, _, name = save.path.rpartition("/")
    if name in ("", ".", ".."):
        return False
    try:
        there = calls.stat(head)
    except OSError:
        return False  # `enter` meets it as well, and tells
    device, inode = identity
    if there.st_ino != inode or there.st_dev != device:
        return False
    save.directory = save.staging = save.borrowed = directory
    save.name = name
    save.where = head
    return True


def _open_otherwise(calls: Syscalls, save: PendingFile, path: str, start: int | None, error: OSError) -> int:
    if isinstance(error, FileNotFoundError) and save.options.make_parents:
        return _make(calls, save, path, start)
    if isinstance(error, PermissionError) and SEARCH:
        directory = calls.open(path, SEARCH | DIRECTORY, dir_fd=start)
        save.skip_flush("fsync directory", _UNREADABLE, CONSISTENT)
        return directory
    raise error


def _make(calls: Syscalls, save: PendingFile, path: str, start: int | None) -> int:
    head, slash, name = path.rstrip("/").rpartition("/")
    try:
        parent = calls.open(head or slash or ".", DIRECTORY, dir_fd=start)
    except FileNotFoundError:
        parent = _make(calls, save, head, start)
    save.made = (*save.made, (parent, name))
    try:
        calls.mkdir(name, 0o777, dir_fd=parent)
    except FileExistsError:
        # Somebody else's by now: flushed with ours, but not removed.
        save.made = (*save.made[:-1], (parent, ""))
    return calls.open(name, DIRECTORY, dir_fd=parent)


def follow(calls: Syscalls, save: PendingFile, found: os.stat_result) -> bool:
    """Go on from what is not a regular file: to where a link leads. False: the link is to be replaced.

    Refuses everything else.
    """
    if not stat.S_ISLNK(found.st_mode):
        raise _refusal(save, found)
    if not is_followed(save):
        return False
    _check_protected(calls, save, found)
    if save.links == 1:
        _check_end(calls, save)
    destination = calls.readlink(save.name, dir_fd=save.directory)
    left = save.directory
    # The name is in the other directory: whether the link's own can be flushed does not matter.
    save.skipped.pop("fsync directory", None)
    save.limit = DURABLE
    save.directory = save.staging = enter(calls, save, destination, left)
    if left != save.borrowed:
        calls.close(left)
    return True


def is_followed(save: PendingFile) -> bool:
    """Whether the options have the symbolic link at the target followed. False: it is to be replaced.

    Raises FileExistsError under ``overwrite=False``, and OSError with ELOOP for a link that is
    refused or one too many.
    """
    if not save.options.overwrite:
        raise exists(save)
    if save.options.symlinks == "replace":
        return False
    if save.options.symlinks == "refuse":
        raise OSError(errno.ELOOP, "is a symbolic link, and symlinks='refuse'", save.path)
    save.links += 1
    if save.links > _LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), save.path)
    return True


def _refusal(save: PendingFile, found: os.stat_result) -> OSError:
    if stat.S_ISDIR(found.st_mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), save.path)
    return UnsupportedError(errno.ENOTSUP, "is not a regular file; nothing was written", save.path)


def _check_protected(calls: Syscalls, save: PendingFile, link: os.stat_result) -> None:
    # The rule of proc(5), protected_symlinks, which the kernel applies only when it follows.
    directory = calls.fstat(save.directory)
    shared = stat.S_ISVTX | stat.S_IWOTH
    if directory.st_mode & shared == shared and link.st_uid not in (calls.geteuid(), directory.st_uid):
        message = "is another user's symbolic link in a shared directory, and is not followed"
        raise PermissionError(errno.EACCES, message, save.path)


def _check_end(calls: Syscalls, save: PendingFile) -> None:
    # proc(5): a link in /proc/self/fd, such as /dev/stdout leads to, reads as the name that a pipe has not
    # and a removed file has no longer.
    try:
        end = calls.stat(save.name, dir_fd=save.directory)
    except OSError:
        return  # it dangles, or cannot be followed: seen on the way there
    if not stat.S_ISREG(end.st_mode):
        raise _refusal(save, end)
    if not end.st_nlink:
        message = "leads to a file that was removed and has no name; nothing was written"
        raise UnsupportedError(errno.ENOTSUP, message, save.path)


def exists(save: PendingFile) -> FileExistsError:
    """What create-only meets when the target is there."""
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), save.path)
