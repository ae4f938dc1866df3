"""The routine of Windows: files made with the right to be renamed, and renamed by their handles."""

from __future__ import annotations

import errno
import os
import stat

from durably import _names
from durably._commit import _windows_metadata as metadata
from durably._commit._entry import exists
from durably._commit._metadata import lose
from durably._commit._private import check_alone, check_regular
from durably._commit._routine import Routine
from durably._commit._windows_files import Files, code
from durably._commit._windows_paths import split
from durably._errors import OutcomeUnknownError, UnsupportedError
from durably._native import windows as win
from durably._promises import FileSystem
from durably._save import CLOSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._names import Maker
    from durably._save import Save
    from durably._syscalls import Syscalls

_CHUNK = 1 << 20
_LINKS = 63  # as many as Windows follows on one path
_TAKEN = {win.ERROR_ALREADY_EXISTS, win.ERROR_FILE_EXISTS}
_DRIVES = {2: "removable", 3: "fixed", 4: "remote", 5: "optical", 6: "memory"}
_NO_DIRECTORY_FLUSH = "Windows has no fsync for directories, and documents no flush of a rename"
_NO_MODES = "Windows has no modes: the access control list decides"


class Windows(Routine):
    """Windows 10 and later; older ones and other file systems than NTFS by MoveFileExW."""

    name = "windows"

    def __init__(self, calls: Syscalls) -> None:
        super().__init__(calls)
        self.files = Files(calls)

    # The target.

    def locate(self, save: Save) -> None:
        self._enter(save, save.path)
        found = self._look(save)
        while found is not None and stat.S_ISLNK(found.st_mode) and self._follow(save):
            found = self._look(save)
        if found is not None:
            if not save.options.overwrite:
                raise exists(save)
            save.old_attributes = metadata.Old(self._attributes(save))
            if not stat.S_ISLNK(found.st_mode):
                self._check_regular(save, found)
                save.old = found
        if save.options.permissions is not None:
            save.skipped["permissions"] = _NO_MODES

    def _enter(self, save: Save, path: str) -> None:
        save.directory, save.name = split(path)
        save.staging = save.where = save.directory
        self._find_directory(save, save.directory)

    def _find_directory(self, save: Save, path: str) -> None:
        try:
            found = self.calls.stat(path)
        except FileNotFoundError:
            parent, name = os.path.split(path)
            if not (save.options.make_parents and name):
                raise
            self._find_directory(save, parent)
            save.made = (*save.made, (parent, name))
            try:
                self.calls.mkdir(path, 0o777)
            except FileExistsError:
                save.made = save.made[:-1]  # somebody else's
            return
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), save.path)

    def _look(self, save: Save) -> os.stat_result | None:
        try:
            return self.calls.stat(self._target(save), follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _follow(self, save: Save) -> bool:
        """Go on to where a link leads. False: the link itself is to be replaced."""
        if not save.options.overwrite:
            raise exists(save)
        if save.options.symlinks == "replace":
            return False
        if save.options.symlinks == "refuse":
            raise OSError(errno.ELOOP, "is a symbolic link, and symlinks='refuse'", save.path)
        save.links += 1
        if save.links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), save.path)
        self._enter(save, os.path.join(save.directory, self.calls.readlink(self._target(save))))
        return True

    def _attributes(self, save: Save) -> int:
        """The attributes of the target. Refuses what Windows never lets a rename replace."""
        attributes = self.calls.get_file_attributes(self._target(save))
        if attributes & win.FILE_ATTRIBUTE_DIRECTORY:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), save.path)
        if attributes & win.FILE_ATTRIBUTE_READONLY:
            message = "is read-only, and Windows does not replace such a file; it was not changed"
            raise PermissionError(errno.EACCES, message, save.path)
        return attributes

    def _check_regular(self, save: Save, found: os.stat_result) -> None:
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), save.path)
        if not stat.S_ISREG(found.st_mode):
            raise UnsupportedError(errno.ENOTSUP, "is not a regular file; nothing was written", save.path)

    # The temporary.

    def create(self, save: Save) -> None:
        self._make(save)
        save.steps.append("create")

    def create_unnamed(self, save: Save) -> None:
        self.create(save)

    def _make(self, save: Save) -> None:
        security = metadata.security(self.calls, save, self._target(save))
        while save.fd == CLOSED:
            # Of the held kind in every case: the open handle is the lock.
            save.temporary = _names.fresh("h")
            try:
                save.fd = self.files.create(self._staged(save), metadata.attributes(save), security)
            except OSError as error:
                if code(error) in _TAKEN:
                    save.temporary = None  # not ours: it must not be cleaned up
                elif security is not None and metadata.is_not_yours(error):
                    lose(save, "owner", error)
                    security = metadata.security(self.calls, save, self._target(save), owned=False)
                else:
                    raise
        metadata.note_losses(self.calls, save, self._target(save), self._staged(save))

    def create_private(self, save: Save) -> str:
        model = self._model(save)
        save.old_attributes = metadata.Old(metadata.attributes(save), model)
        while save.lock is None:
            save.private = _names.fresh("d")
            try:
                self.calls.mkdir(self._at(save.directory, save.private), 0o700)
            except FileExistsError:
                save.private = None  # not ours: it must not be cleaned up
            else:
                save.staging = self._at(save.directory, save.private)
                save.lock = self.files.lock_directory(save.staging)
        save.steps.append("create private directory")
        return self._at(save.staging, save.name)

    def _model(self, save: Save) -> bytes | None:
        """The access list that a file of ours gets here; one that others make is to get the same."""
        self._make(save)
        try:
            return metadata.security_of(self.calls, self._staged(save))
        finally:
            self._close_quietly(save)
            self._remove_staged(save)

    def adopt(self, save: Save) -> int:
        check_alone(self.calls, save)
        path = self._at(save.staging, save.name)
        check_regular(save, self.calls.stat(path, follow_symlinks=False))
        self.files.patiently(lambda: metadata.dress(self.calls, save, path))
        save.fd = self.files.patiently(lambda: self.files.open(path))
        save.temporary = save.name
        save.steps.append("write")
        return self.calls.fstat(save.fd).st_size

    def create_spare(self, save: Save) -> None:
        save.staging = os.environ.get("TEMP") or os.path.expanduser("~")
        save.spare = True
        save.temporary = _names.fresh("h")
        save.fd = self.files.create(self._staged(save), win.FILE_ATTRIBUTE_NORMAL, None)
        save.steps.append("create elsewhere")

    # The content.

    def copy_old(self, save: Save) -> None:
        source = self.files.open(self._target(save), win.GENERIC_READ)
        try:
            while chunk := self.calls.read(source, _CHUNK):
                view = memoryview(chunk)
                while view:
                    view = view[self.calls.write(save.fd, view) :]
        finally:
            self.calls.close(source)
        save.steps.append("copy")

    def append_only(self, save: Save) -> None:
        # A descriptor appends from its making on, so another handle takes over, without a gap.
        left, save.fd = save.fd, self.files.open(self._staged(save), flags=os.O_APPEND)
        self.calls.close(left)

    def start_flush(self, fd: int) -> None:
        pass

    # The commit.

    def link(self, save: Save) -> None:
        raise NotImplementedError  # every temporary has a name here

    def flush(self, save: Save) -> None:
        self.calls.fsync(save.fd)
        save.steps.append("fsync")

    def flush_unwitnessed(self, save: Save) -> None:
        save.skipped["witness"] = "others wrote the file and closed it; an earlier write error may be missed"
        self.flush(save)

    def publish(self, save: Save) -> None:
        new = self.calls.fstat(save.fd)
        save.identity = (new.st_dev, new.st_ino)
        try:
            self.files.patiently(lambda: self._rename(save), lambda: self._refuse(save))
        except OSError as error:
            if not self._took_place(save, error):
                raise exists(save) if code(error) in _TAKEN else error
        save.published = True
        save.temporary = None
        save.steps.append("rename")
        # At once: a reader that does not share deletion cannot open the file before.
        self._close_quietly(save)

    def _rename(self, save: Save) -> None:
        older = self.files.rename(
            self.calls.get_osfhandle(save.fd),
            self._staged(save),
            self._target(save),
            replace=save.options.overwrite,
        )
        if older:
            save.skipped["posix rename"] = older

    def _refuse(self, save: Save) -> None:
        """Raise where "access denied" will not pass: the target is read-only or a directory by now."""
        try:
            self._attributes(save)
        except FileNotFoundError:
            pass  # it is the directory, or a target on its way out: that may pass

    def _took_place(self, save: Save, error: OSError) -> bool:
        # A network drive may lose the answer to a rename that happened.
        try:
            return self.is_published(save)
        except OSError:
            message = f"the rename failed ({error.strerror}), and the target could not be checked"
            raise OutcomeUnknownError(error.errno or errno.EIO, message, save.path) from error

    def is_published(self, save: Save) -> bool:
        if save.identity is None or save.in_place:
            return False
        found = self._look(save)
        if found is None:
            return False
        if found.st_ino:
            return (found.st_dev, found.st_ino) == save.identity
        # Some network drives do not number their files; there the temporary's name tells.
        try:
            self.calls.stat(self._staged(save), follow_symlinks=False)
        except FileNotFoundError:
            return True
        return False

    def settle(self, save: Save) -> None:
        save.skipped["fsync directory"] = _NO_DIRECTORY_FLUSH

    # In place, and giving up.

    def open_staged(self, save: Save) -> int:
        return self.files.open(self._staged(save))

    def open_target(self, save: Save) -> int:
        return self.files.open(self._target(save), win.GENERIC_WRITE)

    def remove(self, save: Save) -> None:
        self._close_quietly(save)
        try:
            self._remove_staged(save)
        finally:
            if not save.published:
                self._unmake(save)
