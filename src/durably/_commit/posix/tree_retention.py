"""What tells a sweep that a tree it has found is no leftover: it is in use, or was to be kept."""

from __future__ import annotations

import errno
import stat

from durably._commit.posix.flags import DIRECTORY, NOFOLLOW
from durably._system import temp_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingTree
    from durably._commit.posix.strategy import Posix

# readlink(2): it is no link, or gone by now.
_NO_LINK = {errno.EINVAL, errno.ENOENT}


def mark(routine: Posix, save: PendingTree) -> None:
    """Note in the private directory, before the target changes, which tree is the caller's to keep.

    That is the version of this name; or, where trees are exchanged, any that lies there later and has
    not this number, which is the new one's.
    """
    assert save.identity is not None
    text = save.old_version or str(save.identity[1])
    routine.calls.symlink(text, temp_names.fresh("f"), dir_fd=save.staging)


def retention_reason(routine: Posix, directory: int, name: str) -> str:
    """Why a directory that a dead process has left is to stay; "" if it is not."""
    made = temp_names.parse(name)
    kind = made[0] if made is not None else ""
    if kind == "v" and _is_linked(routine, directory, name):
        return "a link leads to it"
    if kind == "v" and any(
        name in _marks(routine, directory, entry) for entry in _privates(routine, directory)
    ):
        return "it is an old directory that was to be kept: move it away"
    if kind == "d" and any(
        _is_there(routine, directory, text) and not _is_linked(routine, directory, text)
        for text in _marks(routine, directory, name)
    ):
        return "it notes which old directory was to be kept: move that away"
    if kind == "d" and _holds_old(routine, directory, name):
        return "it holds an old directory that was to be kept: move that away"
    return ""


def _holds_old(routine: Posix, parent: int, name: str) -> bool:
    """Whether a private directory holds an old tree that was to be kept."""
    calls = routine.calls
    directory = calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=parent)
    try:
        entries = calls.listdir(directory)
        marks = {_link(routine, directory, entry) for entry in entries if temp_names.parse(entry)} - {None}
        found = (routine.lookup(directory, entry) for entry in entries if not temp_names.parse(entry))
        return bool(marks) and any(
            stat.S_ISDIR(status.st_mode) and str(status.st_ino) not in marks for status in found
        )
    finally:
        calls.close(directory)


def _privates(routine: Posix, directory: int) -> list[str]:
    """The private directories beside a version."""
    return [entry for entry in routine.calls.listdir(directory) if temp_names.is_of(entry, "d")]


def _marks(routine: Posix, parent: int, name: str) -> set[str]:
    """The versions that a private directory notes."""
    calls = routine.calls
    try:
        directory = calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        return set()  # its process lives, and is done
    try:
        links = (
            _link(routine, directory, entry) for entry in calls.listdir(directory) if temp_names.parse(entry)
        )
        return {text for text in links if text is not None and temp_names.parse(text)}
    finally:
        calls.close(directory)


def _is_there(routine: Posix, directory: int, name: str) -> bool:
    try:
        routine.lookup(directory, name)
    except FileNotFoundError:
        return False
    return True


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
