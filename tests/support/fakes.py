"""Tables of Windows and macOS whose calls act on the real disk of a Linux machine.

They answer as the documentation of those systems says; what they answer with otherwise can be set,
so that each fallback is met. They prove what the routines do, not what the systems do.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from durably._commit.posix.flags import F_SETFL
from durably._system.native import darwin as mac
from durably._system.native import linux
from durably._system.native import win32 as win
from durably._system.syscalls import Syscalls, _missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Identity = tuple[int, int]

#: What only the Linux stubs of ``os`` and ``fcntl`` have; the tests are skipped elsewhere.
LINUX: Any = os

FOREVER = 1 << 30
NO_SPACE = 112
ERRNO = {
    win.ERROR_FILE_NOT_FOUND: errno.ENOENT,
    win.ERROR_ACCESS_DENIED: errno.EACCES,
    win.ERROR_SHARING_VIOLATION: errno.EACCES,
    win.ERROR_LOCK_VIOLATION: errno.EACCES,
    win.ERROR_FILE_EXISTS: errno.EEXIST,
    NO_SPACE: errno.ENOSPC,
    win.ERROR_ALREADY_EXISTS: errno.EEXIST,
}
EVERY_RIGHT = win.FILE_SHARE_READ | win.FILE_SHARE_WRITE | win.FILE_SHARE_DELETE
_POSIX_ONLY = ("fchmod", "fchown", "flock", "fcntl", "renameatx_np", "fclonefileat", "fcopyfile", "fstatfs")
_LINUX_ONLY = ("renameat2", "sync_file_range", "syncfs", "ficlone", "mount_id")
_XATTRS = ("listxattr", "getxattr", "setxattr", "removexattr")
_ACL = "system.posix_acl_access"


def windows_error(code: int, path: str | None = None) -> OSError:
    """What a failed Win32 call raises: an error of Python's class for it, with ``winerror``."""
    error = OSError(ERRNO.get(code, errno.EINVAL), f"Windows error {code}", path)
    error.winerror = code  # type: ignore[attr-defined, unused-ignore] # a member on Windows only
    return error


class Plan:
    """Which calls are to fail, how often, and with what."""

    def __init__(self, error: Callable[[int], OSError]) -> None:
        self._error = error
        self._faults: dict[str, list[int]] = {}

    def fail(self, name: str, code: int, times: int = FOREVER) -> None:
        """Have the next calls of this name fail."""
        self._faults[name] = [code, times]

    def meet(self, name: str) -> None:
        """Raise if it is this call's turn."""
        fault = self._faults.get(name)
        if fault and fault[1]:
            fault[1] -= 1
            raise self._error(fault[0])


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: Any) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def time(self) -> float:
        return self.now


class _Opened:
    """One handle: what it may do, and what it lets others do."""

    def __init__(self, identity: Identity, access: int, share: int) -> None:
        self.identity = identity
        self.rights = _rights(access)
        self.share = share


def _rights(access: int) -> int:
    pairs = (
        (win.GENERIC_READ, win.FILE_SHARE_READ),
        (win.GENERIC_WRITE, win.FILE_SHARE_WRITE),
        (win.DELETE, win.FILE_SHARE_DELETE),
    )
    return sum(right for mask, right in pairs if access & mask)


def _identity(path: str | int) -> Identity:
    found = os.fstat(path) if isinstance(path, int) else os.lstat(path)
    return found.st_dev, found.st_ino


def _without_directories(function: Callable[..., Any]) -> Callable[..., Any]:
    """Windows has no calls relative to an open directory."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        if "dir_fd" in keywords or any(
            isinstance(keywords.get(k), int) for k in ("src_dir_fd", "dst_dir_fd")
        ):
            raise NotImplementedError("dir_fd unavailable on this platform")
        return function(*arguments, **keywords)

    return call


class Volume:
    """The state of a fake Windows: open handles, and what Linux does not keep of a file."""

    def __init__(self) -> None:
        self.plan = Plan(windows_error)
        self.handles: dict[int, _Opened] = {}
        self.going: dict[int, str] = {}
        """The files that go with their handle."""
        self.attributes: dict[Identity, int] = {}
        self.owners: dict[Identity, bytes] = {}
        self.lists: dict[Identity, bytes] = {}
        self.streams: dict[Identity, list[str]] = {}
        self.information: tuple[str, int, int] = ("NTFS", 0, 3)
        self.compresses = False
        """Whether new files get the attribute from their directory."""

    def set_attributes(self, path: Path, attributes: int) -> None:
        self.attributes[_identity(str(path))] = attributes

    def attributes_of(self, path: Path) -> int:
        return self.attributes.get(_identity(str(path)), win.FILE_ATTRIBUTE_NORMAL)

    def protect(self, path: Path, owner: bytes = b"me", access: bytes = b"private") -> None:
        identity = _identity(str(path))
        self.owners[identity], self.lists[identity] = owner, access

    def security_of(self, path: Path) -> tuple[bytes, bytes]:
        identity = _identity(str(path))
        return self.owners.get(identity, b"me"), self.lists.get(identity, b"inherited")

    @contextmanager
    def held(self, path: Path, share: int = win.FILE_SHARE_READ | win.FILE_SHARE_WRITE) -> Iterator[None]:
        """As long as another process reads the file."""
        key = -1 - len(self.handles)
        self.handles[key] = _Opened(_identity(str(path)), win.GENERIC_READ, share)
        try:
            yield
        finally:
            del self.handles[key]

    # What the calls check.

    def opened(self, path: str) -> list[_Opened]:
        try:
            identity = _identity(path)
        except FileNotFoundError:
            return []
        return [opened for opened in self.handles.values() if opened.identity == identity]

    def check_sharing(self, path: str, rights: int, share: int) -> None:
        for other in self.opened(path):
            if rights & ~other.share or other.rights & ~share:
                raise windows_error(win.ERROR_SHARING_VIOLATION, path)

    def check_replaced(self, path: str, *, replace: bool, posix: bool) -> None:
        if not os.path.lexists(path):
            return
        if not replace:
            raise windows_error(win.ERROR_ALREADY_EXISTS, path)
        attributes = self.attributes.get(_identity(path), 0)
        if stat.S_ISDIR(os.lstat(path).st_mode) or attributes & win.FILE_ATTRIBUTE_READONLY:
            raise windows_error(win.ERROR_ACCESS_DENIED, path)
        if posix:
            self.check_sharing(path, win.FILE_SHARE_DELETE, EVERY_RIGHT)
        elif self.opened(path):
            raise windows_error(win.ERROR_ACCESS_DENIED, path)


class FakeWindows(Syscalls):
    """The table of Windows. Handles are descriptors; ``volume`` is what a test looks at and sets."""

    def __init__(self) -> None:
        super().__init__()
        self.volume = volume = Volume()
        self.clocks = clock = Clock()
        for name in (*_POSIX_ONLY, *_LINUX_ONLY, *_XATTRS):
            setattr(self, name, _missing(name))
        for name in ("open", "stat", "unlink", "mkdir", "rmdir", "readlink", "replace", "link"):
            setattr(self, name, _without_directories(getattr(os, name)))
        for name, function in _WINDOWS.items():
            setattr(self, name, _call(volume, name, function))
        self.sleep = clock.sleep
        self.clock = clock.time


def _call(volume: Volume, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        volume.plan.meet(name)
        return function(volume, *arguments, **keywords)

    return call


def _create_file(
    volume: Volume,
    path: str,
    access: int,
    share: int,
    disposition: int,
    flags: int,
    security: bytes | None = None,
) -> int:
    owner, access_list = _parsed(security)
    if owner not in (None, b"me"):
        raise windows_error(win.ERROR_INVALID_OWNER, path)
    always = disposition == win.OPEN_ALWAYS and not os.path.lexists(path)
    new = disposition == win.CREATE_NEW or always
    if not new:
        if not os.path.lexists(path):
            raise windows_error(win.ERROR_FILE_NOT_FOUND, path)
        volume.check_sharing(path, _rights(access), share)
        readonly = volume.attributes.get(_identity(path), 0) & win.FILE_ATTRIBUTE_READONLY
        if readonly and access & win.GENERIC_WRITE:
            raise windows_error(win.ERROR_ACCESS_DENIED, path)
    how = os.O_CREAT | os.O_EXCL if new else LINUX.O_NOFOLLOW
    if os.path.islink(path):
        how = LINUX.O_PATH | LINUX.O_NOFOLLOW
    try:
        handle = os.open(path, how | (os.O_RDONLY if os.path.isdir(path) else os.O_RDWR))
    except FileExistsError:
        raise windows_error(win.ERROR_FILE_EXISTS, path) from None
    identity = _identity(handle)
    volume.handles[handle] = _Opened(identity, access, share)
    if flags & win.FILE_FLAG_DELETE_ON_CLOSE:
        volume.going[handle] = path
    if new:
        compressed = win.FILE_ATTRIBUTE_COMPRESSED if volume.compresses else 0
        volume.attributes[identity] = flags & 0xFFFF | compressed
        volume.owners[identity] = b"me"
        volume.lists[identity] = access_list or b"inherited"
        volume.streams.pop(identity, None)
    return handle


def _close(volume: Volume, handle: int) -> None:
    volume.handles.pop(handle, None)
    going = volume.going.pop(handle, None)
    if going is not None:
        os.unlink(going)
    os.close(handle)


def _open_osfhandle(volume: Volume, handle: int, flags: int) -> int:
    if flags & os.O_APPEND:
        linux_fcntl(handle, F_SETFL, os.O_RDWR | os.O_APPEND)
    return handle


def _get_osfhandle(volume: Volume, fd: int) -> int:
    os.fstat(fd)
    return fd


def _rename_by_handle(volume: Volume, handle: int, path: str, flags: int) -> None:
    if not volume.handles[handle].rights & win.FILE_SHARE_DELETE:
        raise windows_error(win.ERROR_ACCESS_DENIED, path)
    replace = bool(flags & win.FILE_RENAME_REPLACE_IF_EXISTS)
    volume.check_replaced(path, replace=replace, posix=bool(flags & win.FILE_RENAME_POSIX_SEMANTICS))
    os.rename(os.readlink(f"/proc/self/fd/{handle}"), path)


def _move_file(volume: Volume, old: str, new: str, flags: int) -> None:
    volume.check_sharing(old, win.FILE_SHARE_DELETE, EVERY_RIGHT)
    volume.check_replaced(new, replace=bool(flags & win.MOVEFILE_REPLACE_EXISTING), posix=False)
    os.rename(old, new)


def _get_file_attributes(volume: Volume, path: str) -> int:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        raise windows_error(win.ERROR_FILE_NOT_FOUND, path) from None
    attributes = volume.attributes.get((status.st_dev, status.st_ino), win.FILE_ATTRIBUTE_NORMAL)
    if stat.S_ISLNK(status.st_mode):
        directory = win.FILE_ATTRIBUTE_DIRECTORY if os.path.isdir(path) else 0
        return win.FILE_ATTRIBUTE_REPARSE_POINT | directory
    return attributes | (win.FILE_ATTRIBUTE_DIRECTORY if stat.S_ISDIR(status.st_mode) else 0)


def _set_file_attributes(volume: Volume, path: str, attributes: int) -> None:
    volume.attributes[_identity(path)] = attributes


def _parsed(security: bytes | None) -> tuple[bytes | None, bytes | None]:
    parts = dict(part.split(b":", 1) for part in (security or b"").split(b";") if part)
    return parts.get(b"O"), parts.get(b"D")


def _get_security(volume: Volume, path: str, information: int) -> bytes:
    identity = _identity(path)
    parts = []
    if information & win.OWNER_SECURITY_INFORMATION:
        parts.append(b"O:" + volume.owners.get(identity, b"me"))
    if information & win.DACL_SECURITY_INFORMATION:
        parts.append(b"D:" + volume.lists.get(identity, b"inherited"))
    return b";".join(parts)


def _set_security(volume: Volume, handle: int, information: int, security: bytes) -> None:
    assert information == win.DACL_SECURITY_INFORMATION
    volume.lists[_identity(handle)] = _parsed(security)[1] or b""


def _list_streams(volume: Volume, path: str) -> list[str]:
    return volume.streams.get(_identity(path), [])


def _volume_information(volume: Volume, path: str) -> tuple[str, int, int]:
    return volume.information


def _is_process_running(volume: Volume, process: int) -> bool:
    return os.path.exists(f"/proc/{process}")


def _unlink(volume: Volume, path: str) -> None:
    volume.check_sharing(path, win.FILE_SHARE_DELETE, EVERY_RIGHT)
    if os.path.lexists(path) and volume.attributes.get(_identity(path), 0) & win.FILE_ATTRIBUTE_READONLY:
        raise windows_error(win.ERROR_ACCESS_DENIED, path)
    os.unlink(path)


def _rmdir(volume: Volume, path: str) -> None:
    volume.check_sharing(path, win.FILE_SHARE_DELETE, EVERY_RIGHT)
    os.unlink(path) if os.path.islink(path) else os.rmdir(path)


def _create_junction(volume: Volume, target: str, path: str) -> None:
    os.symlink(target, path)


_WINDOWS: dict[str, Callable[..., Any]] = {
    "create_file": _create_file,
    "close": _close,
    "close_handle": _close,
    "open_osfhandle": _open_osfhandle,
    "get_osfhandle": _get_osfhandle,
    "rename_by_handle": _rename_by_handle,
    "move_file": _move_file,
    "create_junction": _create_junction,
    "get_file_attributes": _get_file_attributes,
    "set_file_attributes": _set_file_attributes,
    "get_security": _get_security,
    "set_security": _set_security,
    "list_streams": _list_streams,
    "volume_information": _volume_information,
    "is_process_running": _is_process_running,
    "unlink": _unlink,
    "rmdir": _rmdir,
}


def _errno_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class FakeMacOS(Syscalls):
    """The table of macOS, over the calls of Linux that do the like. ``disk`` is what a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = disk = Disk()
        for name in (*_LINUX_ONLY, *_XATTRS):
            setattr(self, name, _missing(name))
        for name in ("fcntl", "renameatx_np", "fclonefileat", "fcopyfile", "fstatfs"):
            setattr(self, name, getattr(disk, name))


class Disk:
    """A fake APFS: its type, and which calls it refuses."""

    def __init__(self) -> None:
        self.plan = Plan(_errno_error)
        self.kind = "apfs"
        self.flags = mac.MNT_LOCAL | mac.MNT_JOURNALED
        self.flushes: list[tuple[int, bool]] = []
        """The full and barrier flushes: the command, and whether it was of a directory."""

    def fcntl(self, fd: int, command: int, argument: int | bytes = 0) -> Any:
        if command == mac.F_GETPATH:
            return os.fsencode(os.readlink(f"/proc/self/fd/{fd}")).ljust(1024, b"\0")
        if command not in (mac.F_FULLFSYNC, mac.F_BARRIERFSYNC):
            return linux_fcntl(fd, command, argument)
        directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        self.plan.meet("flush directory" if directory else "flush")
        self.flushes.append((command, directory))
        os.fsync(fd)
        return 0

    def renameatx_np(self, old_directory: int, old: str, new_directory: int, new: str, flags: int) -> None:
        self.plan.meet("renameatx_np")
        same = {mac.RENAME_EXCL: linux.RENAME_NOREPLACE, mac.RENAME_SWAP: linux.RENAME_EXCHANGE}[flags]
        linux.renameat2(old_directory, old, new_directory, new, same)

    def fclonefileat(self, source: int, directory: int, name: str, flags: int) -> None:
        self.plan.meet("fclonefileat")
        found = os.fstat(source)
        clone = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
        try:
            os.write(clone, LINUX.pread(source, found.st_size, 0))
            LINUX.fchmod(clone, found.st_mode & 0o777)
            self._copy_attributes(source, clone, lambda name: True)
            os.utime(clone, ns=(found.st_atime_ns, found.st_mtime_ns))
        finally:
            os.close(clone)

    def fcopyfile(self, source: int, target: int, flags: int) -> None:
        acl = flags & mac.COPYFILE_ACL
        self.plan.meet("fcopyfile acl" if acl else "fcopyfile xattr")
        self._copy_attributes(source, target, lambda name: (name == _ACL) == bool(acl))

    def _copy_attributes(self, source: int, target: int, wanted: Callable[[str], bool]) -> None:
        for name in filter(wanted, LINUX.listxattr(source)):
            LINUX.setxattr(target, name, LINUX.getxattr(source, name))

    def fstatfs(self, fd: int) -> tuple[str, int]:
        self.plan.meet("fstatfs")
        return self.kind, self.flags


def linux_fcntl(fd: int, command: int, argument: int | bytes) -> Any:
    return mac.fcntl(fd, command, argument)
