"""A sandbox of namespaces: its processes end with the caller, and what they wrote ends with them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

#: A file system in memory, seen by the sandbox alone.
MEMORY = Path("/dev/shm")

_NEW_MOUNTS, _NEW_USERS, _NEW_PROCESSES = 0x20000, 0x10000000, 0x20000000
_PRIVATE, _RECURSIVE = 1 << 18, 1 << 14
_SET_DEATH_SIGNAL = 1
_FAILED = 70


class UnavailableError(Exception):
    """The kernel gives no sandbox to this user."""


def alone(body: Callable[[], int]) -> int:
    """The exit code that ``body`` returns, run in a sandbox. Raises UnavailableError.

    The parent may be killed at any moment, by any signal: the kernel then kills the first process of the
    sandbox, with it all the others, Wine's own included, and with the last one the mounts vanish.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    _check(libc.unshare(_NEW_MOUNTS | _NEW_PROCESSES | (_NEW_USERS if user else 0)), "unshare")
    if user:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    _mount(libc)
    sys.stdout.flush()
    first = os.fork()
    if first == 0:
        _be_first(libc, body)
    return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])


def _mount(libc: ctypes.CDLL) -> None:
    """Memory to work in, and over /tmp a layer for what Wine keeps there by a fixed name."""
    _check(libc.mount(b"none", b"/", None, ctypes.c_ulong(_PRIVATE | _RECURSIVE), None), "mount private")
    place = os.fsencode(MEMORY)
    _check(libc.mount(b"none", place, b"tmpfs", ctypes.c_ulong(0), b"mode=755"), "mount tmpfs")
    upper, work = MEMORY / "upper", MEMORY / "work"
    upper.mkdir(mode=0o1777)
    work.mkdir()
    layers = f"lowerdir=/tmp,upperdir={upper},workdir={work}".encode()
    _check(libc.mount(b"none", b"/tmp", b"overlay", ctypes.c_ulong(0), layers), "mount overlay on /tmp")


def _be_first(libc: ctypes.CDLL, body: Callable[[], int]) -> NoReturn:
    """Be the process to which the sandbox's orphans fall, and with which all of them end."""
    status = _FAILED
    try:
        _check(libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0), "prctl")
        _check(libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(0), None), "mount /proc")
        worker = os.fork()
        if worker == 0:
            status = body()
        else:
            ended = result = 0
            while ended != worker:
                ended, result = os.wait()
            status = os.waitstatus_to_exitcode(result)
            status = status if status >= 0 else 128 - status
    except BaseException:  # noqa: BLE001 # nothing may leave the child
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise UnavailableError(f"{what}: {os.strerror(number)}")
