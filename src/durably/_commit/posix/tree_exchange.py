"""The one step by which the target becomes the new tree: a rename, or the exchange of two directories."""

from __future__ import annotations

import errno
import stat

from durably._errors import OutcomeUnknownError, UnsupportedError
from durably._system import temp_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingTree
    from durably._commit.posix.tree import Trees

# How kernels and file systems refuse a rename with a flag; EXDEV is overlayfs's for a lower directory.
NO_FLAG = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV}
_PLAIN = 0o777


def check_supported(trees: Trees, save: PendingTree) -> None:
    """Find out before the caller writes whether the step that will publish the tree works here."""
    if save.old is None and save.options.overwrite:
        return  # a plain rename does, where there is no other
    one, two = temp_names.fresh("d"), temp_names.fresh("d")
    trees.calls.mkdir(one, _PLAIN, dir_fd=save.staging)
    try:
        if save.old is None:
            trees.move(save.staging, one, save.staging, two)
        else:
            trees.calls.mkdir(two, _PLAIN, dir_fd=save.staging)
            trees.swap(save.staging, one, save.staging, two)
            trees.calls.rmdir(one, dir_fd=save.staging)
    except OSError as error:
        raise refused(save, error) from error
    trees.calls.rmdir(two, dir_fd=save.staging)


def appear(trees: Trees, save: PendingTree) -> None:
    """Rename the new tree to the target, which is not there; if it is by now, exchange the two."""
    move = trees.move_anyhow if save.options.overwrite else trees.move
    try:
        move(save.staging, save.name, save.directory, save.name)
    except FileExistsError:
        if not save.options.overwrite:
            raise
        trees.look(save)  # somebody else made it meanwhile
        exchange(trees, save)
        return
    except OSError as error:
        if not trees.took_place(save, error):
            raise refused(save, error) from error
    save.steps.append("rename")


def exchange(trees: Trees, save: PendingTree) -> None:
    """Exchange the new tree with the old one."""
    try:
        trees.swap(save.staging, save.name, save.directory, save.name)
    except OSError as error:
        if not trees.took_place(save, error):
            raise refused(save, error) from error
    _check_exchanged(trees, save)
    save.steps.append("exchange")


def _check_exchanged(trees: Trees, save: PendingTree) -> None:
    """Take the exchange back if it was not with a directory: the call exchanges one with anything."""
    try:
        if stat.S_ISDIR(trees.posix.lookup(save.staging, save.name).st_mode):
            return
        message = "became something else than a directory meanwhile; it was not changed"
        cause: OSError = NotADirectoryError(errno.ENOTDIR, message, save.path)
    except OSError as error:
        cause = error
    try:
        trees.swap(save.staging, save.name, save.directory, save.name)
    except OSError as error:
        if trees.took_place(save, error):
            left, save.private = (
                trees.posix.location(save, save.private or ""),
                None,
            )  # it must not be removed
            message = f"was exchanged with something that is no directory, or not known; it lies in {left}"
            raise OutcomeUnknownError(cause.errno, message, save.path) from error
    save.publishing = False
    raise cause


def refused(save: PendingTree, error: OSError) -> OSError:
    """The error that says that there is no such rename here; others stay what they are."""
    if error.errno not in NO_FLAG:
        return error
    what = "create a directory without replacing one" if save.old is None else "exchange two directories"
    advice = "" if save.old is None else "; fallback='symlink' keeps versions behind a link instead"
    message = f"cannot {what} here ({error.strerror}); the target was not changed{advice}"
    return UnsupportedError(errno.ENOTSUP, message, save.path)
