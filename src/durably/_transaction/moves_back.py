"""Putting back what a transaction has moved: because it came to nothing, or after a crash."""

from __future__ import annotations

import errno
import os
import stat

from durably._errors import RecoveryConflictError, RecoveryNeededError
from durably._system import temp_names
from durably._transaction.moves import asides, decode, flush
from durably._transaction.redo_undo import found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from durably._transaction.moves import Move
    from durably._transaction.root import Parts, Root


def put_back(root: Root, moves: list[Move], maker: temp_names.Maker | None = None) -> None:
    """Undo the moves, the last first. Doing it again, after a part or all of it was done, does the rest.

    ``maker``: a dead process, whose temporaries do not keep a directory that was made in the place of
    another from being removed.

    Raises RecoveryConflictError where something else has come to a place, or what belongs there is gone:
    what had been moved later was put back then, the rest lies where it was.
    """
    for each in reversed(moves):
        _put_back(root, each, maker)
    moved_on: set[Parts] = set()
    for each in moves:
        if each.old not in moved_on:
            there = _lookup(root, each.old)
            if there is None or there.st_ino != each.known.number:
                raise _conflict(root, each, "is gone")
        moved_on.add(each.new)
    flush(root, moves)


def _put_back(root: Root, move: Move, maker: temp_names.Maker | None) -> None:
    there = _lookup(root, move.new)
    if there is None or not move.known.was_of(there):
        return  # it was not moved, or is back: that is looked at last
    try:
        directory = root.walk(move.old[:-1])
    except (FileNotFoundError, NotADirectoryError):
        raise _conflict(root, move, "has no directory any more") from None
    try:
        at = found(root, directory, move.old[-1])
        is_linked = at is not None and at.st_ino == there.st_ino
        if not (at is None or is_linked or _clear(root, directory, move.old[-1], at, maker)):
            raise _conflict(root, move, "was made by somebody else")
        source = root.walk(move.new[:-1])
        try:
            if is_linked:
                root.entries.unlink(source, move.new[-1])  # it was linked to its new name, and no more
            else:
                root.entries.move(source, move.new[-1], directory, move.old[-1], replace=False)
        finally:
            root.leave(source)
    finally:
        root.leave(directory)


def _clear(
    root: Root, directory: Any, name: str, there: os.stat_result, maker: temp_names.Maker | None
) -> bool:
    """Remove a directory in which nothing is. False: it is something else."""
    if not stat.S_ISDIR(there.st_mode) or not _is_hollow(root, directory, name, maker):
        return False
    root.routine.remove_entry(directory, name)
    return True


def _is_hollow(root: Root, above: Any, name: str, maker: temp_names.Maker | None) -> bool:
    directory = root.entries.enter(above, name)
    try:
        for each in root.routine.calls.listdir(directory):
            made = temp_names.parse(each)
            if made is not None and maker is not None and str(made[1]) == str(maker):
                continue
            mode = root.routine.lookup(directory, each).st_mode
            if not stat.S_ISDIR(mode) or not _is_hollow(root, directory, each, maker):
                return False
    finally:
        root.leave(directory)
    return True


def _lookup(root: Root, parts: Parts) -> os.stat_result | None:
    try:
        directory = root.walk(parts[:-1])
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return found(root, directory, parts[-1])
    finally:
        root.leave(directory)


def _conflict(root: Root, move: Move, reason: str) -> RecoveryConflictError:
    message = (
        f"{root.full(move.old)}, which an unfinished transaction had moved, {reason}. What was moved is, or "
        f"was, {root.full(move.new)}: make room for it, or copy it elsewhere; then recover again. Or remove "
        f"the log of the moves, a file {temp_names.PREFIX}u-* in {root.path}, to leave everything as it is"
    )
    return RecoveryConflictError(errno.ESTALE, message, root.path, (os.path.join(*move.old),))


# After a crash.


def recover(root: Root) -> tuple[Parts, ...]:
    """Put back what dead transactions have moved below a locked root. Returns where it was.

    Raises what `put_back` raises, and RecoveryNeededError for a log that cannot be acted on.
    """
    done: list[Parts] = []
    for name in sorted(root.routine.calls.listdir(root.directory)):
        made = temp_names.parse(name)
        if made is not None and made[0] == "u":
            done += _recover_one(root, name, made[1])
    return tuple(dict.fromkeys(done))


def _recover_one(root: Root, name: str, maker: temp_names.Maker) -> list[Parts]:
    try:
        try_lock = root.routine.try_lock(root.directory, name)
    except FileNotFoundError:
        return []
    if try_lock is None:
        return []  # its transaction lives
    try_lock = root.entries.claimed(try_lock)
    try:
        moves = read(root, name)
        put_back(root, moves, None if _may_live(root, maker) else maker)
        remove(root, name)
    finally:
        if try_lock is not None:
            root.routine.unlock_claimed(try_lock)
    return [each.old for each in moves]


def stand(root: Root) -> bool:
    """Whether there is a log in a root."""
    return any(temp_names.is_of(each, "u") for each in root.routine.calls.listdir(root.directory))


def end(root: Root, name: str) -> list[tuple[Parts, str]]:
    """Remove the log of a transaction that is committed. Returns where what was taken away lies."""
    try:
        moves = read(root, name)
    except FileNotFoundError:
        return []
    remove(root, name)
    return asides(moves)


def remove(root: Root, name: str) -> None:
    """Remove a log while no other transaction can look for it, and bring that to the device."""
    try:
        root.entries.unlink(root.directory, name)
    except FileNotFoundError:
        pass  # an interrupt has come after it was removed
    if root.log == name:
        root.log = None
    root.flush()


def _may_live(root: Root, maker: temp_names.Maker) -> bool:
    """Whether the process still runs: the transaction has ended, and has left its log."""
    here = temp_names.this_process()
    return (maker.boot, maker.space) == (here.boot, here.space) and root.routine.is_running(maker)


def read(root: Root, name: str) -> list[Move]:
    """The moves of a log, none if it is over. Raises RecoveryNeededError if it cannot be acted on."""
    root.check_trusted(name)
    try:
        decoded = decode(root.content(name))
    except ValueError as error:
        raise _refused(root, name, str(error)) from error
    if decoded is None:
        return []
    number, moves = decoded
    if number != root.routine.lookup(root.directory, ".").st_ino:
        raise _refused(root, name, "it was made in another directory, and moved or copied")
    return moves


def _refused(root: Root, name: str, reason: str) -> RecoveryNeededError:
    message = (
        f"the log of an unfinished transaction cannot be acted on: {reason}; nothing was changed. It is "
        f"{root.full((name,))}: look at the files, then remove it and sweep"
    )
    return RecoveryNeededError(errno.EBADMSG, message, root.path)
