"""The routine of every POSIX system: one directory descriptor, fsync, rename, fsync of the directory."""

from __future__ import annotations

import os
import stat

from durably._commit.pending import CLOSED
from durably._commit.posix import cleanup, locks, metadata, private_dir, rename, target, tree_retention
from durably._commit.posix.flags import CREATE, DIRECTORY, F_SETFL, PLAIN, PRIVATE, READ, WRITE
from durably._commit.strategy import Routine
from durably._system import temp_names
from durably._system.promises import FileSystem
from durably._system.syscalls import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from durably._commit.pending import PendingFile
    from durably._commit.posix.dirops import PosixDirectoryOperations
    from durably._commit.posix.tree import Trees
    from durably._system.temp_names import Maker

_CHUNK = 1 << 20
_SET_ID = stat.S_ISUID | stat.S_ISGID
# Not /tmp where it can be helped: that is often a tmpfs, and the copy is there to survive.
_FALLBACK_DIRS = ("/var/tmp", "/tmp")  # noqa: S108 # files are made there with O_EXCL and random names


class Posix(Routine):
    """Any POSIX system."""

    name = "posix"

    def trees(self) -> Trees:
        from durably._commit.posix.tree import Trees

        return Trees(self)

    def directory_operations(self) -> PosixDirectoryOperations:
        from durably._commit.posix.dirops import PosixDirectoryOperations

        return PosixDirectoryOperations(self)

    # The target.

    def locate(self, save: PendingFile) -> None:
        save.directory = save.staging = target.enter(self.calls, save, save.path, None)
        self.examine(save)

    def examine(self, save: PendingFile) -> None:
        while (found := self._look(save)) is not None:
            if stat.S_ISREG(found.st_mode):
                if not save.options.overwrite:
                    raise target.exists(save)
                save.replaces(found)
                return
            if not target.follow(self.calls, save, found):
                return

    def _look(self, save: PendingFile) -> os.stat_result | None:
        try:
            return self.calls.stat(save.name, dir_fd=save.directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    # The temporary.

    def create(self, save: PendingFile) -> None:
        # A copy elsewhere stays private: the target keeps its own metadata.
        dressed = not save.in_fallback_dir and (
            save.preserve_metadata or save.options.permissions is not None
        )
        mode = self.create_mode(save) if dressed else PRIVATE if save.in_fallback_dir else PLAIN
        while save.fd == CLOSED:
            save.temporary = temp_names.fresh(save.kind)
            try:
                save.fd = self.calls.open(save.temporary, CREATE, mode, dir_fd=save.staging)
            except FileExistsError:
                save.temporary = None  # not ours: it must not be cleaned up
        save.steps.append("create")
        if save.held and not self._hold(save):
            self.create(save)
            return
        if dressed:
            self.apply_metadata(save)
        if save.held and not save.options.overwrite:
            self.check_supported(save)

    def create_mode(self, save: PendingFile) -> int:
        """The mode to make a temporary with that is dressed next; never looser than its final one."""
        return PRIVATE

    def create_unnamed(self, save: PendingFile) -> None:
        self.create(save)

    def _hold(self, save: PendingFile) -> bool:
        """Lock the temporary. False: it was swept between its making and its locking."""
        if self.lock(save.fd) and (save.temporary is None or self.calls.fstat(save.fd).st_nlink):
            return True
        fd, save.fd = save.fd, CLOSED
        self.calls.close(fd)
        cleanup.unlink_staged(self, save, save.temporary)
        save.steps.pop()
        return False

    def lock(self, fd: int) -> bool:
        """Lock what is held while it is written. False: a sweep has it, which takes it for dead."""
        return locks.lock(self.calls, fd)

    def check_supported(self, save: PendingFile) -> None:
        """Find out before the caller writes whether a rename without replacement works here."""
        save.second = temp_names.fresh(save.kind)
        self.move_exclusively(save, save.staging, save.second)
        save.temporary, save.second = save.second, None

    def create_private(self, save: PendingFile) -> str:
        private_dir.create(self, save)
        return os.path.join(self.location(save, save.private or ""), save.name)

    def take_over(self, save: PendingFile) -> int:
        return private_dir.take_over(self, save)

    def make_plain(self, save: PendingFile, written: os.stat_result) -> None:
        """Give what others wrote the permissions of a new file."""
        if stat.S_IMODE(written.st_mode) != save.plain_mode:
            self.calls.fchmod(save.fd, save.plain_mode)

    def access_list(self, fd: int) -> bytes | None:
        """The POSIX ACL of an open file, where there is such a thing."""
        return None

    def create_in_fallback_dir(self, save: PendingFile) -> None:
        fallback = next(
            (path for path in _FALLBACK_DIRS if os.access(path, os.W_OK | os.X_OK)), _FALLBACK_DIRS[-1]
        )
        save.staging = self.calls.open(fallback, DIRECTORY)
        save.where = fallback
        save.in_fallback_dir = True
        self.create(save)

    def apply_metadata(self, save: PendingFile) -> None:
        """Give the temporary its final owner and mode; until here nobody else could open it."""
        new = self.calls.fstat(save.fd)
        save.identity = (new.st_dev, new.st_ino)
        mode = save.options.permissions
        if save.old is not None and save.preserve_metadata:
            group_kept = metadata.preserve_owner(self.calls, save, new)
            if mode is None:
                # Without setuid and setgid: they vouched for content that is gone.
                mode = save.old.st_mode & 0o777
                if not group_kept:
                    mode = metadata.without_group(mode)
        if mode is not None and mode != stat.S_IMODE(new.st_mode):
            self.calls.fchmod(save.fd, mode)

    # The content.

    def copy_old(self, save: PendingFile) -> None:
        source = self.calls.open(save.name, READ, dir_fd=save.directory)
        try:
            self._copy(save, source)
        finally:
            self.calls.close(source)

    def _copy(self, save: PendingFile, source: int) -> None:
        while chunk := self.calls.read(source, _CHUNK):
            write_all(self.calls, save.fd, memoryview(chunk))
        save.steps.append("copy")

    def append_only(self, save: PendingFile) -> None:
        # Not at the opening: neither a reflink nor a copy can go into such a descriptor.
        self.calls.fcntl(save.fd, F_SETFL, os.O_RDWR | os.O_APPEND)

    def start_flush(self, fd: int) -> None:
        pass

    # The commit.

    def link(self, save: PendingFile) -> None:
        raise NotImplementedError  # every temporary has a name here

    def seal(self, save: PendingFile) -> None:
        # write(2): setuid and setgid are cleared when an ordinary user writes to the file.
        mode = save.options.permissions
        if mode is not None and mode & _SET_ID:
            self.calls.fchmod(save.fd, mode)

    def rename_into_place(self, save: PendingFile) -> None:
        rename.rename_into_place(self, save)

    def is_published(self, save: PendingFile) -> bool:
        return rename.is_published(self.calls, save)

    def move_exclusively(self, save: PendingFile, directory: int, name: str) -> None:
        """Move the temporary to a name that must not exist."""
        rename.move_by_link(self, save, directory, name)

    def fsync_directory(self, save: PendingFile) -> None:
        rename.fsync_directory(self, save)

    def fsync_names(self, save: PendingFile, directory: int) -> None:
        """Bring the names in a directory to the device."""
        self.calls.fsync(directory)

    # In place, and giving up.

    def open_staged(self, save: PendingFile) -> int:
        return self.calls.open(save.temporary, READ, dir_fd=save.staging)

    def open_target(self, save: PendingFile) -> int:
        return self.calls.open(save.name, WRITE, dir_fd=save.directory)

    def set_mode(self, fd: int, mode: int) -> None:
        self.calls.fchmod(fd, mode)

    def remove(self, save: PendingFile) -> None:
        cleanup.remove(self, save)

    def release(self, save: PendingFile) -> None:
        if save.closing or save.made or save.fd != CLOSED or save.staging is not save.directory:
            self._release_staged(save)
        # Closed right here: an interrupt at the entry of a method of ours would lose the descriptor.
        fd, save.directory, save.staging = save.directory, None, None
        if fd is not None and fd != save.borrowed:
            try:
                self.calls.close(fd)
            except OSError as error:
                save.skipped["close"] = str(error.strerror)

    def _release_staged(self, save: PendingFile) -> None:
        """Close what is open besides the target's directory."""
        closing = [*save.closing, *[parent for parent, _ in save.made]]
        if save.staging is not save.directory:
            closing.append(save.staging)
        if save.fd != CLOSED:
            closing.append(save.fd)
        # Without a call in between: where an interrupt breaks this off, another release closes the rest.
        save.closing = closing
        save.staging = save.directory
        save.fd = CLOSED
        save.made = ()
        while closing:
            fd = closing[-1]
            del closing[-1]
            try:
                self.calls.close(fd)
            except OSError as error:
                save.skipped["close"] = str(error.strerror)

    # Many files together.

    def identify(self, directory: int) -> tuple[int, int]:
        status = self.calls.fstat(directory)
        return status.st_dev, status.st_ino

    def borrow(self, save: PendingFile, directory: int, identity: Any) -> bool:
        return target.borrow(self.calls, save, directory, identity)

    def keep_directory(self, directory: int) -> int:
        return self.calls.dup(directory)

    def lock_shared(self, directory: int) -> int | None:
        return locks.lock_shared(self.calls, directory)

    def unlock_shared(self, lock: int) -> None:
        locks.unlock_shared(self.calls, lock)

    def try_lock_directory(self, directory: int) -> int | None:
        return locks.try_lock_directory(self.calls, directory)

    # Telling, and sweeping.

    def location(self, save: PendingFile, name: str) -> str:
        return os.path.join(os.path.abspath(save.where), name)

    def file_system(self, directory: Any) -> FileSystem:
        return FileSystem("unknown")

    def open_directory(self, path: str) -> int:
        return self.calls.open(path, DIRECTORY)

    def visit_directory(self, path: str) -> tuple[int, str]:
        return target.visit(self.calls, path)

    def close_directory(self, directory: int) -> None:
        self.calls.close(directory)

    def lookup(self, directory: int, name: str) -> os.stat_result:
        return self.calls.stat(name, dir_fd=directory, follow_symlinks=False)

    def remove_entry(self, directory: int, name: str) -> None:
        cleanup.remove_entry(self, directory, name)

    def is_same_mount(self, one: int, other: int) -> bool:
        """Whether two open directories lie on the same mount."""
        return self.calls.fstat(one).st_dev == self.calls.fstat(other).st_dev

    def mounts_in(self, directory: int, name: str) -> list[str]:
        """The mount points in a directory, itself included, as far as they can be told without looking."""
        return []

    def permit(self, parent: int, name: str) -> None:
        """Give a directory that may not be opened the owner's rights, so that it can be emptied."""
        self.calls.chmod(name, stat.S_IRWXU, dir_fd=parent, follow_symlinks=False)

    def retention_reason(self, directory: int, name: str) -> str:
        return tree_retention.retention_reason(self, directory, name)

    def is_running(self, maker: Maker) -> bool:
        return locks.is_running(maker)

    def try_lock(self, directory: int, name: str) -> int | None:
        return locks.try_lock(self.calls, directory, name)

    def unlock_claimed(self, lock: int) -> None:
        self.calls.close(lock)
