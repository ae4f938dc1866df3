"""The two-phase commit: flush everything, write the journal ahead, change the names, remove the journal.

Where it fails before the journal stands, nothing was changed; after, what was changed is undone, or
the journal stays for `durably.recover`.
"""

from __future__ import annotations

import errno

from durably._errors import RecoveryNeededError, UnsupportedError, note_leftovers
from durably._file.protocol import achieved_level
from durably._receipts import TransactionReceipt
from durably._system import temp_names
from durably._transaction import journal, recovery
from durably._transaction.journal import BACK, FORWARD
from durably._transaction.operations import identity
from durably._transaction.redo_undo import found, redo
from durably._types import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from durably._transaction.operations import Operation
    from durably._transaction.root import Parts, Root


def commit(
    root: Root, operations: list[Operation], flush: Callable[[], bool], verify: Callable[[], None]
) -> None:
    """Publish what is staged: all of it, or nothing.

    ``flush``: flushes the staged files; True if that has flushed all names as well. ``verify``: raises
    where another has changed a file meanwhile; called when no other transaction can.

    Raises RecoveryNeededError where the journal stays; after any other error nothing was changed.
    What is staged is for the caller to remove, unless the root is ``unfinished``: the journal needs it.
    """
    try:
        root.exclude()
        root.check_trusted()
        recovery.recover(root)
        try:
            _commit(root, operations, flush, verify)
        except BaseException:
            root.unfinished = root.journaled
            raise
    finally:
        root.admit()


def _commit(
    root: Root, operations: list[Operation], flush: Callable[[], bool], verify: Callable[[], None]
) -> None:
    try:
        verify()
        _back_up(root, operations)
        _flush_staged(root, operations, flush)
        journal.write(root, FORWARD, operations)
    except BaseException as error:
        _call_off(root, operations, error)
        raise
    root.notes.steps.append("journal")
    _apply(root, operations)


def check_old(root: Root, directory: Any, operation: Operation, name: str | None = None) -> None:
    """Raise where the target is not what it was when the transaction first met it."""
    there = found(root, directory, name or operation.name)
    known = operation.old
    if (known is None) != (there is None) or not (known is None or there is None or known.is_of(there)):
        raise changed(root, operation.path)


def changed(root: Root, path: Parts) -> OSError:
    """What a commit meets that has lost a race."""
    message = "was changed by another since this transaction first met it; no file was changed"
    return OSError(errno.ESTALE, message, root.full(path))


# Before the journal.


def _back_up(root: Root, operations: list[Operation]) -> None:
    """Give each old file a second name, so that it can be put back."""
    for directory, each in root.visit(operations):
        try:
            _back_up_one(root, directory, each)
        except OSError as error:
            root.set_error_path(error, each.path)
            raise


def _back_up_one(root: Root, directory: Any, each: Operation) -> None:
    if each.old is None or each.staged is None:
        check_old(root, directory, each)
        each.backup = temp_names.fresh("t") if each.staged is None else None
        return
    each.backup = temp_names.fresh("t")
    try:
        root.entries.link(directory, each.name, directory, each.backup)
    except UnsupportedError:
        # No links here, or not of another's file (proc(5), protected_hardlinks): they change places.
        each.backup = each.staged
        check_old(root, directory, each)
    except FileNotFoundError:
        raise changed(root, each.path) from None
    else:
        check_old(root, directory, each, each.backup)


def _flush_staged(root: Root, operations: list[Operation], flush: Callable[[], bool]) -> None:
    if not flush():
        # The names of what is staged and backed up come to the device before the journal that relies on them;
        # those in the root itself, with it.
        root.fsync_directories(directories(operations))
    _identify(root, operations)


def directories(operations: list[Operation]) -> Iterator[Parts]:
    """Those that names are changed in, and those of new trees, the inner before the outer."""
    last: Parts = ()
    for each in operations:
        if each.inside is not None and each.staged is not None:
            top = (*each.where, each.staged)
            yield from ((*top, *path.split("/")) for path, known in each.inside.items() if known is None)
            yield top
        if each.where != last:
            last = each.where
            yield last


def _identify(root: Root, operations: list[Operation]) -> None:
    """Note by what each staged file is known again. Not before: a flush may change its time."""
    for directory, each in root.visit(operations):
        if each.inside is not None:
            _identify_inside(root, each)
        if each.staged is not None:
            each.new = identity(root.routine.lookup(directory, each.staged))


def _identify_inside(root: Root, tree: Operation) -> None:
    assert tree.inside is not None
    assert tree.staged is not None
    for path, known in tree.inside.items():
        if known is not None:
            *above, name = path.split("/")
            directory = root.walk((*tree.where, tree.staged, *above))
            try:
                tree.inside[path] = identity(root.routine.lookup(directory, name))
            finally:
                root.leave(directory)


def _call_off(root: Root, operations: list[Operation], error: BaseException) -> None:
    """Nothing was changed yet: remove the journal, if it stands, and the second names of old files."""
    if root.journaled:
        try:
            journal.remove_journal(root)
            root.flush()
        except OSError as failure:
            if root.journaled:
                raise _needed(root, error, failure, "no file was changed yet") from error
            error.add_note(
                f"durably: no file was changed; a power cut may bring the journal back ({failure})"
            )
    left = root.discard((each.where, each.backup) for each in operations if each.backup != each.staged)
    if left:
        note_leftovers(error, left)


# After the journal.


def _apply(root: Root, operations: list[Operation]) -> None:
    try:
        for directory, each in root.visit(operations):
            redo(root, directory, each)
    except BaseException as error:
        _roll_back(root, operations, error)
        raise
    root.notes.steps.append("rename")
    _conclude(root, operations)
    left = root.discard(_leftovers(operations))
    if left:
        root.notes.skipped["remove"] = f"left over: {', '.join(left)}"
    if root.flushes and "fsync directory" not in root.notes.skipped:
        root.notes.steps.append("fsync directories")


def _leftovers(operations: list[Operation]) -> Iterator[tuple[Parts, str | None]]:
    """What published operations have left: the old files."""
    for each in operations:
        yield each.where, each.backup
        if each.new is not None and each.old is not None and each.new.number == each.old.number:
            yield each.where, each.staged  # rename(2) does nothing between two links to one file


def _roll_back(root: Root, operations: list[Operation], error: BaseException) -> None:
    """Undo what was done. First the journal says so: a crash now must not go forward again."""
    try:
        journal.write(root, BACK, operations)
        left = recovery.roll_back(root, operations)
    except OSError as failure:
        if root.journaled:
            raise _needed(root, error, failure, "some files may be new, others old") from error
        error.add_note(f"durably: no file was changed; a power cut may bring the journal back ({failure})")
    else:
        if left:
            note_leftovers(error, left)


def _conclude(root: Root, operations: list[Operation]) -> None:
    try:
        recovery.finalize(root, operations)
    except OSError as error:
        if root.journaled:
            raise _needed(root, error, error, "all files are new") from error
        root.notes.skipped["fsync journal"] = f"a power cut may bring it back: {error.strerror}"
    except BaseException:
        # Everything is in place: finish it, if that can be, before the exception goes on.
        try:
            recovery.finalize(root, operations)
            recovery.drop(root, operations)
        except OSError:
            pass  # the next transaction, or a recovery, will
        raise


def _needed(root: Root, error: BaseException, failure: OSError, state: str) -> RecoveryNeededError:
    message = (
        f"the transaction broke off ({failure.strerror}); {state}, each whole, and the journal stands: "
        "remove the cause and call durably.recover on the root"
    )
    number = failure.errno or getattr(error, "errno", None) or errno.EIO
    return RecoveryNeededError(number, message, root.path)


def receipt(named: str, root: Root, operations: list[Operation]) -> TransactionReceipt:
    """What the transaction did, once its operations are committed. ``named``: the root, as the caller has."""
    notes = root.notes
    written = tuple(name for each in operations if each.staged is not None for name in each.files)
    removed = tuple(name for each in operations if each.staged is None for name in each.files)
    notes.directory = root.directory
    level = notes.options.durability
    achieved = NONE if level is NONE else achieved_level(root.routine, notes)
    notes.directory = None
    return TransactionReceipt(
        named, written, removed, achieved, tuple(notes.steps), notes.skipped, notes.lost
    )
