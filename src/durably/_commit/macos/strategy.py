"""The routine of macOS: POSIX, with flushes that reach the disk, clones, and ACLs copied by the system."""

from __future__ import annotations

import errno
import os
import stat
import sys

from durably._commit.pending import CLOSED
from durably._commit.posix import metadata, probes
from durably._commit.posix.flags import PRIVATE, READ
from durably._commit.posix.strategy import Posix
from durably._system import temp_names
from durably._system.native import darwin as mac
from durably._system.promises import FileSystem
from durably._types import CONSISTENT, NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from durably._commit.macos.tree import MacOSTrees
    from durably._commit.pending import PendingFile
    from durably._commit.posix.dirops import MacOSDirectoryOperations

_UPDATE = READ & ~os.O_RDONLY | os.O_RDWR
_PATH_SIZE = 1024
_APFS = "apfs"
_OPTIONS = {
    mac.MNT_RDONLY: "read-only",
    mac.MNT_SYNCHRONOUS: "synchronous",
    mac.MNT_ASYNC: "asynchronous",
    mac.MNT_LOCAL: "local",
    mac.MNT_JOURNALED: "journaled",
}

# How file systems refuse F_FULLFSYNC: SMB and NTFS; WebDAV and macFUSE; old ZFS.
_NO_FULL_FLUSH = {errno.ENOTSUP, errno.EINVAL, errno.ENOTTY}
# renameatx_np(2): the file system lacks the flag; the kernel lacks the call.
_NO_EXCL = {errno.ENOTSUP, errno.EINVAL, errno.ENOSYS}
# fclonefileat(2): no clones here, or not of this file.
_NO_CLONE = {errno.ENOTSUP, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EACCES, errno.EPERM}
# "Not here", "not yours to read or set".
_NO_ATTRIBUTES = {errno.ENOTSUP, errno.EINVAL, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.ENOENT}


class MacOS(Posix):
    """macOS 10.12 and later."""

    name = "macos"

    def trees(self) -> MacOSTrees:
        from durably._commit.macos.tree import MacOSTrees

        return MacOSTrees(self)

    def directory_operations(self) -> MacOSDirectoryOperations:
        from durably._commit.posix.dirops import MacOSDirectoryOperations

        return MacOSDirectoryOperations(self)

    # The temporary.

    def apply_metadata(self, save: PendingFile) -> None:
        if save.preserve_metadata:
            self._preserve_attributes(save)
        super().apply_metadata(save)

    def _preserve_attributes(self, save: PendingFile) -> None:
        try:
            old = self.calls.open(save.name, READ, dir_fd=save.directory)
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTES:
                raise
            metadata.lose(save, "acl", error)
            metadata.lose(save, "xattrs", error)
            return
        try:
            self._copy_attributes(save, old, mac.COPYFILE_ACL, "acl")
            self._copy_attributes(save, old, mac.COPYFILE_XATTR, "xattrs")
        finally:
            self.calls.close(old)

    def _copy_attributes(self, save: PendingFile, old: int, which: int, what: str) -> None:
        try:
            self.calls.fcopyfile(old, save.fd, which)
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTES:
                raise
            metadata.lose(save, what, error)

    # The content.

    def copy_old(self, save: PendingFile) -> None:
        source = self.calls.open(save.name, READ, dir_fd=save.directory)
        try:
            if not (self._may_clone(save, source) and self._clone(save, source)):
                self._copy(save, source)
        finally:
            self.calls.close(source)

    def _may_clone(self, save: PendingFile, source: int) -> bool:
        """Whether a clone, which has the old mode, ACL and attributes at once, is never too open."""
        if not save.preserve_metadata or save.lost or self.file_system(save.directory).kind != _APFS:
            return False
        old, new = self.calls.fstat(source), self.calls.fstat(save.fd)
        looser = stat.S_IMODE(old.st_mode) & 0o777 & ~new.st_mode
        # A clone belongs to its maker and to the directory's group, whatever the old file's are.
        group = self.calls.fstat(save.directory).st_gid
        owned = _is_ours(old) and old.st_gid == group == new.st_gid
        writable = old.st_mode & PRIVATE == PRIVATE
        return owned and writable and not looser

    def _clone(self, save: PendingFile, source: int) -> bool:
        """Put a clone of the old file in the temporary's place. False: there is an empty one again."""
        temporary, fd = save.temporary, save.fd
        assert temporary is not None
        save.fd = CLOSED
        self.calls.close(fd)
        self.calls.unlink(temporary, dir_fd=save.staging)
        # Of the kind that a sweep leaves alone while its process lives: the lock comes after the name.
        save.temporary = temp_names.fresh("f" if save.held else save.kind)
        try:
            self.calls.fclonefileat(source, save.staging, save.temporary, 0)
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            save.steps.remove("create")
            self.create(save)
            return False
        save.fd = self.calls.open(save.temporary, _UPDATE, dir_fd=save.staging)
        self.lock(save.fd)
        self.apply_metadata(save)
        self.calls.utime(save.fd)  # a clone is as old as its source
        save.steps.append("clone")
        return True

    # The commit.

    def flush(self, save: PendingFile) -> None:
        barrier = save.options.durability is CONSISTENT
        command = mac.F_BARRIERFSYNC if barrier else mac.F_FULLFSYNC
        name = "F_BARRIERFSYNC" if barrier else "F_FULLFSYNC"
        refusal = self._flush_to_disk(save.fd, command)
        if refusal:
            save.skip_flush(name, refusal, NONE)
        save.steps.append("fsync" if refusal else name)

    def fsync_names(self, save: PendingFile, directory: int) -> None:
        refusal = self._flush_to_disk(directory, mac.F_FULLFSYNC)
        if refusal:
            save.skip_flush("fsync directory", refusal, CONSISTENT)

    def _flush_to_disk(self, fd: int, command: int) -> str:
        """Flush past the drive's cache. Returns "", or why only fsync(2) was done, which stops there."""
        try:
            self.calls.fcntl(fd, command)
        except OSError as error:
            if error.errno not in _NO_FULL_FLUSH:
                raise
            self.calls.fsync(fd)
            return f"not supported here ({error.strerror}): fsync was done, and the drive may hold it back"
        return ""

    def move_exclusively(self, save: PendingFile, directory: int, name: str) -> None:
        try:
            self.calls.renameatx_np(save.staging, save.temporary, directory, name, mac.RENAME_EXCL)  # type: ignore[arg-type] # has a name
        except OSError as error:
            if error.errno not in _NO_EXCL:
                raise
            super().move_exclusively(save, directory, name)

    # Telling.

    def location(self, save: PendingFile, name: str) -> str:
        try:
            path: bytes = self.calls.fcntl(
                save.staging if save.in_fallback_dir else save.directory, mac.F_GETPATH, bytes(_PATH_SIZE)
            )
        except (OSError, TypeError):
            return super().location(save, name)  # no directory was opened, or it was removed
        return os.path.join(os.fsdecode(path.partition(b"\0")[0]), name)

    def file_system(self, directory: Any) -> FileSystem:
        try:
            kind, flags = self.calls.fstatfs(directory)
        except OSError:
            return FileSystem("unknown")
        return FileSystem(kind, tuple(name for flag, name in _OPTIONS.items() if flags & flag))

    def supports(self, directory: Any) -> frozenset[str]:
        return probes.tried(self.calls, directory, probes.MACOS)


def _is_ours(file: os.stat_result) -> bool:
    return sys.platform != "win32" and file.st_uid == os.geteuid()
