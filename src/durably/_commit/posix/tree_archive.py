"""Keeping the old tree: where it is to go, found before any work, and the move there."""

from __future__ import annotations

import errno

from durably._commit.posix.flags import DIRECTORY
from durably._system import temp_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingTree
    from durably._commit.posix.strategy import Posix
    from durably._commit.posix.tree import Trees


def locate(routine: Posix, save: PendingTree, path: str) -> None:
    """Open the directory that the old tree is to go to. Refuses a name that it could not be moved to."""
    path = path.rstrip("/") or path
    head, slash, name = path.rpartition("/")
    if name in ("", ".", ".."):
        raise ValueError(f"keep_old must name what the old directory is to be called, not {path!r}")
    if temp_names.parse(name) is not None:
        raise ValueError(f"keep_old must not be a name that durably.sweep looks at: {path!r}")
    kept = routine.calls.open(head or slash or ".", DIRECTORY)
    save.made = (*save.made, (kept, ""))  # flushed with the others, and closed at the end
    if not routine.is_same_mount(save.directory, kept):
        message = "keep_old lies on another file system than the target; nothing was changed"
        raise OSError(errno.EXDEV, message, path)
    if save.old is not None and _is_inside(routine, save, kept):
        raise ValueError(f"keep_old lies inside the directory that is to be kept: {path!r}")
    _check_free(routine, save, kept, name, path)
    save.kept = kept, name


def _check_free(routine: Posix, save: PendingTree, kept: int, name: str, path: str) -> None:
    if (_identity(routine, kept), name) == (_identity(routine, save.directory), save.name):
        raise ValueError(f"keep_old names the target itself: {path!r}")
    try:
        routine.lookup(kept, name)
    except FileNotFoundError:
        return
    message = "keep_old names something that exists already; nothing was changed"
    raise FileExistsError(errno.EEXIST, message, path)


def _is_inside(routine: Posix, save: PendingTree, kept: int) -> bool:
    assert save.old is not None
    calls = routine.calls
    here, top = calls.dup(kept), False
    try:
        while not top:
            identity = _identity(routine, here)
            if identity == (save.old.st_dev, save.old.st_ino):
                return True
            left, here = here, calls.open("..", DIRECTORY, dir_fd=here)
            calls.close(left)
            top = _identity(routine, here) == identity
    finally:
        calls.close(here)
    return False


def _identity(routine: Posix, directory: int) -> tuple[int, int]:
    found = routine.calls.fstat(directory)
    return found.st_dev, found.st_ino


def keep(trees: Trees, save: PendingTree) -> None:
    """Move the old tree there. Nothing if that was done."""
    assert save.kept is not None
    directory, name = save.staging, save.name
    if save.old_version is not None:
        directory, name = save.directory, save.old_version
    try:
        trees.posix.lookup(directory, name)
    except FileNotFoundError:
        return
    kept, kept_name = save.kept
    trees.move_anyhow(directory, name, kept, kept_name)
    save.steps.append("keep old")
