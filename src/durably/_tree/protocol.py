"""The protocol of every save of a directory: put the new tree in place, then keep or remove the old one."""

from __future__ import annotations

from durably._errors import not_durable, note_leftovers, set_error_path
from durably._file.protocol import achieved_level
from durably._receipts import Receipt
from durably._types import CONSISTENT, LEVELS, NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingTree
    from durably._commit.tree_strategy import TreeRoutine


def finish(trees: TreeRoutine, save: PendingTree) -> Receipt:
    """Commit what was staged. Any exception: call `abandon`."""
    size = trees.take_over(save)
    if save.options.durability is not NONE:
        trees.flush(save)
    trees.rename_into_place(save)
    failure = _fsync_parent(trees, save)
    if failure is None:
        failure = _clear(trees, save)
    else:
        _leave(trees, save, "remove", "the old tree stays, as the directory above it could not be flushed")
    return _concluded(trees, save, size, failure)


def _fsync_parent(trees: TreeRoutine, save: PendingTree) -> OSError | None:
    """Flush the new name, at every level that flushes: what is removed afterwards is the old tree."""
    if save.options.durability is not NONE:
        try:
            trees.fsync_directory(save)
        except OSError as error:
            return error
        if save.old is not None and "fsync directory" in save.skipped:
            save.limit = NONE  # nothing puts the exchange on the disk before the removal
    return None


def _clear(trees: TreeRoutine, save: PendingTree) -> OSError | None:
    """Keep or remove the old tree. Returns what failed in flushing the name that it is kept under."""
    if save.old is not None and save.kept is not None:
        try:
            trees.keep(save)
        except OSError as error:
            _leave(trees, save, "keep_old", f"could not be moved to {save.keep_old}: {error.strerror}")
            return None
    failure = _fsync_parent(trees, save) if save.kept is not None else None
    try:
        trees.remove_old(save)
    except OSError as error:
        _leave(trees, save, "remove", str(error.strerror))
    return failure


def _leave(trees: TreeRoutine, save: PendingTree, what: str, reason: str) -> None:
    """Name the old tree, or what is left of it, in the receipt; it is not touched any more."""
    for path in trees.leftovers(save)[-1:]:
        save.skipped[what] = f"{path} is left over: {reason}"
    if save.old_version is None:
        save.private = None
        return
    save.old_version = None
    try:
        trees.remove_old(save)
    except OSError as error:
        for path in trees.leftovers(save):
            save.skipped["remove private"] = f"{path} is left over: {error.strerror}"
        save.private = None


def _concluded(trees: TreeRoutine, save: PendingTree, size: int, failure: OSError | None) -> Receipt:
    routine = trees.routine
    kept = NONE if save.options.durability is NONE else achieved_level(routine, save)
    routine.release(save)
    if failure is not None:
        kept = min(kept, NONE if save.old is not None else CONSISTENT, key=LEVELS.index)
    replaced = save.old is not None
    receipt = Receipt(save.path, size, replaced, False, kept, tuple(save.steps), save.skipped, save.lost)  # noqa: FBT003 # a record
    if failure is not None:
        raise not_durable(save.path, failure, receipt, "the new directory is in place, but the one above it")
    return receipt


def abandon(trees: TreeRoutine, save: PendingTree, error: BaseException) -> None:
    """Undo a save that broke off with ``error``, or finish one that was published by then.

    Nothing is raised by a failure here: what stays is named in ``error.leftovers`` and in a note.
    """
    known = True
    if save.directory is not None:  # else it was concluded
        known = _is_known(trees, save)
        if not known:
            note_leftovers(error, trees.doubtful(save), "the target may lead to it")
        elif save.published:
            _finish_quietly(trees, save, error)
        else:
            discard(trees, save, error)
    trees.routine.release(save)
    if isinstance(error, OSError):
        set_error_path(error, save.path)
        if known and not save.published:
            error.add_note("durably: the target was not changed")


def _is_known(trees: TreeRoutine, save: PendingTree) -> bool:
    """Find out whether the new tree was published. False: that cannot be told."""
    if save.publishing and not save.published:
        try:
            save.published = trees.routine.is_published(save)
        except OSError:
            return False
    return True


def _finish_quietly(trees: TreeRoutine, save: PendingTree, error: BaseException) -> None:
    # Another exception is on its way, and promises nothing; but what is left is named in it.
    before = dict(save.skipped)
    if _fsync_parent(trees, save) is None:
        _clear(trees, save)
    else:
        _leave(trees, save, "remove", "the directory above it could not be flushed")
    for what, told in save.skipped.items():
        path, found, reason = told.partition(" is left over: ")
        if found and before.get(what) != told:
            note_leftovers(error, (path,), reason)


def discard(trees: TreeRoutine, save: PendingTree, error: BaseException) -> None:
    """Remove what is staged, and close everything.

    Nothing is raised: what cannot be removed is named in ``error.leftovers`` and in a note.
    """
    try:
        trees.discard(save)
    except OSError as failure:
        note_leftovers(error, trees.leftovers(save), failure)
    trees.routine.release(save)
