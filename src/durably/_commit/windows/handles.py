"""Files on Windows: opened so that others may rename and delete them, renamed by their handles."""

from __future__ import annotations

import os

from durably._system import temp_names
from durably._system.native import win32 as win

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from durably._system.syscalls import Syscalls

    T = TypeVar("T")

# The right to be renamed, beside reading and writing.
_ACCESS = win.GENERIC_READ | win.GENERIC_WRITE | win.DELETE
SHARE = win.FILE_SHARE_READ | win.FILE_SHARE_WRITE | win.FILE_SHARE_DELETE
_NO_INHERIT = getattr(os, "O_NOINHERIT", 0)

# What a virus scanner, an indexer or a reader that does not share deletion causes for a while.
_BUSY = {win.ERROR_ACCESS_DENIED, win.ERROR_SHARING_VIOLATION, win.ERROR_LOCK_VIOLATION}
# FileRenameInfoEx is missing: Windows before 10 1607, ReFS, FAT, network drives, Wine 8.
NO_POSIX_RENAME = {win.ERROR_INVALID_PARAMETER, win.ERROR_NOT_SUPPORTED, win.ERROR_INVALID_FUNCTION}
TAKEN = {win.ERROR_ALREADY_EXISTS, win.ERROR_FILE_EXISTS}
# A reader that opens the file again and again leaves gaps of a few per cent: many tries meet one. With
# pauses of up to 0.1 s, one save in seven failed under Wine; with a short one after each try, one in 300 on
# a machine so busy that the time was used up by few of them.
TRIES = 16
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.002
_LEAST_SHARE = 0.25

PATIENCE = "DURABLY_WINDOWS_RETRY_SECONDS"
_DEFAULT_PATIENCE = 2.0


def code(error: OSError) -> int | None:
    """The Win32 code of an error; None if it has none."""
    return getattr(error, "winerror", None)


class Files:
    """The calls of the table that open and rename, with patience for those who hold a file."""

    __slots__ = ("calls", "patience")

    def __init__(self, calls: Syscalls) -> None:
        self.calls = calls
        self.patience = _patience()

    def create(self, path: str, attributes: int, security: bytes | None) -> int:
        """A descriptor of a new file. The handle is a lock as well: nobody can open it to claim it."""
        handle = self.calls.create_file(path, _ACCESS, SHARE, win.CREATE_NEW, attributes, security)
        return self._descriptor(handle)

    def open(self, path: str, access: int = _ACCESS, flags: int = 0) -> int:
        """A descriptor of an old file; of a link itself. ``flags``: those of the descriptor."""
        handle = self.calls.create_file(
            path, access, SHARE, win.OPEN_EXISTING, win.FILE_FLAG_OPEN_REPARSE_POINT
        )
        return self._descriptor(handle, flags)

    def _descriptor(self, handle: int, flags: int = 0) -> int:
        try:
            return self.calls.open_osfhandle(handle, flags | _NO_INHERIT)
        except BaseException:
            self.calls.close_handle(handle)
            raise

    def lock_directory(self, path: str) -> int:
        """A handle that keeps a directory from being removed or claimed."""
        flags = win.FILE_FLAG_BACKUP_SEMANTICS | win.FILE_FLAG_OPEN_REPARSE_POINT
        share = win.FILE_SHARE_READ | win.FILE_SHARE_WRITE
        return self.calls.create_file(path, win.GENERIC_READ, share, win.OPEN_EXISTING, flags)

    def try_lock(self, path: str) -> int | None:
        """A handle on what nobody else has open; None if somebody has."""
        flags = win.FILE_FLAG_BACKUP_SEMANTICS | win.FILE_FLAG_OPEN_REPARSE_POINT
        try:
            return self.calls.create_file(path, win.DELETE, 0, win.OPEN_EXISTING, flags)
        except OSError as error:
            if code(error) != win.ERROR_SHARING_VIOLATION:
                raise
            return None

    def rename(self, fd: int, old: str, new: str, *, replace: bool) -> str:
        """Move an open file. Returns "", or why it had to be done in the older way."""
        handle = self.calls.get_osfhandle(fd)
        flags = win.FILE_RENAME_POSIX_SEMANTICS | (win.FILE_RENAME_REPLACE_IF_EXISTS if replace else 0)
        try:
            self.calls.rename_by_handle(handle, new, flags)
        except OSError as error:
            if code(error) not in NO_POSIX_RENAME:
                raise
            flags = win.MOVEFILE_WRITE_THROUGH | (win.MOVEFILE_REPLACE_EXISTING if replace else 0)
            self.calls.move_file(old, new, flags)
            return f"not supported here (Windows error {code(error)}): done by MoveFileExW"
        return ""

    def refuses_to_replace(self, directory: str) -> bool:
        """Whether a rename there leaves a file alone that has the name already."""
        one, two = (os.path.join(directory, temp_names.fresh("h")) for _ in range(2))
        try:
            for path in (one, two):
                self.calls.close(self.create(path, win.FILE_ATTRIBUTE_NORMAL, None))
            self.calls.move_file(one, two, win.MOVEFILE_WRITE_THROUGH)
        except OSError as error:
            if code(error) not in TAKEN | _BUSY:
                raise
            return code(error) in TAKEN
        finally:
            self.remove(one)
            self.remove(two)
        return False

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it, if it is there. Never follows a link."""
        try:
            attributes = self.calls.get_file_attributes(path)
            if attributes & win.FILE_ATTRIBUTE_READONLY:
                self.calls.set_file_attributes(path, win.FILE_ATTRIBUTE_NORMAL)
            if not attributes & win.FILE_ATTRIBUTE_DIRECTORY:
                self.retry_sharing_violation(lambda: self.calls.unlink(path))
                return
            if not attributes & win.FILE_ATTRIBUTE_REPARSE_POINT:
                # Not a junction, nor the mount point of a volume.
                for name in self.calls.listdir(path):
                    self.remove(os.path.join(path, name))
            self.retry_sharing_violation(lambda: self.calls.rmdir(path))
        except FileNotFoundError:
            pass

    def retry_sharing_violation(self, act: Callable[[], T], refuse: Callable[[], None] | None = None) -> T:
        """Repeat what fails because others hold the file, for a while, many times and with short pauses.

        ``refuse``: called on "access denied", to raise where that will never change.
        """
        calls = self.calls
        deadline = None
        pause, paused = _FIRST_PAUSE, 0.0
        tries = 0
        while True:
            try:
                return act()
            except OSError as error:
                if code(error) not in _BUSY:
                    raise
                if tries == 0 and code(error) == win.ERROR_ACCESS_DENIED and refuse is not None:
                    refuse()
                tries = (tries + 1) % TRIES
                if tries:
                    continue
                now = calls.clock()
                deadline = now + self.patience if deadline is None else deadline
                # On a busy machine the time can pass almost without a try.
                if now >= deadline and paused >= self.patience * _LEAST_SHARE:
                    raise
            calls.sleep(min(pause, deadline - now) if now < deadline else pause)
            paused += pause
            pause = min(2 * pause, _LONGEST_PAUSE)


def _patience() -> float:
    """For how many seconds to go on trying: `PATIENCE` in the environment, or 2."""
    text = os.environ.get(PATIENCE)
    if text is None:
        return _DEFAULT_PATIENCE
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ValueError(f"{PATIENCE} must be a number of seconds from 0 up, not {text!r}")
    return seconds
