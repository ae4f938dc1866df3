"""Calls of Linux that the rig needs and Python lacks, and processes that die with their parent."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NOSUID, NODEV, READ_ONLY = 2, 4, 1
_PRIVATE, _RECURSIVE = 1 << 18, 1 << 14
_NEW_MOUNTS = 0x20000
_DETACH = 2
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_SET_DEATH_SIGNAL, _SET_IO_FLUSHER = 1, 57
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _checked(_libc.mount(*arguments), f"mount {kind} {data}")


def unmount(target: str) -> None:
    """umount2(2). Raises OSError, such as EBUSY."""
    _checked(_libc.umount2(target.encode(), 0), f"umount {target}")


def leave_mounts() -> None:
    """Take a mount namespace of one's own, so that every mount ends with the processes in it."""
    _checked(_libc.unshare(_NEW_MOUNTS), "unshare")
    _checked(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_PRIVATE | _RECURSIVE), None), "mount private")


def punch(fd: int, offset: int, length: int) -> None:
    """fallocate(2): give a range of a file back, so that it reads as zeroes."""
    where = (ctypes.c_int64(offset), ctypes.c_int64(length))
    _checked(_libc.fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, *where), "fallocate")


def sync(place: str) -> None:
    """syncfs(2): flush the file system of a directory."""
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.syncfs(fd), "syncfs")
    finally:
        os.close(fd)


def pour(fd: int, size: int, runs: Iterable[tuple[int, list[bytearray]]]) -> None:
    """Make a file hold these ranges, and nothing else."""
    os.ftruncate(fd, 0)
    os.ftruncate(fd, size)
    for offset, buffers in runs:
        os.pwritev(fd, buffers, offset)


def become_disk() -> None:
    """prctl(2): let the kernel not wait, for memory, for writes to the disk that this process is."""
    try:
        _checked(_libc.prctl(_SET_IO_FLUSHER, 1, 0, 0, 0), "PR_SET_IO_FLUSHER")
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        # Without CAP_SYS_RESOURCE, as in many containers: only a machine short of memory would notice.


def child(work: Callable[[], object]) -> int:
    """Run a function in a new process, which is killed when this one ends. Returns its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        _checked(_libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "PR_SET_PDEATHSIG")
        if os.getppid() == parent:
            work()
            status = 0
    except BaseException:  # noqa: BLE001 # the process ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(process: int, what: str) -> None:
    """Wait for a child. Raises RuntimeError if it failed."""
    _, status = os.waitpid(process, 0)
    if status != 0:
        raise RuntimeError(f"{what} ended with {os.waitstatus_to_exitcode(status)}")
