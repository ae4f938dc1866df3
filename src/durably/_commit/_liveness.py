"""By what a sweep tells a temporary that is in use from a dead one, on POSIX: locks and processes."""

from __future__ import annotations

import errno
import os

from durably import _names
from durably._commit._flags import LOCK, READ, SHARED_LOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._names import Maker
    from durably._syscalls import Syscalls

# "No locks here": some network mounts.
_NO_LOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF}


def lock(calls: Syscalls, fd: int) -> bool:
    """Lock what is held while it is written. False: a sweep has it, which takes it for dead."""
    try:
        calls.flock(fd, LOCK)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCK:
            raise
    return True


def is_running(maker: Maker) -> bool:
    """Whether that process of this kernel and process space still runs."""
    try:
        os.kill(maker.process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return maker.start in (0, _names.process_start(maker.process))


def claim(calls: Syscalls, directory: int, name: str) -> int | None:
    """Lock a temporary that is to be swept; None if its maker holds it."""
    fd = calls.open(name, READ, dir_fd=directory)
    try:
        calls.flock(fd, LOCK)
    except BlockingIOError:
        calls.close(fd)
        return None
    except BaseException:
        calls.close(fd)
        raise
    return fd


def shelter(calls: Syscalls, directory: int) -> int | None:
    """The directory once more, under a shared lock; None where others have it, or there are no locks."""
    fd = calls.dup(directory)
    try:
        calls.flock(fd, SHARED_LOCK)
    except OSError as error:
        calls.close(fd)
        if error.errno not in _NO_LOCK and not isinstance(error, BlockingIOError):
            raise
        return None
    except BaseException:
        calls.close(fd)
        raise
    return fd


def claim_directory(calls: Syscalls, directory: int) -> int | None:
    """Lock a directory against `shelter`; None if somebody has a shelter in it."""
    return claim(calls, directory, ".")
