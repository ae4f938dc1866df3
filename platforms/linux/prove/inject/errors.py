"""Which errors each system call is made to give: those that its man page, or a full or dying disk, has."""

from __future__ import annotations

_OPEN = ("openat", "open")
_NAMES = ("rename", "renameat", "renameat2", "link", "linkat", "mkdir", "mkdirat")
_REMOVAL = ("unlink", "unlinkat", "rmdir")
_WRITES = ("write", "pwrite64", "writev", "sendfile", "copy_file_range", "ftruncate", "fallocate")
_FLUSHES = ("fsync", "fdatasync", "syncfs", "sync_file_range")
_DRESS = ("fchmod", "fchown", "fsetxattr", "setxattr", "fremovexattr", "chmod", "fchmodat", "fchownat")
_LOOKS = ("newfstatat", "fstat", "statx", "lstat", "stat", "readlink", "readlinkat", "access", "faccessat")
_ATTRIBUTES = ("fgetxattr", "getxattr", "flistxattr", "listxattr", "lgetxattr", "llistxattr")
_READS = ("read", "pread64", "getdents64")
_OTHER = ("close", "flock", "ioctl", "fcntl", "dup", "dup3", "lseek", "utimensat", "chdir")

#: By error: the calls that may give it.
ERRORS: dict[str, tuple[str, ...]] = {
    "EIO": (
        *(*_OPEN, *_NAMES, *_REMOVAL, *_WRITES, *_FLUSHES, *_DRESS, *_LOOKS, *_ATTRIBUTES, *_READS),
        *("close", "flock", "ioctl"),
    ),
    "ENOSPC": (*_OPEN, *_NAMES, *_WRITES, *_FLUSHES, "fsetxattr", "setxattr", "close"),
    "EDQUOT": (*_OPEN, *_NAMES, *_WRITES, *_FLUSHES, "fsetxattr", "fchown", "close"),
    "EINTR": (*_OPEN, *_NAMES, *_REMOVAL, *_WRITES, *_FLUSHES, *_READS, "close", "flock", "ioctl", "dup"),
    "EMFILE": (*_OPEN, "dup", "dup3", "fcntl"),
    "EACCES": (*_OPEN, *_NAMES, *_REMOVAL, *_DRESS, *_LOOKS, *_ATTRIBUTES),
    "EROFS": (*_OPEN, *_NAMES, *_REMOVAL, *_DRESS, "ftruncate"),
}

#: Every call at which the process is killed.
CALLS = tuple(
    dict.fromkeys(
        (
            *(*_OPEN, *_NAMES, *_REMOVAL, *_WRITES, *_FLUSHES, *_DRESS, *_LOOKS, *_ATTRIBUTES, *_READS),
            *_OTHER,
        )
    )
)

#: Repeated by Python (PEP 475) until it passes, so that it is given once and not for ever.
REPEATED = "EINTR"

#: Calls that bring what was written to the disk: where one fails, nothing may be called durable.
FLUSHES = _FLUSHES[:3]
