"""Saving a whole directory: staged beside the target, and exchanged with it in one step."""

from __future__ import annotations

import errno
import os
import stat

from durably._commit.pending import CLOSED
from durably._commit.posix import private_dir, tree_archive, tree_exchange, tree_retention, tree_versions
from durably._commit.posix import target as _entry
from durably._commit.posix.flags import DIRECTORY, NOFOLLOW
from durably._commit.posix.rename import NO_DIRECTORY_FLUSH
from durably._commit.posix.tree_copy import copy_tree
from durably._commit.posix.tree_walk import flush_tree, measure
from durably._commit.tree_strategy import TreeRoutine
from durably._errors import UnsupportedError, took_place
from durably._system import temp_names
from durably._types import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingFile, PendingTree
    from durably._commit.posix.strategy import Posix

_PLAIN = 0o777
_KEPT_BITS = stat.S_ISGID | stat.S_ISVTX


class Trees(TreeRoutine):
    """How a POSIX system saves a directory; what its native calls are is said by the classes below it."""

    def __init__(self, routine: Posix) -> None:
        self.routine = self.posix = routine
        self.calls = routine.calls

    # What systems differ in.

    def swap(self, directory: int, name: str, other: int, other_name: str) -> None:
        """Exchange two names. Raises OSError where there is no such call."""
        raise OSError(errno.ENOSYS, "this system has no call that exchanges two names")

    def move(self, directory: int, name: str, other: int, other_name: str) -> None:
        """Rename to a name that must not exist. Raises OSError where there is no such call."""
        raise OSError(errno.ENOSYS, "this system has no rename that replaces nothing")

    def move_anyhow(self, directory: int, name: str, other: int, other_name: str) -> None:
        """`move`, where there is one; a plain rename replaces an empty directory at most (rename(2))."""
        try:
            self.move(directory, name, other, other_name)
        except OSError as error:
            if error.errno not in tree_exchange.NO_FLAG:
                raise
            self.calls.replace(name, other_name, src_dir_fd=directory, dst_dir_fd=other)

    def read_attributes(self, save: PendingFile, fd: int) -> None:
        """Read what is carried over of an old directory or file besides owner and mode."""

    def is_witnessed(self, save: PendingTree) -> bool:
        """Whether one syncfs tells of every write that was lost in the tree."""
        return False

    def finish_flush(self, save: PendingTree) -> None:
        """Have the drive write what `flush_tree` has handed to it."""

    # The target.

    def locate(self, save: PendingTree) -> None:
        path = save.path.rstrip("/") if save.path.strip("/") else save.path
        if path.rpartition("/")[2] in (".", "..") or (path and not path.strip("/")):
            message = "does not name a directory by a name of its own, which could lead to another one"
            raise OSError(errno.EINVAL, message, save.path)
        save.directory = save.staging = _entry.enter(self.calls, save, path, None)
        self.look(save)
        if save.keep_old is not None:
            tree_archive.locate(self.posix, save, save.keep_old)

    def look(self, save: PendingTree) -> None:
        """See what the target is. Sets ``old``; refuses everything but a directory that can be moved."""
        save.old, save.old_version, save.preserve_metadata = None, None, False
        try:
            found = self.posix.lookup(save.directory, save.name)
        except FileNotFoundError:
            return
        if not save.options.overwrite:
            raise _entry.exists(save)
        if save.fallback is not None:
            save.old_version = tree_versions.version(self.posix, save, found)
            if save.old_version is None:
                return
        else:
            _check_kind(save, found)
        name = save.old_version or save.name
        directory = self.calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=save.directory)
        try:
            self.check_unmounted(save, save.directory, name, directory)
            save.replaces(self.calls.fstat(directory))
            if save.preserve_metadata:
                self.read_attributes(save, directory)
        finally:
            self.calls.close(directory)

    def check_unmounted(self, save: PendingTree, parent: int, name: str, directory: int) -> None:
        """Refuse a tree that contains a mount: it would move along, and be emptied with the old tree."""
        mounted = self.posix.mounts_in(parent, name)
        if not mounted and not self.posix.is_same_mount(parent, directory):
            mounted = [self.posix.location(save, name)]
        if mounted:
            message = (
                f"contains a mounted file system, at {mounted[0]}, and cannot be exchanged as a whole; "
                "nothing was changed; unmount it first, or save the directories beside it"
            )
            raise UnsupportedError(errno.EBUSY, message, save.path)

    # The new tree.

    def create(self, save: PendingTree) -> str:
        private_dir.make(self.posix, save)
        if save.fallback is None:
            tree_exchange.check_supported(self, save)
        self.calls.mkdir(save.name, _PLAIN, dir_fd=save.staging)
        save.fd = self.calls.open(save.name, DIRECTORY | NOFOLLOW, dir_fd=save.staging)
        save.plain_mode = stat.S_IMODE(self.calls.fstat(save.fd).st_mode)
        save.plain_acl = self.posix.access_list(save.fd)
        if save.copies and save.old is not None:
            self._copy_old(save)
        fd, save.fd = save.fd, CLOSED
        self.calls.close(fd)
        return os.path.join(self.posix.location(save, save.private or ""), save.name)

    def _copy_old(self, save: PendingTree) -> None:
        name = save.old_version or save.name
        source = self.calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=save.directory)
        try:
            copy_tree(self, save, source, save.fd)
        finally:
            self.calls.close(source)
        save.steps.append("copy")

    def take_over(self, save: PendingTree) -> int:
        calls = self.calls
        private_dir.check_alone(save, private_dir.listed(calls, save.staging))
        if not stat.S_ISDIR(self.posix.lookup(save.staging, save.name).st_mode):
            message = "what was staged is not a directory; the target was not changed"
            raise NotADirectoryError(errno.ENOTDIR, message, save.path)
        save.fd = calls.open(save.name, DIRECTORY | NOFOLLOW, dir_fd=save.staging)
        self.check_unmounted(save, save.staging, save.name, save.fd)
        save.steps.append("write")
        early = save.options.durability is not NONE and not self.is_witnessed(save)
        size = measure(self.posix, save.fd, early=early)
        self.look(save)
        self.apply_metadata(save)
        new = self.calls.fstat(save.fd)
        save.identity = new.st_dev, new.st_ino
        if save.fallback is not None:
            tree_versions.stage(self, save)
        if save.old is not None and save.kept is not None:
            tree_retention.mark(self.posix, save)
        return size

    def apply_metadata(self, save: PendingTree) -> None:
        """Give the new tree's own directory the mode and the owner that it is to have."""
        routine, new = self.posix, self.calls.fstat(save.fd)
        if not save.preserve_metadata and save.options.permissions is None:
            routine.make_plain(save, new)
            return
        target, save.name = save.name, save.old_version or save.name
        try:
            routine.apply_metadata(save)
        finally:
            save.name = target
        if save.old is None or not save.preserve_metadata or save.options.permissions is not None:
            return
        # Of a directory these bits say who owns and who may remove what is in it.
        bits = save.old.st_mode & _KEPT_BITS
        dressed = self.calls.fstat(save.fd)
        if dressed.st_gid != save.old.st_gid:
            bits &= ~stat.S_ISGID
        if dressed.st_mode & _KEPT_BITS != bits:
            self.calls.fchmod(save.fd, dressed.st_mode & _PLAIN | bits)

    # The commit.

    def flush(self, save: PendingTree) -> None:
        if self.is_witnessed(save):
            # The private directory was opened before the first write: it is told every error since.
            self.calls.syncfs(save.staging)
            save.steps.append("syncfs")
            return
        save.skipped["witness"] = (
            "others wrote the files and closed them; an earlier write error may be missed"
        )
        flush_tree(self.posix, save.fd, lambda directory: self._fsync_directory(save, directory))
        if save.kept is not None:
            self._fsync_directory(save, save.staging)
        if save.version is not None and "fsync directory" not in save.skipped:
            self._fsync_directory(save, save.directory)
        self.finish_flush(save)
        save.steps.append("fsync")

    def _fsync_directory(self, save: PendingTree, directory: int) -> None:
        try:
            self.calls.fsync(directory)
        except OSError as error:
            if error.errno not in NO_DIRECTORY_FLUSH:
                raise
            save.skip_flush("fsync directory", f"not supported here: {error.strerror}", NONE)

    def rename_into_place(self, save: PendingTree) -> None:
        save.publishing = True
        if save.version is not None:
            tree_versions.switch(self, save)
        elif save.old is None:
            tree_exchange.appear(self, save)
        else:
            tree_exchange.exchange(self, save)
        save.published = True

    def took_place(self, save: PendingTree, error: OSError) -> bool:
        """Whether a rename that reported an error has happened all the same."""
        return took_place(error, save.path, lambda: self.posix.is_published(save))

    # Afterwards.

    def keep(self, save: PendingTree) -> None:
        tree_archive.keep(self, save)

    def leftovers(self, save: PendingTree) -> tuple[str, ...]:
        version = save.old_version if save.published else save.version
        return self._located(save, (save.private, version))

    def doubtful(self, save: PendingTree) -> tuple[str, ...]:
        return self._located(save, (save.private, save.version, save.old_version))

    def _located(self, save: PendingTree, names: tuple[str | None, ...]) -> tuple[str, ...]:
        return tuple(self.posix.location(save, name) for name in names if name is not None)

    def remove_old(self, save: PendingTree) -> None:
        try:
            if save.old_version is not None:
                if save.kept is None:
                    self.posix.remove_entry(save.directory, save.old_version)
                save.old_version = None
        finally:
            self.posix.remove(save)

    def discard(self, save: PendingTree) -> None:
        try:
            if save.version is not None:
                self.posix.remove_entry(save.directory, save.version)
                save.version = None
        finally:
            self._discard_private(save)

    def _discard_private(self, save: PendingTree) -> None:
        if save.private is not None:
            # Who still writes by the old path finds nothing there, and cannot be faster than we are.
            away = temp_names.fresh("d")
            try:
                self.calls.replace(save.private, away, src_dir_fd=save.directory, dst_dir_fd=save.directory)
            except OSError:
                pass  # it is removed where it is, or that fails and is told
            else:
                save.private = away
        self.posix.remove(save)


def _check_kind(save: PendingTree, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        message = (
            "is a symbolic link, and is not exchanged with a directory: name the directory that it "
            "leads to; nothing was changed"
        )
        raise OSError(errno.ELOOP, message, save.path)
    if not stat.S_ISDIR(found.st_mode):
        message = "is not a directory, and is not exchanged with one; nothing was changed"
        raise NotADirectoryError(errno.ENOTDIR, message, save.path)
