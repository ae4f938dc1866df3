"""Publishing on POSIX: the rename, what an error of it means, and the flush of the directory after."""

from __future__ import annotations

import errno

from durably._commit.pending import CLOSED
from durably._commit.posix.cleanup import unlink_staged
from durably._errors import UnsupportedError, took_place
from durably._types import CONSISTENT, NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingFile
    from durably._commit.posix.strategy import Posix
    from durably._system.syscalls import Syscalls

# "This file system has no flush for directories": network mounts, VirtualBox shares.
NO_DIRECTORY_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
# "No hard links here": vfat, exfat, some FUSE mounts; EMLINK and EXDEV are limits of the place too.
NO_LINK = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


def rename_into_place(routine: Posix, save: PendingFile) -> None:
    """Rename the temporary over the target, or to it where it must not exist."""
    _close_before_rename(routine, save)
    try:
        if save.options.overwrite:
            routine.calls.replace(
                save.temporary,  # it has a name by now
                save.name,
                src_dir_fd=save.staging,
                dst_dir_fd=save.directory,
            )
        else:
            routine.move_exclusively(save, save.directory, save.name)
    except OSError as error:
        if not took_place(error, save.path, lambda: routine.is_published(save)):
            raise
        _drop_name(routine, save)
    save.published = True
    save.temporary = None
    save.steps.append("rename")
    if save.fd != CLOSED:
        # With the lock: a reader's own flock(2) of the new file must not wait for the directory.
        _let_go(routine, save)


def _close_before_rename(routine: Posix, save: PendingFile) -> None:
    """Have the errors that only close(2) reports, on network mounts, before the file is published."""
    calls = routine.calls
    if save.fd == CLOSED:
        return  # since it was flushed, with many others
    if save.identity is None:
        new = calls.fstat(save.fd)
        save.identity = (new.st_dev, new.st_ino)
    if not save.held:
        fd, save.fd = save.fd, CLOSED
        calls.close(fd)
    elif save.options.durability is NONE:
        # The lock goes with the descriptor, so it stays open; closing a copy flushes as well.
        calls.close(calls.dup(save.fd))


def _let_go(routine: Posix, save: PendingFile) -> None:
    # As in `Posix.release`, with no call of ours before the close.
    fd, save.fd = save.fd, CLOSED
    try:
        routine.calls.close(fd)
    except OSError as error:
        save.skipped["close"] = str(error.strerror)


def is_published(calls: Syscalls, save: PendingFile) -> bool:
    """Whether the target is the temporary's file, by identity."""
    if save.identity is None or save.in_place:
        return False
    try:
        target = calls.stat(save.name, dir_fd=save.directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (target.st_dev, target.st_ino) == save.identity


def _drop_name(routine: Posix, save: PendingFile) -> None:
    """Remove the temporary's name where a link has published the file, and the name stayed."""
    if save.private is not None:
        return  # it goes with the directory
    try:
        unlink_staged(routine, save, save.temporary)
    except OSError as error:
        left = routine.location(save, save.temporary or "")
        save.skipped["unlink"] = f"{left} is left over: {error.strerror}"


def move_by_link(routine: Posix, save: PendingFile, directory: int, name: str) -> None:
    """Move the temporary to a name that must not exist: link and unlink."""
    calls, temporary = routine.calls, save.temporary
    assert temporary is not None
    try:
        calls.link(temporary, name, src_dir_fd=save.staging, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        message = f"cannot create a file without replacing one here ({error.strerror})"
        raise UnsupportedError(errno.ENOTSUP, message, save.path) from error
    calls.unlink(temporary, dir_fd=save.staging)


def fsync_directory(routine: Posix, save: PendingFile) -> None:
    """Flush the target's directory, and those above it that were made on the way."""
    directories = [parent for parent, _ in save.made]
    if "fsync directory" not in save.skipped:
        directories.append(save.directory)
    for directory in directories:
        try:
            routine.fsync_names(save, directory)
        except OSError as error:
            if error.errno not in NO_DIRECTORY_FLUSH:
                raise
            save.skip_flush("fsync directory", f"not supported here: {error.strerror}", CONSISTENT)
    if "fsync directory" not in save.skipped:
        save.steps.append("fsync directory")
