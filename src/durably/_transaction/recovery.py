"""Redoing or undoing a transaction, by its journal and what lies on the disk. Idempotent."""

from __future__ import annotations

import errno
import os

from durably._errors import RecoveryConflictError, RecoveryNeededError
from durably._system import temp_names
from durably._transaction import journal
from durably._transaction.journal import FORWARD
from durably._transaction.redo_undo import (
    CONFLICT,
    DONE,
    LOST,
    TODO,
    found,
    redo,
    redo_state,
    undo,
    undo_state,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from durably._transaction.operations import Operation
    from durably._transaction.redo_undo import State
    from durably._transaction.root import Root

    Outcome = Literal["nothing", "finished", "undone"]


def recover(root: Root) -> tuple[Outcome, list[Operation]]:
    """Do what the journal in a locked root says, and remove it.

    Raises RecoveryConflictError where a file is neither old nor new, before anything is changed, and
    RecoveryNeededError where the journal cannot be acted on, or where the recovery is to be repeated.
    """
    standing = journal.read(root)
    if standing is None:
        return "nothing", []
    direction, operations = standing
    try:
        if direction == FORWARD and finish(root, operations):
            return "finished", operations
        if direction != FORWARD:
            roll_back(root, operations)
    except (RecoveryConflictError, RecoveryNeededError):
        raise
    except OSError as error:
        message = f"the recovery was broken off ({error.strerror}); remove the cause and recover again"
        raise RecoveryNeededError(error.errno or errno.EIO, message, root.path) from error
    return "undone", operations


def finish(root: Root, operations: list[Operation]) -> bool:
    """Do what is left to be done. False: nothing had been done, and cannot be; it is given up."""
    states = _states(root, operations, redo_state)
    conflicts = _those(states, CONFLICT)
    lost = _those(states, LOST)
    given_up = bool(lost) and not conflicts and not _those(states, DONE)
    # The journal came to the disk before what it names did: the transaction was never committed.
    if not given_up:
        if conflicts or lost:
            raise _conflict(root, conflicts or lost)
        _act(root, _those(states, TODO), redo)
    finalize(root, operations)
    drop(root, operations)
    return not given_up


def roll_back(root: Root, operations: list[Operation]) -> tuple[str, ...]:
    """Undo what has been done. Returns the paths of temporaries that stay."""
    states = _states(root, operations, undo_state)
    conflicts = _those(states, CONFLICT) or _those(states, LOST)
    if conflicts:
        raise _conflict(root, conflicts)
    _act(root, _those(states, TODO), undo)  # in any order: each is about a name of its own
    finalize(root, operations)
    return drop(root, operations)


def _states(
    root: Root, operations: list[Operation], state: Callable[[Root, Any, Operation], State]
) -> list[tuple[Operation, State]]:
    return [(each, state(root, directory, each)) for directory, each in root.visit(operations)]


def _those(states: list[tuple[Operation, State]], wanted: State) -> list[Operation]:
    return [operation for operation, state in states if state == wanted]


def _act(root: Root, operations: list[Operation], step: Callable[[Root, Any, Operation], None]) -> None:
    for directory, each in root.visit(operations):
        step(root, directory, each)


def finalize(root: Root, operations: list[Operation]) -> None:
    """Bring all names to the device; only then remove the journal, and that too."""
    root.fsync_directories(dict.fromkeys(each.where for each in operations))
    journal.remove_journal(root)
    root.flush()


def drop(root: Root, operations: list[Operation]) -> tuple[str, ...]:
    """Remove what was staged or backed up and is not needed any more. Returns the paths of what stays."""
    return root.discard(
        (each.where, name) for each in operations for name in dict.fromkeys((each.staged, each.backup))
    )


def _conflict(root: Root, operations: list[Operation]) -> RecoveryConflictError:
    first = operations[0]
    names = [os.path.join(*each.path) for each in operations]
    choices = [
        root.full((*first.where, name))
        for directory, each in root.visit([first])
        for name in dict.fromkeys((each.backup, each.staged))
        if found(root, directory, name) is not None and name is not None
    ]
    message = (
        f"somebody has changed {', '.join(names)} since a transaction was interrupted; nothing was "
        f"recovered. Keep a copy of what is there if it matters, and move the old or the new file over it "
        f"(of {first.name}: {' or '.join(choices) or 'there is neither'}); then recover again. Or remove "
        f"{root.full((temp_names.JOURNAL,))} to leave everything as it is, and sweep"
    )
    return RecoveryConflictError(errno.ESTALE, message, root.path, tuple(names))
