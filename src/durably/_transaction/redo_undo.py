"""Redo and undo of one operation: how far it has come, told by what lies on the disk, and the next step."""

from __future__ import annotations

import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any, Final, Literal

    from durably._transaction.operations import Identity, Operation
    from durably._transaction.root import Root

    State = Literal["done", "todo", "lost", "conflict"]
    """Done or to be done; the file that it needs is gone; or the name holds something else."""

DONE: Final = "done"
TODO: Final = "todo"
LOST: Final = "lost"
CONFLICT: Final = "conflict"


def found(root: Root, directory: Any, name: str | None) -> os.stat_result | None:
    """The status of a name; None if there is none."""
    if name is None:
        return None
    try:
        return root.routine.lookup(directory, name)
    except FileNotFoundError:
        return None


def _is(known: Identity | None, there: os.stat_result | None) -> bool:
    """Whether that is the file, or both are nothing."""
    if known is None or there is None:
        return known is None and there is None
    return known.was_of(there)


def _is_new(operation: Operation, there: os.stat_result | None) -> bool:
    new = operation.new
    if new is None or there is None:
        return new is None and there is None
    if operation.inside is not None:
        return stat.S_ISDIR(there.st_mode) and there.st_ino == new.number
    return new.was_of(there) and there.st_size == new.size


# Forward.


def redo_state(root: Root, directory: Any, operation: Operation) -> State:
    """Whether the operation is to be done."""
    there = found(root, directory, operation.name)
    if _is_new(operation, there):
        return DONE
    if not _is(operation.old, there):
        return CONFLICT
    if operation.staged is None:
        return TODO
    staged = found(root, directory, operation.staged)
    return TODO if staged is not None and _is_new(operation, staged) else LOST


def redo(root: Root, directory: Any, operation: Operation) -> None:
    """Do the operation."""
    try:
        _step_forward(root, directory, operation)
    except OSError as error:
        root.set_error_path(error, operation.path)
        raise


def _step_forward(root: Root, directory: Any, operation: Operation) -> None:
    entries, name, staged, backup = root.entries, operation.name, operation.staged, operation.backup
    if staged is None:
        assert backup is not None
        entries.move(directory, name, directory, backup, replace=True)
    elif operation.old is None:
        entries.move(directory, staged, directory, name, replace=False)
    elif backup == staged:
        entries.exchange(directory, staged, name)
    else:
        entries.move(directory, staged, directory, name, replace=True)


# Back.


def undo_state(root: Root, directory: Any, operation: Operation) -> State:
    """Whether the operation is to be undone."""
    there = found(root, directory, operation.name)
    if _is(operation.old, there):
        return DONE
    if not _is_new(operation, there):
        return CONFLICT
    if operation.old is not None:
        backup = found(root, directory, operation.backup)
        return TODO if backup is not None and operation.old.was_of(backup) else LOST
    if operation.inside is not None and not _is_untouched(root, directory, operation):
        return CONFLICT
    return TODO


def _is_untouched(root: Root, directory: Any, operation: Operation) -> bool:
    """Whether a tree that was put in place holds what it held, and nothing else."""
    assert operation.inside is not None
    tree = root.entries.enter(directory, operation.name)
    try:
        seen = _listing(root, tree, "")
    finally:
        root.leave(tree)
    return seen.keys() == operation.inside.keys() and all(
        known is None or known.was_of(seen[path]) for path, known in operation.inside.items()
    )


def _listing(root: Root, directory: Any, above: str) -> dict[str, os.stat_result]:
    seen: dict[str, os.stat_result] = {}
    for name in root.routine.calls.listdir(directory):
        there = seen[above + name] = root.routine.lookup(directory, name)
        if stat.S_ISDIR(there.st_mode):
            inner = root.entries.enter(directory, name)
            try:
                seen |= _listing(root, inner, f"{above}{name}/")
            finally:
                root.leave(inner)
    return seen


def undo(root: Root, directory: Any, operation: Operation) -> None:
    """Undo the operation."""
    entries, name, staged, backup = root.entries, operation.name, operation.staged, operation.backup
    if staged is None:
        assert backup is not None
        entries.move(directory, backup, directory, name, replace=False)
    elif operation.inside is not None:
        entries.move(directory, name, directory, staged, replace=True)
    elif operation.old is None:
        entries.unlink(directory, name)
    elif backup == staged:
        entries.exchange(directory, staged, name)
    else:
        assert backup is not None
        entries.move(directory, backup, directory, name, replace=True)
