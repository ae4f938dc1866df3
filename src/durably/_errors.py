"""The error tree: told apart by what the target holds afterwards.

OSError
├── (any builtin error)        the target was not changed
├── UnsupportedError           the target was not changed: there is no atomic way here
├── NotDurableError            the target holds the new file; a power cut may take it back
├── OutcomeUnknownError        the target holds the whole old or the whole new file
├── TornError                  the target may hold a part; the staged copy holds everything
├── BatchError                 tells of each file which of the above holds
├── RecoveryNeededError        each file of a transaction is whole; a journal waits for `durably.recover`
└── RecoveryConflictError      as before the recovery: somebody has changed a file since
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from durably._receipts import BatchReceipt, Receipt


def set_error_path(error: OSError, path: str) -> None:
    """Have an error name the target, and nothing else."""
    error.filename = path
    del error.filename2  # where it is None, Python shows that: "No space left on device: 'target' -> None"


class _SaveError(OSError):
    """What durably's own errors share: ``errno``, ``strerror`` and the ``path`` of the target."""

    @property
    def path(self) -> str:
        """The target as the caller named it; "" where no target is to blame."""
        return "" if self.filename is None else str(self.filename)


class UnsupportedError(_SaveError):
    """There is no atomic way to do what was asked here.

    The target was not changed. Raised before any byte is written for a target that is not a regular
    file, a store without a routine, an unknown operating system; and at the latest where the new name
    is made, if only that can show it: create-only where there is neither a rename without replacement
    nor a hard link, an exchange of directories.
    """


class NotDurableError(_SaveError):
    """The new file is in place, but it could not be flushed to the end.

    Raised when the flush of the directory fails after the rename. Readers see the new file; a power
    cut may bring the old one back. ``receipt`` tells what was done.
    """

    def __init__(self, number: int, message: str, path: str, receipt: Receipt | None = None) -> None:
        super().__init__(number, message, path)
        self.receipt = receipt


class OutcomeUnknownError(_SaveError):
    """The answer to the rename was lost, and the target could not be checked.

    The target holds the whole old or the whole new file. Read it, or save again.
    """


class TornError(_SaveError):
    """A rewrite in place broke off (only under ``allow_in_place=True``).

    The target may hold a part of the new content. ``staged`` is the path of the complete, flushed
    copy: move it over the target once the cause is removed.
    """

    def __init__(self, number: int, message: str, path: str, staged: str | None = None) -> None:
        super().__init__(number, message, path)
        self.staged = staged


class RecoveryNeededError(_SaveError):
    """A transaction is unfinished: its journal stands in the root, ``path``.

    Each file is whole, old or new, and may be mixed with the others until `durably.recover` has
    finished or undone the transaction. Raised by a commit that could be neither finished nor undone,
    and where a journal cannot be acted on: it is damaged (errno EBADMSG), of a newer version of
    durably (ENOTSUP), or cannot be trusted (EPERM). Then nothing was changed.
    """


class RecoveryConflictError(_SaveError):
    """Somebody has changed a file between the crash and the recovery. Nothing was changed.

    ``path`` is the root, ``conflicts`` the files, as paths below it, that are neither as they were
    before the transaction nor as it would have left them. The message says what can be done.
    """

    def __init__(self, number: int, message: str, path: str, conflicts: tuple[str, ...] = ()) -> None:
        super().__init__(number, message, path)
        self.conflicts = conflicts


class BatchError(_SaveError):
    """Files of a `durably.Batch` could not be saved, or are not known to be durable.

    ``receipt`` tells what became of each: ``receipt.saved``, ``receipt.failed`` with an error for
    each path, and ``receipt.unsaved``, whose targets were not changed either. ``path`` and ``errno``
    are those of the first file that failed.
    """

    def __init__(self, number: int, message: str, path: str, receipt: BatchReceipt | None = None) -> None:
        super().__init__(number, message, path)
        self.receipt = receipt


# Messages that several rooms raise, each once.

_RISK = "a power cut may bring the old one back; save again once the cause is removed"


def not_durable(
    path: str,
    cause: OSError,
    receipt: Receipt | None = None,
    done: str = "the new file is in place, but its directory",
    risk: str = _RISK,
) -> NotDurableError:
    """The error of a flush that failed after the change: what is ``done``, and what a power cut may do."""
    message = f"{done} could not be flushed ({cause.strerror}): {risk}"
    error = NotDurableError(cause.errno or errno.EIO, message, path, receipt)
    error.__cause__ = cause
    return error


def took_place(error: OSError, path: str, look: Callable[[], bool]) -> bool:
    """Whether a rename that reported an error has happened all the same, as ``look`` finds out.

    Raises OutcomeUnknownError where that cannot be told. rename(2), BUGS: on NFS a repeated request may
    report a failure for a rename that happened; other network drives lose the answer.
    """
    try:
        return look()
    except OSError:
        message = f"the rename failed ({error.strerror}), and the target could not be checked"
        raise OutcomeUnknownError(error.errno or errno.EIO, message, path) from error


def note_leftovers(
    error: BaseException, paths: tuple[str, ...], reason: OSError | str = "could not be removed"
) -> None:
    """Name in an exception what is left over, and why; an error of a removal is told as one."""
    if isinstance(reason, OSError):
        reason = f"could not be removed: {reason.strerror}"
    error.leftovers = (*getattr(error, "leftovers", ()), *paths)  # type: ignore[attr-defined] # documented
    error.add_note(f"durably: left over: {', '.join(paths)}; {reason}")
