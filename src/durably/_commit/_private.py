"""A private directory beside the target, for a file that others write; and removing such directories."""

from __future__ import annotations

import errno
import stat

from durably import _names
from durably._commit._flags import CREATE, DIRECTORY, NOFOLLOW, PLAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from durably._commit._posix import Posix
    from durably._save import Save
    from durably._syscalls import Syscalls

_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST}  # rmdir(2): both are allowed


def create(routine: Posix, save: Save) -> None:
    """Make the private directory, lock it, and have it open before the first write."""
    while not _made(routine, save):
        pass
    save.steps.append("create private directory")
    _look_at_plain(routine, save)


def _made(routine: Posix, save: Save) -> bool:
    """Make one. False: the name is taken, or it was swept between its making and its locking."""
    calls = routine.calls
    save.private = _names.fresh("d")
    try:
        calls.mkdir(save.private, 0o700, dir_fd=save.directory)
    except FileExistsError:
        save.private = None  # not ours: it must not be cleaned up
        return False
    try:
        save.staging = calls.open(save.private, DIRECTORY | NOFOLLOW, dir_fd=save.directory)
        if routine.lock(save.staging):
            routine.lookup(save.directory, save.private)
            return True
    except FileNotFoundError:
        pass
    _unmake(routine, save)
    return False


def _unmake(routine: Posix, save: Save) -> None:
    staging, save.staging = save.staging, save.directory
    if staging is not save.directory:
        routine.calls.close(staging)
    try:
        routine.remove_entry(save.directory, save.private or "")
    except FileNotFoundError:
        pass  # the sweep was faster
    save.private = None


def _look_at_plain(routine: Posix, save: Save) -> None:
    """See what the builtin open gives a new file here, after umask and default ACL."""
    calls = routine.calls
    save.temporary = _names.fresh("f")
    fd = calls.open(save.temporary, CREATE, PLAIN, dir_fd=save.staging)
    try:
        save.plain_mode = stat.S_IMODE(calls.fstat(fd).st_mode)
        save.plain_acl = routine.access_list(fd)
        if not save.options.overwrite:
            routine.rehearse(save)
    finally:
        calls.close(fd)
    calls.unlink(save.temporary, dir_fd=save.staging)
    save.temporary = None


def check_alone(save: Save, others: list[str]) -> None:
    """Refuse a private directory that has no file of the target's name, or ``others`` besides it."""
    missing = save.name not in others
    if not missing:
        others.remove(save.name)
    besides = f" ({', '.join(others)})" if others else ""
    if missing:
        message = f"nothing was written to the staged path{besides}; the target was not changed"
        raise FileNotFoundError(errno.ENOENT, message, save.path)
    if others:
        message = f"other files were left beside the staged one{besides}; the target was not changed"
        raise OSError(errno.ENOTEMPTY, message, save.path)


def listed(calls: Syscalls, directory: int) -> list[str]:
    # A descriptor of its own: on btrfs one shows only what was there when it was opened (Linux 6.5).
    fresh = calls.open(".", DIRECTORY, dir_fd=directory)
    try:
        return sorted(calls.listdir(fresh))
    finally:
        calls.close(fresh)


def check_regular(save: Save, written: os.stat_result) -> None:
    """Refuse what cannot be published as the target's file."""
    if not stat.S_ISREG(written.st_mode) or written.st_nlink != 1:
        message = "what was staged is not a regular file with one name; the target was not changed"
        raise OSError(errno.EINVAL, message, save.path)


def remove_entry(routine: Posix, directory: int, name: str) -> None:
    """Remove a file, or a directory with all that is in it, by descriptor. Never crosses a mount."""
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
        if error.errno not in _NOT_EMPTY:
            raise
        _empty(routine, directory, name)
        calls.rmdir(name, dir_fd=directory)


def _empty(routine: Posix, parent: int, name: str) -> None:
    calls = routine.calls
    directory = calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=parent)
    try:
        if not routine.is_same_mount(parent, directory):
            raise OSError(errno.EBUSY, "another file system is mounted in it", name)
        for entry in calls.listdir(directory):
            remove_entry(routine, directory, entry)
    finally:
        calls.close(directory)
