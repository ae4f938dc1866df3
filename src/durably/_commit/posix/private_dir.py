"""A private directory beside the target, for a file that others write."""

from __future__ import annotations

import errno
import stat

from durably._commit.posix.flags import CREATE, DIRECTORY, NOFOLLOW, PLAIN, READ
from durably._system import temp_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from durably._commit.pending import PendingFile
    from durably._commit.posix.strategy import Posix
    from durably._system.syscalls import Syscalls


def create(routine: Posix, save: PendingFile) -> None:
    """Make the private directory, and find out there what a new file would be like."""
    make(routine, save)
    _look_at_plain(routine, save)


def make(routine: Posix, save: PendingFile) -> None:
    """Make the private directory, lock it, and have it open before the first write."""
    while not _made(routine, save):
        pass
    save.steps.append("create private directory")


def _made(routine: Posix, save: PendingFile) -> bool:
    """Make one. False: the name is taken, or it was swept between its making and its locking."""
    calls = routine.calls
    save.private = temp_names.fresh("d")
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


def _unmake(routine: Posix, save: PendingFile) -> None:
    staging, save.staging = save.staging, save.directory
    if staging is not save.directory:
        routine.calls.close(staging)
    try:
        routine.remove_entry(save.directory, save.private or "")
    except FileNotFoundError:
        pass  # the sweep was faster
    save.private = None


def _look_at_plain(routine: Posix, save: PendingFile) -> None:
    """See what the builtin open gives a new file here, after umask and default ACL."""
    calls = routine.calls
    save.temporary = temp_names.fresh("f")
    fd = calls.open(save.temporary, CREATE, PLAIN, dir_fd=save.staging)
    try:
        save.plain_mode = stat.S_IMODE(calls.fstat(fd).st_mode)
        save.plain_acl = routine.access_list(fd)
        if not save.options.overwrite:
            routine.check_supported(save)
    finally:
        calls.close(fd)
    calls.unlink(save.temporary, dir_fd=save.staging)
    save.temporary = None


def take_over(routine: Posix, save: PendingFile) -> int:
    """Open what others wrote, and give it the metadata that a file of ours would have."""
    calls = routine.calls
    check_alone(save, listed(calls, save.staging))
    check_regular(save, routine.lookup(save.staging, save.name))
    save.fd = calls.open(save.name, READ, dir_fd=save.staging)
    written = calls.fstat(save.fd)
    check_regular(save, written)
    save.temporary = save.name
    save.identity = (written.st_dev, written.st_ino)
    save.steps.append("write")
    if save.preserve_metadata or save.options.permissions is not None:
        routine.apply_metadata(save)
    else:
        routine.make_plain(save, written)
    return written.st_size


def check_alone(save: PendingFile, others: list[str]) -> None:
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
    """What lies in an open directory."""
    # A descriptor of its own: on btrfs one shows only what was there when it was opened (Linux 6.5).
    fresh = calls.open(".", DIRECTORY, dir_fd=directory)
    try:
        return sorted(calls.listdir(fresh))
    finally:
        calls.close(fresh)


def check_regular(save: PendingFile, written: os.stat_result) -> None:
    """Refuse what cannot be published as the target's file."""
    if not stat.S_ISREG(written.st_mode) or written.st_nlink != 1:
        message = "what was staged is not a regular file with one name; the target was not changed"
        raise OSError(errno.EINVAL, message, save.path)
