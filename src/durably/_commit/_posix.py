"""The routine of every POSIX system: one directory descriptor, fsync, rename, fsync of the directory."""

from __future__ import annotations

import errno
import os
import stat

from durably import _names
from durably._commit import _entry, _metadata, _private
from durably._commit._flags import CREATE, DIRECTORY, F_SETFL, LOCK, PLAIN, PRIVATE, READ, WRITE
from durably._commit._routine import Routine
from durably._errors import OutcomeUnknownError, UnsupportedError
from durably._options import CONSISTENT, NONE
from durably._promises import FileSystem
from durably._save import CLOSED
from durably._syscalls import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from durably._names import Maker
    from durably._save import Save

_CHUNK = 1 << 20
_SET_ID = stat.S_ISUID | stat.S_ISGID
# Not /tmp where it can be helped: that is often a tmpfs, and the copy is there to survive.
_SPARE = ("/var/tmp", "/tmp")  # noqa: S108 # files are made there with O_EXCL and random names

# "This file system has no flush for directories": network mounts, VirtualBox shares.
_NO_DIRECTORY_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
# "No hard links here": vfat, exfat, some FUSE mounts; EMLINK and EXDEV are limits of the place too.
_NO_LINK = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
# "No locks here": some network mounts.
_NO_LOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF}


class Posix(Routine):
    """Any POSIX system."""

    name = "posix"

    # The target.

    def locate(self, save: Save) -> None:
        save.directory = save.staging = _entry.enter(self.calls, save, save.path, None)
        found = self._look(save)
        while found is not None and not stat.S_ISREG(found.st_mode):
            if not _entry.follow(self.calls, save, found):
                return
            found = self._look(save)
        if found is not None:
            if not save.options.overwrite:
                raise _entry.exists(save)
            save.replaces(found)

    def _look(self, save: Save) -> os.stat_result | None:
        try:
            return self.calls.stat(save.name, dir_fd=save.directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    # The temporary.

    def create(self, save: Save) -> None:
        # A spare copy stays private: the target keeps its own metadata.
        dressed = not save.spare and (save.carries or save.options.permissions is not None)
        mode = PRIVATE if dressed or save.spare else PLAIN
        while save.fd == CLOSED:
            save.temporary = _names.fresh(save.kind)
            try:
                save.fd = self.calls.open(save.temporary, CREATE, mode, dir_fd=save.staging)
            except FileExistsError:
                save.temporary = None  # not ours: it must not be cleaned up
        save.steps.append("create")
        if save.held and not self._hold(save):
            self.create(save)
            return
        if dressed:
            self._dress(save)
        if save.held and not save.options.overwrite:
            self.rehearse(save)

    def create_unnamed(self, save: Save) -> None:
        self.create(save)

    def _hold(self, save: Save) -> bool:
        """Lock the temporary. False: it was swept between its making and its locking."""
        if self.lock(save.fd) and (save.temporary is None or self.calls.fstat(save.fd).st_nlink):
            return True
        fd, save.fd = save.fd, CLOSED
        self.calls.close(fd)
        self._unlink(save, save.temporary)
        save.steps.pop()
        return False

    def lock(self, fd: int) -> bool:
        """Lock what is held while it is written. False: a sweep has it, which takes it for dead."""
        try:
            self.calls.flock(fd, LOCK)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCK:
                raise
        return True

    def rehearse(self, save: Save) -> None:
        """Find out before the caller writes whether a rename without replacement works here."""
        save.second = _names.fresh(save.kind)
        self._move_exclusively(save, save.staging, save.second)
        save.temporary, save.second = save.second, None

    def create_private(self, save: Save) -> str:
        _private.create(self, save)
        return os.path.join(self.location(save, save.private or ""), save.name)

    def adopt(self, save: Save) -> int:
        _private.check_alone(save, _private.listed(self.calls, save.staging))
        _private.check_regular(save, self.lookup(save.staging, save.name))
        save.fd = self.calls.open(save.name, READ, dir_fd=save.staging)
        written = self.calls.fstat(save.fd)
        _private.check_regular(save, written)
        save.temporary = save.name
        save.identity = (written.st_dev, written.st_ino)
        save.steps.append("write")
        if save.carries or save.options.permissions is not None:
            self._dress(save)
        else:
            self._make_plain(save, written)
        return written.st_size

    def _make_plain(self, save: Save, written: os.stat_result) -> None:
        """Give what others wrote the permissions of a new file."""
        if stat.S_IMODE(written.st_mode) != save.plain_mode:
            self.calls.fchmod(save.fd, save.plain_mode)

    def access_list(self, fd: int) -> bytes | None:
        """The POSIX ACL of an open file, where there is such a thing."""
        return None

    def create_spare(self, save: Save) -> None:
        spare = next((path for path in _SPARE if os.access(path, os.W_OK | os.X_OK)), _SPARE[-1])
        save.staging = self.calls.open(spare, DIRECTORY)
        save.where = spare
        save.spare = True
        self.create(save)

    def _dress(self, save: Save) -> None:
        """Give the temporary its final owner and mode; until here nobody else could open it."""
        new = self.calls.fstat(save.fd)
        save.identity = (new.st_dev, new.st_ino)
        mode = save.options.permissions
        if save.old is not None and save.carries:
            group_kept = _metadata.carry_owner(self.calls, save, new)
            if mode is None:
                mode = _metadata.carried_mode(save.old, group_kept)
        if mode is not None and mode != stat.S_IMODE(new.st_mode):
            self.calls.fchmod(save.fd, mode)

    # The content.

    def copy_old(self, save: Save) -> None:
        source = self.calls.open(save.name, READ, dir_fd=save.directory)
        try:
            self._copy(save, source)
        finally:
            self.calls.close(source)

    def _copy(self, save: Save, source: int) -> None:
        while chunk := self.calls.read(source, _CHUNK):
            write_all(self.calls, save.fd, memoryview(chunk))
        save.steps.append("copy")

    def append_only(self, save: Save) -> None:
        # Not at the opening: neither a reflink nor a copy can go into such a descriptor.
        self.calls.fcntl(save.fd, F_SETFL, os.O_RDWR | os.O_APPEND)

    def start_flush(self, fd: int) -> None:
        pass

    # The commit.

    def link(self, save: Save) -> None:
        raise NotImplementedError  # every temporary has a name here

    def seal(self, save: Save) -> None:
        # write(2): setuid and setgid are cleared when an ordinary user writes to the file.
        mode = save.options.permissions
        if mode is not None and mode & _SET_ID:
            self.calls.fchmod(save.fd, mode)

    def publish(self, save: Save) -> None:
        self._close_before_rename(save)
        try:
            if save.options.overwrite:
                self.calls.replace(
                    save.temporary,  # type: ignore[arg-type] # it has a name by now
                    save.name,
                    src_dir_fd=save.staging,
                    dst_dir_fd=save.directory,
                )
            else:
                self._move_exclusively(save, save.directory, save.name)
        except OSError as error:
            if not self._took_place(save, error):
                raise
            self._drop_name(save)
        save.published = True
        save.temporary = None
        save.steps.append("rename")
        if save.fd != CLOSED:
            # With the lock: a reader's own flock(2) of the new file must not wait for the directory.
            self._let_go(save)

    def _let_go(self, save: Save) -> None:
        # As in `release`, with no call of ours before the close.
        fd, save.fd = save.fd, CLOSED
        try:
            self.calls.close(fd)
        except OSError as error:
            save.skipped["close"] = str(error.strerror)

    def _close_before_rename(self, save: Save) -> None:
        """Have the errors that only close(2) reports, on network mounts, before the file is published."""
        if save.identity is None:
            new = self.calls.fstat(save.fd)
            save.identity = (new.st_dev, new.st_ino)
        if not save.held:
            fd, save.fd = save.fd, CLOSED
            self.calls.close(fd)
        elif save.options.durability is NONE:
            # The lock goes with the descriptor, so it stays open; closing a copy flushes as well.
            self.calls.close(self.calls.dup(save.fd))

    def _took_place(self, save: Save, error: OSError) -> bool:
        # rename(2), BUGS: on NFS a repeated request may report a failure for a rename that happened.
        try:
            return self.is_published(save)
        except OSError:
            message = f"the rename failed ({error.strerror}), and the target could not be checked"
            raise OutcomeUnknownError(error.errno, message, save.path) from error

    def is_published(self, save: Save) -> bool:
        if save.identity is None or save.in_place:
            return False
        try:
            target = self.calls.stat(save.name, dir_fd=save.directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (target.st_dev, target.st_ino) == save.identity

    def _move_exclusively(self, save: Save, directory: int, name: str) -> None:
        """Move the temporary to a name that must not exist: link and unlink."""
        temporary = save.temporary
        assert temporary is not None
        try:
            self.calls.link(
                temporary, name, src_dir_fd=save.staging, dst_dir_fd=directory, follow_symlinks=False
            )
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            message = f"cannot create a file without replacing one here ({error.strerror})"
            raise UnsupportedError(errno.ENOTSUP, message, save.path) from error
        self.calls.unlink(temporary, dir_fd=save.staging)

    def _drop_name(self, save: Save) -> None:
        """Remove the temporary's name where a link has published the file, and the name stayed."""
        if save.private is not None:
            return  # it goes with the directory
        try:
            self._unlink(save, save.temporary)
        except OSError as error:
            left = self.location(save, save.temporary or "")
            save.skipped["unlink"] = f"{left} is left over: {error.strerror}"

    def settle(self, save: Save) -> None:
        directories = [parent for parent, _ in save.made]
        if "fsync directory" not in save.skipped:
            directories.append(save.directory)
        for directory in directories:
            try:
                self._flush_directory(save, directory)
            except OSError as error:
                if error.errno not in _NO_DIRECTORY_FLUSH:
                    raise
                save.leave_out("fsync directory", f"not supported here: {error.strerror}", CONSISTENT)
        if "fsync directory" not in save.skipped:
            save.steps.append("fsync directory")

    def _flush_directory(self, save: Save, directory: int) -> None:
        self.calls.fsync(directory)

    # In place, and giving up.

    def open_staged(self, save: Save) -> int:
        return self.calls.open(save.temporary, READ, dir_fd=save.staging)  # type: ignore[arg-type] # has a name

    def open_target(self, save: Save) -> int:
        return self.calls.open(save.name, WRITE, dir_fd=save.directory)

    def remove(self, save: Save) -> None:
        fd, save.fd = save.fd, CLOSED
        if fd != CLOSED:
            try:
                self.calls.close(fd)
            except OSError:
                pass  # the file is thrown away
        try:
            self._remove_staged(save)
        finally:
            if not save.published:
                self._unmake(save)

    def _remove_staged(self, save: Save) -> None:
        try:
            self._unlink(save, save.second)
            save.second = None
        finally:
            self._unlink(save, save.temporary)
            save.temporary = None
        if save.private is not None:
            self.remove_entry(save.directory, save.private)
            save.private = None

    def _unlink(self, save: Save, name: str | None) -> None:
        if name is not None:
            try:
                self.calls.unlink(name, dir_fd=save.staging)
            except FileNotFoundError:
                pass
            except OSError:
                # A read-only mount refuses before it looks whether there is such a name.
                if self._is_there(save.staging, name):
                    raise

    def _is_there(self, directory: int, name: str) -> bool:
        try:
            self.lookup(directory, name)
        except FileNotFoundError:
            return False
        except OSError:
            pass  # perhaps
        return True

    def _unmake(self, save: Save) -> None:
        for parent, name in reversed(save.made):
            if name:
                try:
                    self.calls.rmdir(name, dir_fd=parent)
                except FileNotFoundError:
                    continue  # its making failed
                except OSError:
                    return  # in use by others by now

    def release(self, save: Save) -> None:
        opened = [save.directory, *(parent for parent, _ in save.made)]
        if save.staging is not save.directory:
            opened.append(save.staging)
        if save.fd != CLOSED:
            opened.append(save.fd)
        # Without a call in between: where an interrupt breaks this off, another release closes the rest.
        save.closing = [*save.closing, *opened]
        save.directory = save.staging = None
        save.fd = CLOSED
        save.made = ()
        while save.closing:
            fd = save.closing[-1]
            del save.closing[-1]
            # Closed right here: an interrupt at the entry of a method of ours would lose the descriptor.
            if fd is not None:
                try:
                    self.calls.close(fd)
                except OSError as error:
                    save.skipped["close"] = str(error.strerror)

    # Telling, and sweeping.

    def location(self, save: Save, name: str) -> str:
        return os.path.join(os.path.abspath(save.where), name)

    def file_system(self, directory: Any) -> FileSystem:
        return FileSystem("unknown")

    def open_directory(self, path: str) -> int:
        return self.calls.open(path, DIRECTORY)

    def close_directory(self, directory: int) -> None:
        self.calls.close(directory)

    def lookup(self, directory: int, name: str) -> os.stat_result:
        return self.calls.stat(name, dir_fd=directory, follow_symlinks=False)

    def remove_entry(self, directory: int, name: str) -> None:
        _private.remove_entry(self, directory, name)

    def is_same_mount(self, one: int, other: int) -> bool:
        """Whether two open directories lie on the same mount."""
        return self.calls.fstat(one).st_dev == self.calls.fstat(other).st_dev

    def is_running(self, maker: Maker) -> bool:
        try:
            os.kill(maker.process, 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):
            return True
        return maker.start in (0, _names.process_start(maker.process))

    def claim(self, directory: int, name: str) -> int | None:
        fd = self.calls.open(name, READ, dir_fd=directory)
        try:
            self.calls.flock(fd, LOCK)
        except BlockingIOError:
            self.calls.close(fd)
            return None
        except BaseException:
            self.calls.close(fd)
            raise
        return fd

    def disclaim(self, claim: int) -> None:
        self.calls.close(claim)
