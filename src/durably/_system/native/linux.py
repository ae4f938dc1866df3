"""Linux calls that Python lacks. Everything imports everywhere; the library is bound at first use."""

from __future__ import annotations

import errno
import os

from durably._system.native.libc import CLibrary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
SYNC_FILE_RANGE_WRITE = 2
FICLONE = 0x40049409
# ioctl_ficlone(2): another file system, none that shares extents, a file that cannot be shared, one
# in use as swap or program, no such request, no such call.
NO_CLONE = frozenset(
    {
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTSUP,
        errno.ENOTTY,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.ETXTBSY,
        errno.EXDEV,
    }
)
STATX_MNT_ID = 0x1000
AT_EMPTY_PATH = 0x1000
_STATX_SIZE = 256
_STATX_MASK_AT = 0
_STATX_MNT_ID_AT = 0x90


def _prototypes() -> dict[str, tuple[Any, ...]]:
    from ctypes import c_char_p, c_int, c_int64, c_uint, c_void_p

    return {
        "renameat2": (c_int, c_char_p, c_int, c_char_p, c_uint),
        "sync_file_range": (c_int, c_int64, c_int64, c_uint),
        "syncfs": (c_int,),
        "statx": (c_int, c_char_p, c_int, c_uint, c_void_p),
    }


_c = CLibrary(_prototypes)


def renameat2(old_directory: int, old: str, new_directory: int, new: str, flags: int) -> None:
    """renameat2(2): Linux 3.15, glibc 2.28."""
    _c("renameat2", old_directory, os.fsencode(old), new_directory, os.fsencode(new), flags)


def sync_file_range(fd: int, offset: int, size: int, flags: int) -> None:
    """sync_file_range(2): starts write-out; promises nothing by itself."""
    _c("sync_file_range", fd, offset, size, flags)


def syncfs(fd: int) -> None:
    """syncfs(2): reports write-back errors since Linux 5.8."""
    _c("syncfs", fd)


def ficlone(target: int, source: int) -> None:
    """ioctl_ficlone(2): shares the source's extents with the empty target."""
    from fcntl import ioctl  # type: ignore[attr-defined,unused-ignore] # Windows has no such module

    ioctl(target, FICLONE, source)


def mount_id(fd: int) -> int:
    """The number, in /proc/self/mountinfo, of the mount that ``fd`` lies on.

    Device numbers do not do: those of btrfs subvolumes and bind mounts mislead. statx(2) tells since
    Linux 5.8, /proc/self/fdinfo since 3.15.
    """
    import ctypes

    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    _c("statx", fd, b"", AT_EMPTY_PATH, STATX_MNT_ID, buffer)
    if int.from_bytes(buffer.raw[_STATX_MASK_AT : _STATX_MASK_AT + 4], "little") & STATX_MNT_ID:
        return int.from_bytes(buffer.raw[_STATX_MNT_ID_AT : _STATX_MNT_ID_AT + 8], "little")
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        fields = dict(line.split(b":", 1) for line in file if b":" in line)
    return int(fields[b"mnt_id"])
