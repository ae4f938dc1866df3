"""macOS calls that Python lacks. Everything imports everywhere; the library is bound at first use.

The layouts are those of 64-bit macOS 10.12 and later.
"""

from __future__ import annotations

import errno
import os
import sys

from durably._system.native.libc import CLibrary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if sys.platform == "win32":

    def fcntl(fd: int, command: int, argument: int | bytes = 0) -> Any:
        """fcntl(2), which Windows lacks."""
        raise NotImplementedError("fcntl does not exist on this system")

else:
    from fcntl import fcntl as fcntl  # noqa: PLC0414 # for others to use

F_GETPATH = 50
F_FULLFSYNC = 51
F_BARRIERFSYNC = 85
RENAME_SWAP = 2
RENAME_EXCL = 4
COPYFILE_ACL = 1
COPYFILE_XATTR = 4
MNT_RDONLY = 0x1
MNT_SYNCHRONOUS = 0x2
MNT_ASYNC = 0x40
MNT_LOCAL = 0x1000
MNT_JOURNALED = 0x800000
_STATFS_SIZE = 2168
_FLAGS_AT, _KIND_AT, _KIND_SIZE = 64, 72, 16
_UUID_SIZE = 64


def _prototypes() -> dict[str, tuple[Any, ...]]:
    from ctypes import c_char_p, c_int, c_size_t, c_uint32, c_void_p

    return {
        "renameatx_np": (c_int, c_char_p, c_int, c_char_p, c_uint32),
        "fclonefileat": (c_int, c_int, c_char_p, c_uint32),
        "fcopyfile": (c_int, c_int, c_void_p, c_uint32),
        "fstatfs": (c_int, c_void_p),
        "sysctlbyname": (c_char_p, c_void_p, c_void_p, c_void_p, c_size_t),
    }


# On x86-64 the plain name is the old call with 32-bit inodes; on ARM there is only the new one.
_c = CLibrary(_prototypes, ("$INODE64", ""))


def renameatx_np(old_directory: int, old: str, new_directory: int, new: str, flags: int) -> None:
    """renameatx_np(2): macOS 10.12; ENOTSUP where the file system lacks the flag."""
    _c("renameatx_np", old_directory, os.fsencode(old), new_directory, os.fsencode(new), flags)


def fclonefileat(source: int, directory: int, name: str, flags: int) -> None:
    """fclonefileat(2): a new file with the source's content, mode, ACL and attributes; APFS."""
    _c("fclonefileat", source, directory, os.fsencode(name), flags)


def fcopyfile(source: int, target: int, flags: int) -> None:
    """fcopyfile(3), without a state."""
    _c("fcopyfile", source, target, None, flags)


def fstatfs(fd: int) -> tuple[str, int]:
    """The type name and the mount flags of the file system that ``fd`` lies on."""
    import ctypes

    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    _c("fstatfs", fd, buffer)
    kind = buffer.raw[_KIND_AT : _KIND_AT + _KIND_SIZE].split(b"\0")[0]
    flags = int.from_bytes(buffer.raw[_FLAGS_AT : _FLAGS_AT + 4], "little")
    return os.fsdecode(kind), flags


def boot_session() -> str:
    """The identity of this boot, a UUID. Raises OSError where there is none."""
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, "Windows has no sysctlbyname")
    import ctypes

    buffer = ctypes.create_string_buffer(_UUID_SIZE)
    size = ctypes.c_size_t(_UUID_SIZE)
    _c("sysctlbyname", b"kern.bootsessionuuid", buffer, ctypes.byref(size), None, 0)
    return buffer.value.decode("ascii")
