"""Going through a tree by descriptors: how large it is, and bringing all of it to the device."""

from __future__ import annotations

import stat

from durably._commit.posix.flags import DIRECTORY, NOFOLLOW, READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from durably._commit.posix.strategy import Posix


def measure(routine: Posix, top: int, *, early: bool) -> int:
    """The bytes in all regular files of a tree. ``early``: start to write them out, without waiting."""
    size = 0

    def look(directory: int, name: str, status: os.stat_result) -> None:
        nonlocal size
        if stat.S_ISREG(status.st_mode):
            size += status.st_size
            if early:
                _with_file(routine, directory, name, routine.start_flush)

    walk(routine, top, look, lambda _: None)
    return size


def flush_tree(routine: Posix, top: int, fsync_names: Callable[[int], None]) -> None:
    """Flush every file and every directory, what lies in a directory before the directory itself."""
    calls = routine.calls

    def flush(directory: int, name: str, status: os.stat_result) -> None:
        # A FIFO would be opened, and a device might do anything; neither has content of its own.
        if stat.S_ISREG(status.st_mode):
            _with_file(routine, directory, name, calls.fsync)

    walk(routine, top, flush, fsync_names)


def walk(
    routine: Posix,
    directory: int,
    enter: Callable[[int, str, os.stat_result], None],
    leave: Callable[[int], None],
) -> None:
    """``enter`` everything but directories, by directory and name, and ``leave`` each directory after."""
    calls = routine.calls
    for name in calls.listdir(directory):
        status = calls.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            inner = calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=directory)
            try:
                walk(routine, inner, enter, leave)
            finally:
                calls.close(inner)
        else:
            enter(directory, name, status)
    leave(directory)


def _with_file(routine: Posix, directory: int, name: str, act: Callable[[int], None]) -> None:
    fd = routine.calls.open(name, READ, dir_fd=directory)
    try:
        act(fd)
    finally:
        routine.calls.close(fd)
