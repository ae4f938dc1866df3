"""The routine of Linux: POSIX, with unnamed temporaries, POSIX ACLs, reflinks and early write-out."""

from __future__ import annotations

import errno
import os
import stat

from durably._commit.linux import xattr
from durably._commit.linux.xattr import ACL
from durably._commit.posix import metadata, probes
from durably._commit.posix.flags import DIRECTORY, LOOK, PLAIN, PRIVATE, READ, UNNAMED
from durably._commit.posix.strategy import Posix
from durably._system import mounts, temp_names
from durably._system.native.linux import NO_CLONE, RENAME_NOREPLACE, SYNC_FILE_RANGE_WRITE
from durably._system.promises import FileSystem
from durably._types import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.linux.tree import LinuxTrees
    from durably._commit.pending import PendingFile
    from durably._commit.posix.dirops import LinuxDirectoryOperations

_DESCRIPTORS = "/proc/self/fd"
_RELEASE = "/proc/sys/kernel/osrelease"

# open(2): the file system has no O_TMPFILE; the kernel has none.
_NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}
# renameat2(2): the file system refuses the flag; the kernel has no such call.
_NO_RENAMEAT2 = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
# The call is missing, or not for this kind of file.
_NO_RANGE_FLUSH = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ESPIPE}
# The client emulates "without replacement" on SMB by looking first: another host can lose its file.
_RACY_NOREPLACE = {"cifs", "smb3", "smbfs"}
# Here syncfs(2) reports every lost write; overlayfs answers 0 while data is lost, FUSE is not asked.
_WITNESSES = {"ext4", "xfs", "btrfs"}
_SYNCFS_REPORTS = (5, 8)
_MEMORY = "/proc/meminfo"
# Dirty data of others, for each file of ours, that syncfs(2) writes faster than each file is flushed.
_BYSTANDERS = (64 << 20) // 100


class Linux(Posix):
    """Linux, and Android."""

    name = "linux"

    def trees(self) -> LinuxTrees:
        from durably._commit.linux.tree import LinuxTrees

        return LinuxTrees(self)

    def directory_operations(self) -> LinuxDirectoryOperations:
        from durably._commit.posix.dirops import LinuxDirectoryOperations

        return LinuxDirectoryOperations(self)

    # The target.

    def _look(self, save: PendingFile) -> os.stat_result | None:
        try:
            fd = self.calls.open(save.name, READ, dir_fd=save.directory)
        except FileNotFoundError:
            return None
        except OSError:
            # A link, a socket, or a file that may not be read: to be looked at without opening it.
            return self._look_closed(save)
        try:
            found = self.calls.fstat(fd)
            if stat.S_ISREG(found.st_mode) and save.options.preserve_metadata:
                xattr.read_old(self.calls, save, fd)
            return found
        finally:
            self.calls.close(fd)

    def _look_closed(self, save: PendingFile) -> os.stat_result | None:
        found = super()._look(save)
        if found is not None and stat.S_ISREG(found.st_mode) and save.options.preserve_metadata:
            fd = self.calls.open(save.name, LOOK, dir_fd=save.directory)
            try:
                xattr.read_old(self.calls, save, f"{_DESCRIPTORS}/{fd}")
            finally:
                self.calls.close(fd)
        return found

    # The temporary.

    def create_mode(self, save: PendingFile) -> int:
        # The final one where it cannot be looser before: at first the file may have another group, or
        # inherit an ACL, which the group's bits mask; neither matters where the group may do what
        # everybody may. An old file's own ACL may forbid more, and is set later.
        mode = save.options.permissions
        if mode is None:
            mode = save.old.st_mode  # type: ignore[union-attr] # carries
        if save.old_attributes or mode & PRIVATE != PRIVATE or mode >> 3 & 7 != mode & 7:
            return PRIVATE
        return mode & 0o777

    def create_unnamed(self, save: PendingFile) -> None:
        dressed = save.preserve_metadata or save.options.permissions is not None
        mode = self.create_mode(save) if dressed else PLAIN
        if not _can_link_descriptors():
            self.create(save)
            return
        try:
            save.fd = self.calls.open(".", UNNAMED, mode, dir_fd=save.staging)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
            self.create(save)
            return
        save.steps.append("create unnamed")
        if save.options.durability is NONE:
            save.held = False  # its name will not outlast the commit, as that of one call's file
        else:
            self._hold(save)
        if dressed:
            self.apply_metadata(save)

    def link(self, save: PendingFile) -> None:
        while save.temporary is None:
            save.temporary = temp_names.fresh(save.kind)
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

    def apply_metadata(self, save: PendingFile) -> None:
        new = self.calls.fstat(save.fd)
        save.identity = (new.st_dev, new.st_ino)
        group_kept = not save.preserve_metadata or metadata.preserve_owner(self.calls, save, new)
        mode = save.options.permissions
        if save.old_attributes:
            xattr.preserve_user_attributes(self.calls, save)
            if mode is None and xattr.preserve_acl(self.calls, save, group_kept):
                return  # the ACL has set the mode as well
        names = xattr.names(self.calls, save.fd)
        if names and ACL in names:
            self.calls.removexattr(save.fd, ACL)  # inherited from the directory, not the old file's
        if mode is None:
            # Without setuid and setgid: they vouched for content that is gone.
            mode = save.old.st_mode & 0o777  # type: ignore[union-attr] # carries
            if not (group_kept and xattr.MASK_LOST.isdisjoint(save.lost)):
                mode = metadata.without_group(mode)
        if mode != new.st_mode & 0o7777:
            self.calls.fchmod(save.fd, mode)

    def access_list(self, fd: int) -> bytes | None:
        return xattr.access_list(self.calls, fd)

    def make_plain(self, save: PendingFile, written: os.stat_result) -> None:
        # A file that was moved in has inherited nothing here, and may have brought an ACL along.
        if self.access_list(save.fd) != save.plain_acl:
            if save.plain_acl is None:
                self.calls.removexattr(save.fd, ACL)
            else:
                self.calls.setxattr(save.fd, ACL, save.plain_acl)
        super().make_plain(save, written)

    # The content.

    def copy_old(self, save: PendingFile) -> None:
        source = self.calls.open(save.name, READ, dir_fd=save.directory)
        try:
            if self.share_extents(save.fd, source):
                save.steps.append("reflink")
            else:
                self._copy(save, source)
        finally:
            self.calls.close(source)

    def share_extents(self, target: int, source: int) -> bool:
        try:
            self.calls.ficlone(target, source)
        except OSError as error:
            if error.errno not in NO_CLONE:
                raise
            return False
        return True

    def copy_attributes(self, source: int, target: int) -> None:
        xattr.copy(self.calls, source, target)

    def start_flush(self, fd: int) -> None:
        try:
            self.calls.sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE)
        except OSError as error:
            if error.errno not in _NO_RANGE_FLUSH:
                raise

    # The commit.

    def flush_unwitnessed(self, save: PendingFile) -> None:
        if not self.reports_lost_writes(save.directory):
            super().flush_unwitnessed(save)
            return
        # The private directory was opened before the first write: it is told every error since.
        self.calls.syncfs(save.staging)
        save.steps.append("syncfs")

    def reports_lost_writes(self, directory: int) -> bool:
        """Whether syncfs(2) tells of every write that was lost since its descriptor was opened."""
        return self.file_system(directory).kind in _WITNESSES and _syncfs_reports()

    def common_flush(self, directory: int) -> str:
        return self.file_system(directory).device if self.reports_lost_writes(directory) else ""

    def is_quiet(self, files: int, size: int) -> bool:
        # syncfs(2) waits for everything that anybody has written there.
        try:
            with open(_MEMORY, "rb") as file:
                dirty = next((int(line.split()[1]) << 10 for line in file if line.startswith(b"Dirty:")), 0)
        except OSError:
            return False  # a sandbox without /proc
        return dirty - size <= _BYSTANDERS * files

    def flush_all(self, directory: int) -> None:
        self.calls.syncfs(directory)

    def set_mode(self, fd: int, mode: int) -> None:
        super().set_mode(fd, mode)
        if self.access_list(fd) is not None:
            self.calls.removexattr(fd, ACL)

    def move_exclusively(self, save: PendingFile, directory: int, name: str) -> None:
        if self.excludes(directory):
            self.rename_exclusively(save, directory, name)
        else:
            super().move_exclusively(save, directory, name)

    def excludes(self, directory: int) -> bool:
        """Whether a rename without replacement in an open directory never replaces what others make."""
        return self.file_system(directory).kind not in _RACY_NOREPLACE

    def rename_exclusively(self, save: PendingFile, directory: int, name: str) -> None:
        """`move_exclusively` where it ``excludes``."""
        try:
            self.calls.renameat2(save.staging, save.temporary, directory, name, RENAME_NOREPLACE)  # type: ignore[arg-type] # has a name
        except OSError as error:
            if error.errno not in _NO_RENAMEAT2:
                raise
            super().move_exclusively(save, directory, name)

    # Telling.

    def location(self, save: PendingFile, name: str) -> str:
        try:
            where = os.readlink(f"{_DESCRIPTORS}/{save.staging if save.in_fallback_dir else save.directory}")
        except OSError:
            return super().location(save, name)
        return os.path.join(where, name)

    def file_system(self, directory: int) -> FileSystem:
        try:
            return mounts.mount(self.calls.mount_id(directory))
        except OSError:
            return FileSystem("unknown")

    def is_same_mount(self, one: int, other: int) -> bool:
        # By mount number: a bind mount has the device number of the file system it shows.
        try:
            return self.calls.mount_id(one) == self.calls.mount_id(other)
        except ImportError:
            return super().is_same_mount(one, other)  # the interpreter ends, and binds no call any more

    def mounts_in(self, directory: int, name: str) -> list[str]:
        try:
            where = os.readlink(f"{_DESCRIPTORS}/{directory}")
            return mounts.below(os.path.join(where, name))
        except OSError:
            return []  # no /proc: each directory is compared with the one above it

    def permit(self, parent: int, name: str) -> None:
        # chmod(2) by name would follow a link that took the directory's place.
        fd = self.calls.open(name, LOOK | DIRECTORY, dir_fd=parent)
        try:
            self.calls.chmod(f"{_DESCRIPTORS}/{fd}", stat.S_IRWXU)
        finally:
            self.calls.close(fd)

    def supports(self, directory: int) -> frozenset[str]:
        trials = dict(probes.LINUX)
        if self.file_system(directory).kind in _RACY_NOREPLACE:
            del trials["no-replace"]
        return probes.tried(self.calls, directory, trials)


def _syncfs_reports() -> bool:
    with open(_RELEASE, encoding="utf-8") as file:
        major, minor = file.read().split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= _SYNCFS_REPORTS


_descriptors_can_be_linked: bool | None = None


def _can_link_descriptors() -> bool:
    """Whether /proc is mounted: without it an unnamed file could never get a name."""
    global _descriptors_can_be_linked
    if _descriptors_can_be_linked is None:
        _descriptors_can_be_linked = hasattr(os, "O_TMPFILE") and os.path.isdir(_DESCRIPTORS)
    return _descriptors_can_be_linked
