"""The one-phase commit, of a single change: a plain save, without a journal."""

from __future__ import annotations

from durably._errors import not_durable, took_place
from durably._transaction.commit import check_old, directories
from durably._transaction.operations import identity
from durably._transaction.redo_undo import found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from durably._transaction.operations import Operation
    from durably._transaction.root import Root


def commit_alone(
    root: Root, operation: Operation, flush: Callable[[], bool], verify: Callable[[], None]
) -> None:
    """As `commit_one`, but while no other transaction commits: the change rests on what was found."""
    try:
        root.exclude()
        commit_one(root, operation, flush, verify)
    finally:
        root.admit()


def commit_one(
    root: Root, operation: Operation, flush: Callable[[], bool], verify: Callable[[], None]
) -> None:
    """Publish one operation, without a journal or a lock. Raises what a plain save raises."""
    verify()
    if not flush():
        root.fsync_directories(where for where in directories([operation]) if where != operation.where)
    for directory, each in root.visit([operation]):
        check_old(root, directory, each)
        if each.staged is not None:
            each.new = identity(root.routine.lookup(directory, each.staged))
        try:
            _step_alone(root, directory, each)
        except OSError as error:
            if not _took_place(root, directory, each, error):
                root.set_error_path(error, each.path)
                raise
    root.notes.steps.append("rename" if operation.staged is not None else "unlink")
    try:
        root.fsync_directories([operation.where])
    except OSError as error:
        done = "the change is in place, but its directory"
        raise not_durable(
            root.full(operation.path), error, done=done, risk="a power cut may undo it"
        ) from error
    if root.flushes and "fsync directory" not in root.notes.skipped:
        root.notes.steps.append("fsync directory")


def _step_alone(root: Root, directory: Any, operation: Operation) -> None:
    if operation.staged is None:
        root.entries.unlink(directory, operation.name)
    else:
        replace = operation.old is not None
        root.entries.move(directory, operation.staged, directory, operation.name, replace=replace)


def _took_place(root: Root, directory: Any, operation: Operation, error: OSError) -> bool:
    def look() -> bool:
        there = found(root, directory, operation.name)
        if operation.new is None:
            return there is None
        return there is not None and there.st_ino == operation.new.number

    return took_place(error, root.full(operation.path), look)
