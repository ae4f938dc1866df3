"""By what a sweep tells a temporary that is in use from a dead one, on POSIX: locks and processes."""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock  # threading costs more, and has nothing that is needed here

from durably._commit.posix.flags import LOCK, LOCK_AND_WAIT, READ, SHARED_LOCK, UNLOCK
from durably._system import fork, temp_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._system.syscalls import Syscalls
    from durably._system.temp_names import Maker

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
    return maker.start in (0, temp_names.process_start(maker.process))


def try_lock(calls: Syscalls, directory: int, name: str) -> int | None:
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


# Shared locks on directories with closed temporaries in them. A transaction locks its root alone,
# so it would wait for the shared lock of a batch of its own process, which may wait for the transaction: they
# step aside for as long as it has the lock, and nobody can sweep there meanwhile.


class _Own:
    """The shared locks of this process. A forked child has none, and closes its parent's."""

    __slots__ = ("aside", "generation", "held", "lock")

    def __init__(self) -> None:
        self.generation = fork.generation
        self.held: dict[int, tuple[int, int]] = {}
        """The directory, by device and inode, of each descriptor that has a shared lock."""
        self.aside: dict[int, list[int]] = {}
        """The descriptors that gave theirs up for the lock of a transaction."""
        self.lock = allocate_lock()
        """Held while a descriptor of ``held`` is used: its number must not become another file's."""


_own = _Own()


def _ours() -> _Own:
    global _own
    if _own.generation != fork.generation:
        _own = _Own()
    return _own


def lock_shared(calls: Syscalls, directory: int) -> int | None:
    """The directory once more, under a shared lock; None where others have it, or there are no locks."""
    status = calls.fstat(directory)
    fd = calls.dup(directory)
    try:
        calls.flock(fd, SHARED_LOCK)
        _ours().held[fd] = (status.st_dev, status.st_ino)
    except OSError as error:
        calls.close(fd)
        if error.errno not in _NO_LOCK and not isinstance(error, BlockingIOError):
            raise
        return None
    except BaseException:
        calls.close(fd)
        raise
    return fd


def unlock_shared(calls: Syscalls, fd: int) -> None:
    """Let go of the lock."""
    own = _ours()
    with own.lock:
        own.held.pop(fd, None)
        calls.close(fd)


def try_lock_directory(calls: Syscalls, directory: int) -> int | None:
    """Lock a directory against `lock_shared`; None if somebody has one on it."""
    return try_lock(calls, directory, ".")


def lock_exclusive(calls: Syscalls, fd: int) -> None:
    """Lock a directory alone: wait until no other has it, while our own shared locks step aside."""
    status = calls.fstat(fd)
    own = _ours()
    with own.lock:
        own.aside[fd] = aside = [
            held for held, directory in own.held.items() if directory == (status.st_dev, status.st_ino)
        ]
        for held in aside:
            calls.flock(held, UNLOCK)
    calls.flock(fd, LOCK_AND_WAIT)


def unlock_exclusive(calls: Syscalls, fd: int) -> None:
    """Close what `lock_exclusive` has locked, once our own shared locks are back."""
    own = _ours()
    try:
        with own.lock:
            # Those that another transaction waits for stay aside for that one.
            waited_for = {held for lock, aside in own.aside.items() if lock != fd for held in aside}
            back = [held for held in own.aside.get(fd, ()) if held in own.held and held not in waited_for]
            if back:
                calls.flock(fd, SHARED_LOCK)  # not open to a sweep in between
            for held in back:
                calls.flock(held, SHARED_LOCK)
    finally:
        own.aside.pop(fd, None)
        # Never UNLOCK: in a forked child that would take the lock from the parent.
        calls.close(fd)
