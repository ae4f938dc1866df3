"""The one table of calls that change the disk, or that a save depends on.

Every room calls the system through an instance of `Syscalls`, which a routine holds and passes
down. Its attributes are the functions themselves, not wrappers, so the table costs an attribute
look-up and nothing else; `durably.testing` puts recording and failing functions in their place.
"""

from __future__ import annotations

import os
import sys
import time

from durably._system.native import darwin, linux, win32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from typing_extensions import Buffer


def _missing(name: str) -> Callable[..., NoReturn]:
    def missing(*_: object, **__: object) -> NoReturn:
        raise NotImplementedError(f"{name} does not exist on this system")

    return missing


class Syscalls:
    """The table. A member that the running system lacks raises NotImplementedError when called."""

    def __init__(self) -> None:  # noqa: PLR0915 # it is one table
        # Every system.
        self.open: Callable[..., int] = os.open
        self.close: Callable[[int], None] = os.close
        self.dup: Callable[[int], int] = os.dup
        self.read: Callable[[int, int], bytes] = os.read
        self.write: Callable[[int, Buffer], int] = os.write
        self.lseek: Callable[[int, int, int], int] = os.lseek
        self.ftruncate: Callable[[int, int], None] = os.ftruncate
        self.stat: Callable[..., os.stat_result] = os.stat
        self.fstat: Callable[[int], os.stat_result] = os.fstat
        self.fsync: Callable[[int], None] = os.fsync
        self.unlink: Callable[..., None] = os.unlink
        self.mkdir: Callable[..., None] = os.mkdir
        self.rmdir: Callable[..., None] = os.rmdir
        self.listdir: Callable[[Any], list[str]] = os.listdir
        self.readlink: Callable[..., Any] = os.readlink
        self.symlink: Callable[..., None] = os.symlink
        self.replace: Callable[..., None] = os.replace
        self.link: Callable[..., None] = os.link
        self.sleep: Callable[[float], None] = time.sleep
        self.clock: Callable[[], float] = time.monotonic
        # POSIX.
        self.geteuid: Callable[[], int] = self._system("geteuid")
        self.fchmod: Callable[[int, int], None] = self._system("fchmod")
        self.fchown: Callable[[int, int, int], None] = self._system("fchown")
        self.chmod: Callable[..., None] = os.chmod
        self.flock: Callable[[int, int], None] = _flock()
        # Linux.
        self.listxattr: Callable[..., list[str]] = self._system("listxattr")
        self.getxattr: Callable[..., bytes] = self._system("getxattr")
        self.setxattr: Callable[..., None] = self._system("setxattr")
        self.removexattr: Callable[..., None] = self._system("removexattr")
        self.renameat2: Callable[[int, str, int, str, int], None] = linux.renameat2
        self.sync_file_range: Callable[[int, int, int, int], None] = linux.sync_file_range
        self.syncfs: Callable[[int], None] = linux.syncfs
        self.ficlone: Callable[[int, int], None] = linux.ficlone
        self.mount_id: Callable[[int], int] = linux.mount_id
        # macOS.
        self.fcntl: Callable[..., Any] = darwin.fcntl
        self.utime: Callable[..., None] = os.utime
        self.renameatx_np: Callable[[int, str, int, str, int], None] = darwin.renameatx_np
        self.fclonefileat: Callable[[int, int, str, int], None] = darwin.fclonefileat
        self.fcopyfile: Callable[[int, int, int], None] = darwin.fcopyfile
        self.fstatfs: Callable[[int], tuple[str, int]] = darwin.fstatfs
        # Windows.
        self.create_file: Callable[..., int] = win32.create_file
        self.close_handle: Callable[[int], None] = win32.close_handle
        self.open_osfhandle: Callable[[int, int], int] = win32.open_osfhandle
        self.get_osfhandle: Callable[[int], int] = win32.get_osfhandle
        self.rename_by_handle: Callable[[int, str, int], None] = win32.rename_by_handle
        self.move_file: Callable[[str, str, int], None] = win32.move_file
        self.create_junction: Callable[[str, str], None] = win32.create_junction
        self.get_file_attributes: Callable[[str], int] = win32.get_file_attributes
        self.set_file_attributes: Callable[[str, int], None] = win32.set_file_attributes
        self.get_security: Callable[[str, int], bytes] = win32.get_security
        self.set_security: Callable[[int, int, bytes], None] = win32.set_security
        self.list_streams: Callable[[str], list[str]] = win32.list_streams
        self.volume_information: Callable[[str], tuple[str, int, int]] = win32.volume_information
        self.is_process_running: Callable[[int], bool] = win32.is_process_running

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
