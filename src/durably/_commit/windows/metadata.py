"""What a new file on Windows keeps of the file that it replaces: attributes, owner, access list."""

from __future__ import annotations

import errno

from durably._commit.posix.metadata import lose
from durably._commit.windows.handles import SHARE, code
from durably._system.native import win32 as win

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingFile
    from durably._system.syscalls import Syscalls

# What SetFileAttributesW can set, and what CreateFileW can beside it.
_PLAIN = win.FILE_ATTRIBUTE_HIDDEN | win.FILE_ATTRIBUTE_SYSTEM | win.FILE_ATTRIBUTE_NOT_CONTENT_INDEXED
_AT_CREATION = _PLAIN | win.FILE_ATTRIBUTE_ENCRYPTED
# What a new file has of its directory, or not at all.
_INHERITED = {
    win.FILE_ATTRIBUTE_COMPRESSED: "compression",
    win.FILE_ATTRIBUTE_ENCRYPTED: "encryption",
}
_OWNED = win.OWNER_SECURITY_INFORMATION | win.GROUP_SECURITY_INFORMATION
# "This file system has no such thing": FAT, some network drives, Wine.
_ABSENT = {win.ERROR_INVALID_FUNCTION, win.ERROR_NOT_SUPPORTED, win.ERROR_INVALID_PARAMETER}
# "You may not give files away."
_NOT_YOURS = {
    win.ERROR_INVALID_OWNER,
    win.ERROR_INVALID_PRIMARY_GROUP,
    win.ERROR_PRIVILEGE_NOT_HELD,
}


class Old:
    """What is known of the old file beside its status, and of how a new one is to be protected."""

    __slots__ = ("attributes", "model")

    def __init__(self, attributes: int = 0, model: bytes | None = None) -> None:
        self.attributes = attributes
        self.model = model
        """The access list of a file that `create` made, for one that others make."""


def attributes(save: PendingFile) -> int:
    """The attributes to make the new file with."""
    carried = save.old_attributes.attributes & _AT_CREATION if save.preserve_metadata else 0
    return carried or win.FILE_ATTRIBUTE_NORMAL


def security(calls: Syscalls, save: PendingFile, old: str, *, owned: bool = True) -> bytes | None:
    """The old file's security descriptor; None for the directory's, as for a new file."""
    if not save.preserve_metadata:
        return None
    try:
        return calls.get_security(old, win.DACL_SECURITY_INFORMATION | (_OWNED if owned else 0))
    except OSError as error:
        if code(error) in _ABSENT:
            return None
        if code(error) != win.ERROR_ACCESS_DENIED:
            raise
        lose(save, "acl", error)
        return None


def is_not_yours(error: OSError) -> bool:
    """Whether a file could not be made because of its owner or its group."""
    return code(error) in _NOT_YOURS


def model(calls: Syscalls, path: str) -> bytes | None:
    """The access list of a file that we made; None where there are none."""
    try:
        return calls.get_security(path, win.DACL_SECURITY_INFORMATION)
    except OSError as error:
        if code(error) not in _ABSENT:
            raise
        return None


def note_owner(calls: Syscalls, save: PendingFile, old: str, new: str) -> None:
    """Name the owner as lost if it differs: that of a file which others make cannot be given."""
    try:
        differs = calls.get_security(old, _OWNED) != calls.get_security(new, _OWNED)
    except OSError as error:
        if code(error) not in _ABSENT | {win.ERROR_ACCESS_DENIED}:
            raise
        differs = code(error) not in _ABSENT
    if differs:
        lose(save, "owner", OSError(errno.EPERM, "another process makes the file"))


def note_streams(calls: Syscalls, save: PendingFile, old: str) -> None:
    """Name the streams of the old file, which stay with it."""
    for name in _streams(calls, save, old):
        lose(save, f"stream:{name}", OSError(errno.ENOTSUP, "named streams stay with the old file"))


def note_inherited(calls: Syscalls, save: PendingFile, new: str) -> None:
    """Name the attributes of the old file that only a directory gives, and here did not."""
    had = save.old_attributes.attributes & sum(_INHERITED)
    if had:
        gone = had & ~calls.get_file_attributes(new)
        for attribute, what in _INHERITED.items():
            if gone & attribute:
                lose(save, what, OSError(errno.ENOTSUP, "the new file was made without it"))


def _streams(calls: Syscalls, save: PendingFile, old: str) -> list[str]:
    try:
        return calls.list_streams(old)
    except OSError as error:
        if code(error) in _ABSENT:
            return []
        if code(error) != win.ERROR_ACCESS_DENIED:
            raise
        lose(save, "streams", error)
        return []


def apply_metadata(calls: Syscalls, save: PendingFile, path: str) -> None:
    """Give a file that others made the access list and the attributes of one that we make."""
    if save.old_attributes.model is not None:
        try:
            _set_model(calls, save, path)
        except OSError as error:
            if code(error) not in _ABSENT | _NOT_YOURS | {win.ERROR_ACCESS_DENIED}:
                raise
            _lose_model(save, error)
    calls.set_file_attributes(path, attributes(save) & _PLAIN or win.FILE_ATTRIBUTE_NORMAL)
    if save.preserve_metadata:
        note_inherited(calls, save, path)


def _set_model(calls: Syscalls, save: PendingFile, path: str) -> None:
    flags = win.FILE_FLAG_OPEN_REPARSE_POINT
    handle = calls.create_file(path, win.WRITE_DAC, SHARE, win.OPEN_EXISTING, flags)
    try:
        calls.set_security(handle, win.DACL_SECURITY_INFORMATION, save.old_attributes.model)
    finally:
        calls.close_handle(handle)


def _lose_model(save: PendingFile, error: OSError) -> None:
    if save.preserve_metadata:
        lose(save, "acl", error)
    else:
        save.skipped["acl"] = f"the file keeps the private directory's access list: {error.strerror}"
