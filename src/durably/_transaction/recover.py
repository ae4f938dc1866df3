"""Recovering a root after a crash."""

from __future__ import annotations

import errno

from durably import _commit
from durably._errors import RecoveryConflictError, RecoveryNeededError
from durably._file.paths import local
from durably._receipts import Recovered
from durably._transaction import journal, moves_back, recovery
from durably._transaction.root import Root
from durably._types import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._file.paths import StrPath


def recover(root: StrPath) -> Recovered:
    """Finish or undo a transaction that a crash, a kill or an error has interrupted.

    ``root``: the root that was given to `durably.Transaction`: str, bytes or PathLike.

    A transaction whose journal stands is finished: all its files become new. If it was being undone,
    it is undone: all become old. It waits while a living transaction commits there. Calling it again,
    also after it was killed in the middle, does the rest; without a journal it does nothing. What a
    transaction of `durably.filesystem` had removed or moved in its block, from this root on, is put
    back if the transaction was not committed; a `RecoveryConflictError` is then raised when the moves
    after the one in conflict were put back.

    Returns a `Recovered`. Raises OSError if the root cannot be opened; `RecoveryNeededError`, before
    anything is changed, for a journal that is damaged (errno EBADMSG), of a newer version (ENOTSUP), or
    not to be trusted (EPERM: it belongs neither to the caller nor to the owner of the root, or others
    may write there), and also where the recovery itself was broken off: call it again;
    `RecoveryConflictError`, before anything is changed, where somebody has changed a file since the
    crash; and `UnsupportedError` where the root cannot be locked.
    """
    opened = Root(_commit.routine(), local(root), Options())
    try:
        found = recover_standing(opened)
        return recover_moved(opened, found)
    finally:
        opened.close()


def recover_moved(root: Root, found: Recovered) -> Recovered:
    """Put back what transactions of a file system had moved when they were interrupted."""
    if not moves_back.stand(root):
        return found
    try:
        root.exclude()
        recovery.recover(root)  # of one that has crashed just now: what it has committed stays
        moved = tuple("/".join(each) for each in moves_back.recover(root))
    except (RecoveryConflictError, RecoveryNeededError):
        raise
    except OSError as error:
        message = f"the recovery was broken off ({error.strerror}); remove the cause and recover again"
        raise RecoveryNeededError(error.errno or errno.EIO, message, root.path) from error
    finally:
        root.admit()
    return Recovered(root.path, "undone", (*found.files, *moved)) if moved else found


def recover_standing(root: Root) -> Recovered:
    """The same for an open root, which is not locked."""
    if not journal.stands(root):
        return Recovered(root.path, "nothing", ())
    try:
        root.exclude()
        outcome, operations = recovery.recover(root)
    finally:
        root.admit()
    return Recovered(root.path, outcome, tuple(name for each in operations for name in each.files))
