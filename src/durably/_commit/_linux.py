"""The routine of Linux: POSIX, with unnamed temporaries, POSIX ACLs, reflinks and early write-out."""

from __future__ import annotations

import errno
import os
import stat

from durably import _mounts, _names
from durably._commit import _metadata, _trials
from durably._commit._flags import LOOK, PLAIN, PRIVATE, READ, UNNAMED
from durably._commit._posix import Posix
from durably._native.linux import NO_CLONE, RENAME_NOREPLACE, SYNC_FILE_RANGE_WRITE
from durably._promises import FileSystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._save import Save

_ACL = "system.posix_acl_access"
_DESCRIPTORS = "/proc/self/fd"
_RELEASE = "/proc/sys/kernel/osrelease"

# open(2): the file system has no O_TMPFILE; the kernel has none.
_NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
# renameat2(2): the file system refuses the flag; the kernel has no such call.
_NO_RENAMEAT2 = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
# "No extended attributes here", "not yours to read or set", "not there any more".
_NO_XATTR = {
    errno.EACCES,
    errno.EINVAL,
    errno.ENODATA if hasattr(errno, "ENODATA") else errno.ENOENT,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EPERM,
}
# Attributes that may be there and cannot be seen: a sandbox, or no /proc for a file that may not be read.
_UNSEEN_XATTR = {errno.EACCES, errno.EPERM, errno.ENOENT}
# The group bits of a mode were the ACL's mask, and mean something else without it.
_ACL_LOST = {"acl", "xattrs"}
# The call is missing, or not for this kind of file.
_NO_RANGE_FLUSH = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ESPIPE}
# The client emulates "without replacement" on SMB by looking first: another host can lose its file.
_RACY_NOREPLACE = {"cifs", "smb3", "smbfs"}
# Here syncfs(2) reports every lost write; overlayfs answers 0 while data is lost, FUSE is not asked.
_WITNESSES = {"ext4", "xfs", "btrfs"}
_SYNCFS_REPORTS = (5, 8)


class Linux(Posix):
    """Linux, and Android."""

    name = "linux"

    # The target.

    def _look(self, save: Save) -> os.stat_result | None:
        try:
            fd = self.calls.open(save.name, READ, dir_fd=save.directory)
        except FileNotFoundError:
            return None
        except OSError:
            # A link, a socket, or a file that may not be read: to be looked at without opening it.
            return self._look_closed(save)
        try:
            found = self.calls.fstat(fd)
            if stat.S_ISREG(found.st_mode) and save.options.carries:
                self._read_attributes(save, fd)
            return found
        finally:
            self.calls.close(fd)

    def _look_closed(self, save: Save) -> os.stat_result | None:
        found = super()._look(save)
        if found is not None and stat.S_ISREG(found.st_mode) and save.options.carries:
            fd = self.calls.open(save.name, LOOK, dir_fd=save.directory)
            try:
                self._read_attributes(save, f"{_DESCRIPTORS}/{fd}")
            finally:
                self.calls.close(fd)
        return found

    def _read_attributes(self, save: Save, file: int | str) -> None:
        """Read what is carried over: the ACL and the user's own attributes."""
        try:
            names = self.calls.listxattr(file)
        except OSError as error:
            if error.errno in _UNSEEN_XATTR:
                _metadata.lose(save, "xattrs", error)
            elif error.errno not in _NO_XATTR:
                raise
            return
        if names:
            save.old_attributes = {
                name: self._attribute(file, name)
                for name in names
                if name == _ACL or name.startswith("user.")
            }

    def _attribute_names(self, file: int) -> list[str]:
        try:
            names: list[str] = self.calls.listxattr(file)
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise
            return []
        return names

    def _attribute(self, file: int | str, name: str) -> bytes | OSError:
        try:
            value: bytes = self.calls.getxattr(file, name)
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise
            return error
        return value

    # The temporary.

    def create_unnamed(self, save: Save) -> None:
        dressed = save.carries or save.options.permissions is not None
        if not _can_link_descriptors():
            self.create(save)
            return
        try:
            save.fd = self.calls.open(".", UNNAMED, PRIVATE if dressed else PLAIN, dir_fd=save.staging)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
            self.create(save)
            return
        save.steps.append("create unnamed")
        self._hold(save)
        if dressed:
            self._dress(save)

    def link(self, save: Save) -> None:
        while save.temporary is None:
            save.temporary = _names.fresh(save.kind)
            try:
                # With a directory descriptor: without one CPython calls link(2), which does not
                # follow the descriptor's link and fails with EXDEV (python/cpython#81793).
                self.calls.link(
                    f"{_DESCRIPTORS}/{save.fd}",
                    save.temporary,
                    dst_dir_fd=save.staging,
                    follow_symlinks=True,
                )
            except FileExistsError:
                save.temporary = None
        save.steps.append("link")

    def _dress(self, save: Save) -> None:
        new = self.calls.fstat(save.fd)
        save.identity = (new.st_dev, new.st_ino)
        group_kept = not save.carries or _metadata.carry_owner(self.calls, save, new)
        mode = save.options.permissions
        if save.old_attributes:
            self._carry_user_attributes(save)
            if mode is None and self._carry_acl(save, group_kept):
                return  # the ACL has set the mode as well
        names = self._attribute_names(save.fd)
        if names and _ACL in names:
            self.calls.removexattr(save.fd, _ACL)  # inherited from the directory, not the old file's
        if mode is None:
            mode = _metadata.carried_mode(save.old, group_kept and _ACL_LOST.isdisjoint(save.lost))  # type: ignore[arg-type] # carries
        if mode != new.st_mode & 0o7777:
            self.calls.fchmod(save.fd, mode)

    def access_list(self, fd: int) -> bytes | None:
        if _ACL not in self._attribute_names(fd):
            return None
        acl: bytes = self.calls.getxattr(fd, _ACL)
        return acl

    def _make_plain(self, save: Save, written: os.stat_result) -> None:
        # A file that was moved in has inherited nothing here, and may have brought an ACL along.
        if self.access_list(save.fd) != save.plain_acl:
            if save.plain_acl is None:
                self.calls.removexattr(save.fd, _ACL)
            else:
                self.calls.setxattr(save.fd, _ACL, save.plain_acl)
        super()._make_plain(save, written)

    def _carry_user_attributes(self, save: Save) -> None:
        for name, value in save.old_attributes.items():
            if name != _ACL:
                self._set_attribute(save, name, value, f"xattr:{name}")

    def _carry_acl(self, save: Save, group_kept: bool) -> bool:
        value = save.old_attributes.get(_ACL)
        if value is None:
            return False
        if not group_kept and isinstance(value, bytes):
            value = _metadata.acl_without_group(value)
        return self._set_attribute(save, _ACL, value, "acl")

    def _set_attribute(self, save: Save, name: str, value: bytes | OSError, what: str) -> bool:
        try:
            if isinstance(value, OSError):
                raise value
            self.calls.setxattr(save.fd, name, value)
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise
            _metadata.lose(save, what, error)
            return False
        return True

    # The content.

    def copy_old(self, save: Save) -> None:
        source = self.calls.open(save.name, READ, dir_fd=save.directory)
        try:
            self.calls.ficlone(save.fd, source)
            save.steps.append("reflink")
        except OSError as error:
            if error.errno not in NO_CLONE:
                raise
            self._copy(save, source)
        finally:
            self.calls.close(source)

    def start_flush(self, fd: int) -> None:
        try:
            self.calls.sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE)
        except OSError as error:
            if error.errno not in _NO_RANGE_FLUSH:
                raise

    # The commit.

    def flush_unwitnessed(self, save: Save) -> None:
        kind = self.file_system(save.directory).kind
        if kind not in _WITNESSES or not _syncfs_reports():
            super().flush_unwitnessed(save)
            return
        # The private directory was opened before the first write: it is told every error since.
        self.calls.syncfs(save.staging)
        save.steps.append("syncfs")

    def _move_exclusively(self, save: Save, directory: int, name: str) -> None:
        if self.file_system(directory).kind in _RACY_NOREPLACE:
            super()._move_exclusively(save, directory, name)
            return
        try:
            self.calls.renameat2(save.staging, save.temporary, directory, name, RENAME_NOREPLACE)  # type: ignore[arg-type] # has a name
        except OSError as error:
            if error.errno not in _NO_RENAMEAT2:
                raise
            super()._move_exclusively(save, directory, name)

    # Telling.

    def location(self, save: Save, name: str) -> str:
        try:
            where = os.readlink(f"{_DESCRIPTORS}/{save.staging if save.spare else save.directory}")
        except OSError:
            return super().location(save, name)
        return os.path.join(where, name)

    def file_system(self, directory: int) -> FileSystem:
        try:
            return _mounts.mount(self.calls.mount_id(directory))
        except OSError:
            return FileSystem("unknown")

    def is_same_mount(self, one: int, other: int) -> bool:
        # By mount number: a bind mount has the device number of the file system it shows.
        return self.calls.mount_id(one) == self.calls.mount_id(other)

    def supports(self, directory: int) -> frozenset[str]:
        trials = dict(_trials.LINUX)
        if self.file_system(directory).kind in _RACY_NOREPLACE:
            del trials["no-replace"]
        return _trials.tried(self.calls, directory, trials)


def _syncfs_reports() -> bool:
    with open(_RELEASE, encoding="ascii") as file:
        major, minor = file.read().split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= _SYNCFS_REPORTS


_descriptors_can_be_linked: bool | None = None


def _can_link_descriptors() -> bool:
    """Whether /proc is mounted: without it an unnamed file could never get a name."""
    global _descriptors_can_be_linked
    if _descriptors_can_be_linked is None:
        _descriptors_can_be_linked = hasattr(os, "O_TMPFILE") and os.path.isdir(_DESCRIPTORS)
    return _descriptors_can_be_linked
