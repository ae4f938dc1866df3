"""Recovering a root after a crash."""

from __future__ import annotations

from durably import _commit
from durably._file.paths import local
from durably._receipts import Recovered
from durably._transaction import journal, recovery
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
    also after it was killed in the middle, does the rest; without a journal it does nothing.

    Returns a `Recovered`. Raises OSError if the root cannot be opened; `RecoveryNeededError`, before
    anything is changed, for a journal that is damaged (errno EBADMSG), of a newer version (ENOTSUP), or
    not to be trusted (EPERM: it belongs neither to the caller nor to the owner of the root, or others
    may write there), and also where the recovery itself was broken off: call it again;
    `RecoveryConflictError`, before anything is changed, where somebody has changed a file since the
    crash; and `UnsupportedError` where the root cannot be locked.
    """
    opened = Root(_commit.routine(), local(root), Options())
    try:
        return recover_standing(opened)
    finally:
        opened.close()


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
