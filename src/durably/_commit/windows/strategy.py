"""The routine of Windows: files made with the right to be renamed, and renamed by their handles."""

from __future__ import annotations

import errno
import os
import stat

from durably._commit.pending import CLOSED
from durably._commit.posix.metadata import lose
from durably._commit.posix.private_dir import check_alone, check_regular
from durably._commit.strategy import Routine
from durably._commit.windows import metadata, tree_versions
from durably._commit.windows import target as entry
from durably._commit.windows.handles import TAKEN, Files, code
from durably._commit.windows.target import staged, target
from durably._errors import took_place
from durably._system import temp_names
from durably._system.native import win32 as win
from durably._system.promises import FileSystem
from durably._system.syscalls import write_all
from durably._types import CONSISTENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingFile
    from durably._commit.windows.dirops import WindowsDirectoryOperations
    from durably._commit.windows.tree import WindowsTrees
    from durably._system.syscalls import Syscalls
    from durably._system.temp_names import Maker

_CHUNK = 1 << 20
_DRIVES = {2: "removable", 3: "fixed", 4: "remote", 5: "optical", 6: "memory"}
_NO_DIRECTORY_FLUSH = "Windows has no fsync for directories, and documents no flush of a rename"
_NO_MODES = "Windows has no modes: the access control list decides"


class Windows(Routine):
    """Windows 10 and later; where there are no POSIX renames, by MoveFileExW."""

    name = "windows"

    def __init__(self, calls: Syscalls) -> None:
        super().__init__(calls)
        self.files = Files(calls)

    def trees(self) -> WindowsTrees:
        from durably._commit.windows.tree import WindowsTrees

        return WindowsTrees(self)

    def directory_operations(self) -> WindowsDirectoryOperations:
        from durably._commit.windows.dirops import WindowsDirectoryOperations

        return WindowsDirectoryOperations(self)

    # The target.

    def locate(self, save: PendingFile) -> None:
        entry.enter(self.calls, save, save.path)
        self.examine(save)

    def examine(self, save: PendingFile) -> None:
        save.old_attributes = metadata.Old(entry.examine(self.calls, save))
        if save.options.permissions is not None:
            save.skipped["permissions"] = _NO_MODES

    # The temporary.

    def create(self, save: PendingFile) -> None:
        self._make(save, owned=True)
        if save.preserve_metadata:
            metadata.note_inherited(self.calls, save, staged(save))
        save.steps.append("create")

    def create_unnamed(self, save: PendingFile) -> None:
        self.create(save)

    def _make(self, save: PendingFile, *, owned: bool) -> None:
        security = metadata.security(self.calls, save, target(save), owned=owned)
        while save.fd == CLOSED:
            # Of the held kind, as the open handle is the lock; but for those that are closed.
            save.temporary = temp_names.fresh(save.kind if save.closes else "h")
            try:
                save.fd = self.files.create(staged(save), metadata.attributes(save), security)
            except OSError as error:
                if code(error) in TAKEN:
                    save.temporary = None  # not ours: it must not be cleaned up
                elif owned and metadata.is_not_yours(error):
                    lose(save, "owner", error)
                    self._make(save, owned=False)
                    return
                else:
                    raise
        if save.preserve_metadata:
            metadata.note_streams(self.calls, save, target(save))

    def create_private(self, save: PendingFile) -> str:
        self._read_model(save)
        while save.staging == save.directory:
            save.private = temp_names.fresh("d")
            path = os.path.join(save.directory, save.private)
            try:
                self.calls.mkdir(path, 0o700)
            except FileExistsError:
                save.private = None  # not ours: it must not be cleaned up
            else:
                save.staging = path
        save.lock = self.files.lock_directory(save.staging)
        save.steps.append("create private directory")
        return os.path.join(save.staging, save.name)

    def _read_model(self, save: PendingFile) -> None:
        """Make a file as `create` does, and remove it: the access list is what others' is to get."""
        self._make(save, owned=False)
        save.old_attributes.model = metadata.model(self.calls, staged(save))
        if save.preserve_metadata:
            metadata.note_owner(self.calls, save, target(save), staged(save))
        self._close_quietly(save)
        self._remove_staged(save)

    def take_over(self, save: PendingFile) -> int:
        check_alone(save, sorted(self.calls.listdir(save.staging)))
        path = os.path.join(save.staging, save.name)
        check_regular(save, self.calls.stat(path, follow_symlinks=False))
        metadata.apply_metadata(self.calls, save, path)
        save.fd = self.files.retry_sharing_violation(lambda: self.files.open(path))
        save.temporary = save.name
        save.steps.append("write")
        return self.calls.fstat(save.fd).st_size

    def create_in_fallback_dir(self, save: PendingFile) -> None:
        save.staging = os.environ.get("TEMP") or os.path.expanduser("~")
        save.in_fallback_dir = True
        save.temporary = temp_names.fresh("h")
        save.fd = self.files.create(staged(save), win.FILE_ATTRIBUTE_NORMAL, None)
        save.steps.append("create elsewhere")

    # The content.

    def copy_old(self, save: PendingFile) -> None:
        source = self.files.open(target(save), win.GENERIC_READ)
        try:
            while chunk := self.calls.read(source, _CHUNK):
                write_all(self.calls, save.fd, memoryview(chunk))
        finally:
            self.calls.close(source)
        save.steps.append("copy")

    def append_only(self, save: PendingFile) -> None:
        # A descriptor appends from its making on, so another one takes over, without a gap.
        left, save.fd = save.fd, self.files.open(staged(save), flags=os.O_APPEND)
        self.calls.close(left)

    def start_flush(self, fd: int) -> None:
        pass

    # The commit.

    def link(self, save: PendingFile) -> None:
        raise NotImplementedError  # every temporary has a name here

    def rename_into_place(self, save: PendingFile) -> None:
        new = self.calls.fstat(save.fd)
        save.identity = (new.st_dev, new.st_ino)
        try:
            self.files.retry_sharing_violation(lambda: self._rename(save), lambda: self._refuse(save))
        except OSError as error:
            if not took_place(error, save.path, lambda: self.is_published(save)):
                raise
        save.published = True
        save.temporary = None
        save.steps.append("rename")
        # At once: a reader that does not share deletion cannot open the file before.
        self._close_quietly(save)

    def _rename(self, save: PendingFile) -> None:
        older = self.files.rename(save.fd, staged(save), target(save), replace=save.options.overwrite)
        if older:
            save.skipped["posix rename"] = older

    def _refuse(self, save: PendingFile) -> None:
        """Raise where "access denied" will not pass: the target is read-only or a directory by now."""
        try:
            attributes = self.calls.get_file_attributes(target(save))
        except (FileNotFoundError, PermissionError):
            return  # it is on its way out, or not the cause
        entry.check_attributes(save, attributes)

    def is_published(self, save: PendingFile) -> bool:
        if save.identity is None or save.in_place:
            return False
        found = entry.look(self.calls, save)
        if found is None:
            return False
        if found.st_ino:
            return (found.st_dev, found.st_ino) == save.identity
        # Some network drives do not number their files; there the temporary's name tells.
        try:
            self.calls.stat(staged(save), follow_symlinks=False)
        except FileNotFoundError:
            return True
        return False

    def fsync_directory(self, save: PendingFile) -> None:
        save.skip_flush("fsync directory", _NO_DIRECTORY_FLUSH, CONSISTENT)

    # In place, and giving up.

    def open_staged(self, save: PendingFile) -> int:
        return self.files.open(staged(save))

    def open_target(self, save: PendingFile) -> int:
        return self.files.open(target(save), win.GENERIC_WRITE)

    def remove(self, save: PendingFile) -> None:
        self._close_quietly(save)
        try:
            self._remove_staged(save)
        finally:
            if not save.published:
                self._unmake(save)

    def _remove_staged(self, save: PendingFile) -> None:
        if save.temporary is not None and save.private is None:
            self.remove_entry(save.staging, save.temporary)
        save.temporary = None
        if save.private is not None:
            self.remove_entry(save.directory, save.private)
            save.private = None

    def _unmake(self, save: PendingFile) -> None:
        for parent, name in reversed(save.made):
            try:
                self.calls.rmdir(os.path.join(parent, name))
            except FileNotFoundError:
                continue  # its making failed
            except OSError:
                return  # in use by others by now

    def _close_quietly(self, save: PendingFile) -> None:
        """Close what is open; where the file is published, the receipt tells of an error."""
        fd, save.fd = save.fd, CLOSED
        lock, save.lock = save.lock, None
        try:
            if fd != CLOSED:
                self.calls.close(fd)
        except OSError as error:
            save.skipped["close"] = str(error.strerror)
        try:
            if lock is not None:
                self.calls.close_handle(lock)
        except OSError as error:
            save.skipped["close"] = str(error.strerror)

    def release(self, save: PendingFile) -> None:
        self._close_quietly(save)
        save.directory = save.staging = None
        save.made = ()

    # Many files together.

    def identify(self, directory: str) -> str:
        return os.path.normcase(directory)

    def keep_directory(self, directory: str) -> str:
        return directory

    def lock_shared(self, directory: str) -> int:
        return self.files.retry_sharing_violation(lambda: self.files.lock_directory(directory))

    def unlock_shared(self, lock: int) -> None:
        self.calls.close_handle(lock)

    def try_lock_directory(self, directory: str) -> int | None:
        return self.files.try_lock(directory)

    def reopen_staged(self, save: PendingFile) -> None:
        save.fd = self.files.retry_sharing_violation(lambda: self.files.open(staged(save)))

    # Telling, and sweeping.

    def location(self, save: PendingFile, name: str) -> str:
        place = save.staging if name == save.temporary else save.where
        return os.path.join(place or save.where, name)

    def file_system(self, directory: str) -> FileSystem:
        try:
            kind, _, drive = self.calls.volume_information(directory)
        except OSError:
            return FileSystem("unknown")
        return FileSystem(kind, (_DRIVES[drive],) if drive in _DRIVES else ())

    def supports(self, directory: str) -> frozenset[str]:
        return frozenset({"no-replace"} if self.files.refuses_to_replace(directory) else ())

    def open_directory(self, path: str) -> str:
        found = self.calls.stat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return os.path.abspath(path)

    def close_directory(self, directory: str) -> None:
        pass

    def lookup(self, directory: str, name: str) -> os.stat_result:
        return self.calls.stat(os.path.join(directory, name), follow_symlinks=False)

    def remove_entry(self, directory: str, name: str) -> None:
        self.files.remove(os.path.join(directory, name))

    def retention_reason(self, directory: str, name: str) -> str:
        return tree_versions.retention_reason(self.calls, directory, name)

    def is_running(self, maker: Maker) -> bool:
        return self.calls.is_process_running(maker.process)

    def try_lock(self, directory: str, name: str) -> int | None:
        return self.files.try_lock(os.path.join(directory, name))

    def remove_locked(self, directory: str, name: str, lock: int) -> None:
        # A claimed file cannot be opened to be removed; and its maker, who holds it from its making,
        # cannot come to lock it.
        self.unlock_claimed(lock)
        self.remove_entry(directory, name)

    def unlock_claimed(self, lock: int) -> None:
        self.calls.close_handle(lock)
