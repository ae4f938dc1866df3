"""What tells a sweep that a tree it has found is no leftover: it is in use, or was to be kept."""

from __future__ import annotations

import errno
import stat

from durably import _names
from durably._commit._flags import DIRECTORY, NOFOLLOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit._posix import Posix
    from durably._save import TreeSave

# readlink(2): it is no link, or gone by now.
_NO_LINK = {errno.EINVAL, errno.ENOENT}


def mark(routine: Posix, save: TreeSave) -> None:
    """Note in the private directory, before the exchange, which tree is the new one.

    Any other tree that lies there later is the old one, and the caller wants to keep it.
    """
    assert save.identity is not None
    routine.calls.symlink(str(save.identity[1]), _names.fresh("f"), dir_fd=save.staging)


def spares(routine: Posix, directory: int, name: str) -> str:
    """Why a directory that a dead process has left is to stay; "" if it is not."""
    made = _names.parse(name)
    kind = made[0] if made is not None else ""
    if kind == "v" and _is_linked(routine, directory, name):
        return "a link leads to it"
    if kind == "d" and _holds_old(routine, directory, name):
        return "it holds an old directory that was to be kept: move that away"
    return ""


def _holds_old(routine: Posix, parent: int, name: str) -> bool:
    """Whether a private directory holds an old tree that was to be kept."""
    calls = routine.calls
    directory = calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=parent)
    try:
        entries = calls.listdir(directory)
        marks = {_link(routine, directory, entry) for entry in entries if _names.parse(entry)} - {None}
        found = (routine.lookup(directory, entry) for entry in entries if not _names.parse(entry))
        return bool(marks) and any(
            stat.S_ISDIR(status.st_mode) and str(status.st_ino) not in marks for status in found
        )
    finally:
        calls.close(directory)


def _is_linked(routine: Posix, directory: int, name: str) -> bool:
    """Whether a symbolic link beside a version of a tree leads to it."""
    return any(_link(routine, directory, entry) == name for entry in routine.calls.listdir(directory))


def _link(routine: Posix, directory: int, name: str) -> str | None:
    try:
        text: str = routine.calls.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return None
    return text
