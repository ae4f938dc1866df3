"""The fallback on Windows: versions of a tree, and a link to one of them that another link replaces.

A version is a private directory that holds the tree under the target's name, so that nothing has to be
moved beside the target before the link is.
"""

from __future__ import annotations

import errno
import os
import stat

from durably._commit.posix.metadata import lose
from durably._commit.windows import metadata
from durably._commit.windows.handles import NO_POSIX_RENAME, SHARE, TAKEN, code
from durably._commit.windows.target import target
from durably._errors import UnsupportedError
from durably._system import temp_names
from durably._system.native import win32 as win

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingTree
    from durably._commit.windows.strategy import Windows
    from durably._system.syscalls import Syscalls

_LINK = win.FILE_FLAG_BACKUP_SEMANTICS | win.FILE_FLAG_OPEN_REPARSE_POINT
# FILE_RENAME_INFORMATION speaks of files only; std::fs::rename of Rust reports that an empty directory is
# replaced too, from Windows 10 1607 on, where the file system knows the call.
_NO_REPLACEMENT = NO_POSIX_RENAME | TAKEN | {win.ERROR_ACCESS_DENIED, win.ERROR_DIR_NOT_EMPTY}
_PREFIX = "\\\\?\\"


def version(calls: Syscalls, save: PendingTree, found: os.stat_result) -> str | None:
    """The version that the target leads to; None where that is gone. Refuses what is no link of ours."""
    if not calls.get_file_attributes(target(save)) & win.FILE_ATTRIBUTE_REPARSE_POINT:
        if not stat.S_ISDIR(found.st_mode):
            message = "is neither a directory nor a link to one; nothing was changed"
            raise NotADirectoryError(errno.ENOTDIR, message, save.path)
        message = (
            "is a real directory, and fallback='symlink' puts a link in its place, which cannot be done in "
            "one step: rename it first; nothing was changed"
        )
        raise UnsupportedError(errno.ENOTSUP, message, save.path)
    name = _linked(calls, save.directory, save.name)
    if name is None:
        message = "is a link that leads elsewhere, and durably has not made it; nothing was changed"
        raise OSError(errno.ELOOP, message, save.path)
    try:
        calls.stat(tree(save, name), follow_symlinks=False)
    except FileNotFoundError:
        return None
    return name


def tree(save: PendingTree, name: str) -> str:
    """The path of the tree in a version."""
    return os.path.join(save.directory, name, save.name)


def _linked(calls: Syscalls, directory: str, name: str) -> str | None:
    """The version beside a link that it leads to; None for every other link."""
    text: str = calls.readlink(os.path.join(directory, name))
    above, to = os.path.split(text)
    place, found = os.path.split(above)
    here = not place or _plain(place) == _plain(directory)  # a junction holds an absolute path
    return found if to == name and here and temp_names.is_of(found, "v") else None


def _plain(path: str) -> str:
    return os.path.normcase(path.removeprefix(_PREFIX))


def retention_reason(calls: Syscalls, directory: str, name: str) -> str:
    """Why a version that a dead process has left is to stay; "" if it is not."""
    if temp_names.is_of(name, "v"):
        for entry in calls.listdir(directory):
            attributes = calls.get_file_attributes(os.path.join(directory, entry))
            if attributes & win.FILE_ATTRIBUTE_REPARSE_POINT and _linked(calls, directory, entry) == name:
                return "a link leads to it"
    return ""


def check_supported(routine: Windows, save: PendingTree) -> None:
    """Find out before the caller writes whether one link replaces another here."""
    one, two = (os.path.join(save.staging, temp_names.fresh("f")) for _ in range(2))
    try:
        _make(routine.calls, save, one)
        _make(routine.calls, save, two)
        _move(routine.calls, one, two, replace=True)
    except OSError as error:
        if code(error) not in _NO_REPLACEMENT and not isinstance(error, FileNotFoundError):
            raise
        message = (
            "fallback='symlink': no link to a directory can be made here that another one replaces in one "
            f"step ({error.strerror}); nothing was changed"
        )
        raise UnsupportedError(errno.ENOTSUP, message, save.path) from error
    routine.files.remove(two)


def _make(calls: Syscalls, save: PendingTree, path: str) -> None:
    """Make the link. Raises FileNotFoundError where that does nothing, as under Wine 8."""
    assert save.private is not None
    try:
        calls.symlink(os.path.join(save.private, save.name), path, target_is_directory=True)
    except OSError as error:
        if code(error) != win.ERROR_PRIVILEGE_NOT_HELD:
            raise
        # Neither an administrator nor in developer mode: a junction needs no right, and is absolute.
        calls.create_junction(tree(save, save.private), path)
    status = calls.stat(path, follow_symlinks=False)
    save.identity = status.st_dev, status.st_ino


def _move(calls: Syscalls, link: str, path: str, *, replace: bool) -> None:
    flags = win.FILE_RENAME_POSIX_SEMANTICS | (win.FILE_RENAME_REPLACE_IF_EXISTS if replace else 0)
    handle = calls.create_file(link, win.DELETE, SHARE, win.OPEN_EXISTING, _LINK)
    try:
        calls.rename_by_handle(handle, path, flags)
    finally:
        calls.close_handle(handle)


def switch(routine: Windows, save: PendingTree) -> None:
    """Put a link to the new version in the target's place."""
    link = os.path.join(save.staging, temp_names.fresh("f"))
    _make(routine.calls, save, link)
    save.publishing = True
    routine.files.retry_sharing_violation(
        lambda: _move(routine.calls, link, target(save), replace=save.options.overwrite)
    )


def carry(calls: Syscalls, save: PendingTree, new: str) -> None:
    """Give the new tree's own directory the old one's access list; name its owner where that differs."""
    assert save.old_version is not None
    old = tree(save, save.old_version)
    metadata.note_owner(calls, save, old, new)
    try:
        access = metadata.model(calls, old)
        if access is not None:
            _protect(calls, new, access)
    except OSError as error:
        if code(error) != win.ERROR_ACCESS_DENIED:
            raise
        lose(save, "acl", error)


def _protect(calls: Syscalls, path: str, access: bytes) -> None:
    handle = calls.create_file(path, win.WRITE_DAC, SHARE, win.OPEN_EXISTING, _LINK)
    try:
        calls.set_security(handle, win.DACL_SECURITY_INFORMATION, access)
    finally:
        calls.close_handle(handle)
