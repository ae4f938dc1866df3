"""The error tree: told apart by what the target holds afterwards.

OSError
├── (any builtin error)        the target was not changed
├── UnsupportedError           the target was not changed, and nothing was written
├── NotDurableError            the target holds the new file; a power cut may take it back
├── OutcomeUnknownError        the target holds the whole old or the whole new file
└── TornError                  the target may hold a part; the staged copy holds everything
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._options import Receipt


class _SaveError(OSError):
    """What durably's own errors share: ``errno``, ``strerror`` and the ``path`` of the target."""

    @property
    def path(self) -> str:
        """The target as the caller named it; "" where no target is to blame."""
        return "" if self.filename is None else str(self.filename)


class UnsupportedError(_SaveError):
    """There is no atomic way to do what was asked here.

    Raised before any byte is written: create-only where no rename without replacement and no hard
    link exists, a target that is not a regular file, a URL, an unknown operating system. The target
    was not changed.
    """


class NotDurableError(_SaveError):
    """The new file is in place, but it could not be flushed to the end.

    Raised when the flush of the directory fails after the rename. Readers see the new file; a power
    cut may bring the old one back. ``receipt`` tells what was done.
    """

    def __init__(self, errno: int, message: str, path: str, receipt: Receipt | None = None) -> None:
        super().__init__(errno, message, path)
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

    def __init__(self, errno: int, message: str, path: str, staged: str | None = None) -> None:
        super().__init__(errno, message, path)
        self.staged = staged
