"""Versions of a tree beside the target, which is a symbolic link to one of them: the fallback."""

from __future__ import annotations

import errno
import stat

from durably._commit.posix.tree_exchange import refused
from durably._errors import UnsupportedError
from durably._system import temp_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from durably._commit.pending import PendingTree
    from durably._commit.posix.strategy import Posix
    from durably._commit.posix.tree import Trees


def version(routine: Posix, save: PendingTree, found: os.stat_result) -> str | None:
    """The version that the target leads to; None where that is gone. Refuses what is no link of ours."""
    if stat.S_ISDIR(found.st_mode):
        message = (
            "is a real directory, and fallback='symlink' puts a link in its place, which cannot be done in "
            "one step: rename it first; nothing was changed"
        )
        raise UnsupportedError(errno.ENOTSUP, message, save.path)
    if not stat.S_ISLNK(found.st_mode):
        message = "is neither a directory nor a link to one; nothing was changed"
        raise NotADirectoryError(errno.ENOTDIR, message, save.path)
    name: str = routine.calls.readlink(save.name, dir_fd=save.directory)
    if not temp_names.is_of(name, "v"):
        message = "is a symbolic link that leads elsewhere, and durably has not made it; nothing was changed"
        raise OSError(errno.ELOOP, message, save.path)
    try:
        routine.lookup(save.directory, name)
    except FileNotFoundError:
        return None
    return name


def stage(trees: Trees, save: PendingTree) -> None:
    """Move the new tree beside the target, and make the link that is to lead to it."""
    calls = trees.calls
    trees.posix.lock(save.fd)  # no sweep has taken it, in a private directory
    save.version = temp_names.fresh("v")
    trees.move_anyhow(save.staging, save.name, save.directory, save.version)
    calls.symlink(save.version, save.name, dir_fd=save.staging)
    link = trees.posix.lookup(save.staging, save.name)
    save.identity = link.st_dev, link.st_ino


def switch(trees: Trees, save: PendingTree) -> None:
    """Put the new link in the target's place."""
    try:
        if save.options.overwrite:
            trees.calls.replace(save.name, save.name, src_dir_fd=save.staging, dst_dir_fd=save.directory)
        else:
            trees.move(save.staging, save.name, save.directory, save.name)
    except OSError as error:
        if not trees.took_place(save, error):
            raise refused(save, error) from error
    save.steps.append("rename link")
