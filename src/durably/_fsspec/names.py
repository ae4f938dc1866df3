"""Making, moving and removing names, with the flush of the directory that a promise needs."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from durably import _commit
from durably._commit.pending import PendingFile
from durably._errors import not_durable
from durably._file.paths import as_text, is_url
from durably._file.protocol import abandon
from durably._system import temp_names
from durably._types import DURABLE, NONE, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from durably._commit.strategy import Routine
    from durably._system.syscalls import Syscalls
    from durably._types import Durability

# os.fsync of a file that is open for reading only is an error on Windows (FlushFileBuffers).
_TO_FLUSH = os.O_RDWR if hasattr(os, "O_BINARY") else os.O_RDONLY


def in_staging(path: str) -> bool:
    """Whether a path leads through a temporary of durably's: nobody makes that again once it is gone."""
    if temp_names.PREFIX not in path:
        return False
    parts = path.replace(os.sep, "/").split("/")  # fsspec's are of slashes on Windows, too
    return any(temp_names.parse(part) is not None for part in parts)


def without_protocol(path: object, protocols: tuple[str, ...]) -> object:
    """A path without the protocol of a URL, which fsspec before 2024.10 leaves there if it is not its own.

    Raises ValueError for a URL of another: it would be taken for a relative path, and be made.
    """
    if not isinstance(path, str):
        return path
    for protocol in protocols:
        for start in (f"{protocol}://", f"{protocol}:"):
            if path.startswith(start):
                return path[len(start) :]
    if is_url(path):
        raise ValueError(f"{path!r} is a URL of another file system than {protocols[0]}://")
    return as_text(path)


def is_temporary(path: str) -> bool:
    """Whether a path is a temporary of durably's."""
    return temp_names.PREFIX in path and temp_names.parse(os.path.basename(path)) is not None


def make_directory(path: str, level: Durability, *, parents: bool, mode: int = 0o777) -> None:
    """Make a directory, with those above it if ``parents``, and flush the names that were made.

    Raises FileExistsError if there is anything at ``path``, FileNotFoundError without a parent, also
    where that would be a temporary of durably's that is gone: the save that made it is over.
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    if is_temporary(path):
        raise FileNotFoundError(errno.ENOENT, "is the temporary of a save that is over", path)
    routine = _commit.routine()
    above = parents and not in_staging(os.path.dirname(path))
    save = PendingFile(path, resolve({"durability": level, "make_parents": above, "symlinks": "replace"}))
    try:
        routine.locate(save)
        routine.calls.mkdir(path, mode)
    except BaseException as error:
        abandon(routine, save, error)
        raise
    save.published = True
    _fsync_directory(routine, save, f"the directory {path} was made")


def make_directories(path: str, level: Durability) -> None:
    """Make a directory and those above it, where they are missing."""
    if os.path.isdir(path):
        return
    try:
        make_directory(path, level, parents=True)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def remove(path: str, level: Durability) -> None:
    """Remove a file or a link, or a directory with all that is in it; never crosses a mount."""

    def change(routine: Routine, save: PendingFile) -> None:
        routine.lookup(save.directory, save.name)
        routine.remove_entry(save.directory, save.name)

    _change(path, level, f"{path} was removed", change)


def remove_directory(path: str, level: Durability) -> None:
    """Remove an empty directory."""
    _change(path, level, f"{path} was removed", lambda routine, _: routine.calls.rmdir(path))


def name(path: str, level: Durability, make: Callable[[Syscalls], object]) -> None:
    """Have ``make`` give something the name ``path``, and flush that."""
    _change(path, level, f"{path} was made", lambda routine, _: make(routine.calls))


def move(source: str, target: str, level: Durability) -> None:
    """Rename a file, replacing one that is there, or a directory; and flush both directories.

    The content of a file is flushed first, as whoever wrote it may not have done so.
    """
    done = f"{source} was moved to {target}"

    def change(routine: Routine, _: PendingFile) -> None:
        if level is not NONE:
            flush_content(routine, source)
        _change(target, level, done, lambda _, __: routine.calls.replace(source, target))

    _change(source, level, done, change)


def _change(
    path: str, level: Durability, done: str, change: Callable[[Routine, PendingFile], object]
) -> None:
    """Change a name, and flush the directory that it lies in, which is opened before."""
    routine = _commit.routine()
    save = PendingFile(path, resolve({"durability": level}))
    save.where, save.name = os.path.split(path)
    try:
        save.directory = save.staging = routine.open_directory(save.where)
        change(routine, save)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, save.name):  # as seen from the directory
            error.filename = path
        routine.release(save)
        raise
    _fsync_directory(routine, save, done)


def _fsync_directory(routine: Routine, save: PendingFile, done: str) -> None:
    try:
        if save.options.durability is DURABLE:
            routine.fsync_directory(save)
    except OSError as error:
        done = f"{done}, but its directory"
        raise not_durable(save.path, error, done=done, risk="a power cut may undo it") from error
    finally:
        routine.release(save)


def flush_content(routine: Routine, path: str) -> None:
    """Bring the content of a file to the device that others may not have flushed."""
    if not stat.S_ISREG(routine.calls.stat(path, follow_symlinks=False).st_mode):
        return  # a directory's tree is moved as it is, and a link has no content of its own
    try:
        fd = routine.calls.open(path, _TO_FLUSH | getattr(os, "O_CLOEXEC", 0))
    except PermissionError as error:
        message = f"cannot be opened to be flushed ({error.strerror}); nothing was changed"
        raise PermissionError(
            error.errno, f'{message}; durability="none" moves it unflushed', path
        ) from error
    try:
        routine.calls.fsync(fd)
    finally:
        routine.calls.close(fd)
