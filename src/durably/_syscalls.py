"""The one table of calls that change the disk, or that a save depends on.

Every room calls the system through an instance of `Syscalls`, which a routine holds and passes
down. Its attributes are the functions themselves, not wrappers, so the table costs an attribute
look-up and nothing else; `durably.testing` puts recording and failing functions in their place.
"""

from __future__ import annotations

import os
import sys
import time

from durably._native import darwin, linux, windows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn


def _missing(name: str) -> Callable[..., NoReturn]:
    def missing(*_: object, **__: object) -> NoReturn:
        raise NotImplementedError(f"{name} does not exist on this system")

    return missing


class Syscalls:
    """The table. A member that the running system lacks raises NotImplementedError when called."""

    def __init__(self) -> None:  # noqa: PLR0915 # it is one table
        # Every system.
        self.open = os.open
        self.close = os.close
        self.dup = os.dup
        self.read = os.read
        self.write = os.write
        self.lseek = os.lseek
        self.ftruncate = os.ftruncate
        self.stat = os.stat
        self.fstat = os.fstat
        self.fsync = os.fsync
        self.unlink = os.unlink
        self.mkdir = os.mkdir
        self.rmdir = os.rmdir
        self.listdir: Callable[[Any], list[str]] = os.listdir
        self.readlink = os.readlink
        self.replace = os.replace
        self.link = os.link
        self.sleep = time.sleep
        self.clock = time.monotonic
        # POSIX.
        self.geteuid = self._system("geteuid")
        self.fchmod = self._system("fchmod")
        self.fchown = self._system("fchown")
        self.flock = _flock()
        # Linux.
        self.listxattr = self._system("listxattr")
        self.getxattr = self._system("getxattr")
        self.setxattr = self._system("setxattr")
        self.removexattr = self._system("removexattr")
        self.renameat2 = linux.renameat2
        self.sync_file_range = linux.sync_file_range
        self.syncfs = linux.syncfs
        self.ficlone = linux.ficlone
        self.mount_id = linux.mount_id
        # macOS.
        self.fcntl = darwin.fcntl
        self.utime = os.utime
        self.renameatx_np = darwin.renameatx_np
        self.fclonefileat = darwin.fclonefileat
        self.fcopyfile = darwin.fcopyfile
        self.fstatfs = darwin.fstatfs
        # Windows.
        self.create_file = windows.create_file
        self.close_handle = windows.close_handle
        self.open_osfhandle = windows.open_osfhandle
        self.get_osfhandle = windows.get_osfhandle
        self.rename_by_handle = windows.rename_by_handle
        self.move_file = windows.move_file
        self.get_file_attributes = windows.get_file_attributes
        self.set_file_attributes = windows.set_file_attributes
        self.get_security = windows.get_security
        self.set_security = windows.set_security
        self.list_streams = windows.list_streams
        self.volume_information = windows.volume_information
        self.is_process_running = windows.is_process_running

    @staticmethod
    def _system(name: str) -> Callable[..., Any]:
        return getattr(os, name, None) or _missing(name)


def write_all(calls: Syscalls, fd: int, view: memoryview) -> None:
    """Write a buffer of bytes to its end."""
    while view:
        view = view[calls.write(fd, view) :]


def _flock() -> Callable[[int, int], None]:
    if sys.platform == "win32":
        return _missing("flock")
    import fcntl

    return fcntl.flock
