"""The one interface by which a whole directory is saved, beside the `Routine` of its system.

A save goes through the verbs in this order::

    locate ─ create ─ (the caller writes) ─ take_over ─ flush ─ rename_into_place ─ fsync_directory ─ keep
    ─ remove_old
                                      or: discard
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingTree
    from durably._commit.strategy import Routine


class TreeRoutine(ABC):
    """How one operating system saves a directory."""

    routine: Routine
    """What saves single files on the same system."""

    @abstractmethod
    def locate(self, save: PendingTree) -> None:
        """Find the target and look at what is there. Refuses what cannot be exchanged with a directory."""

    @abstractmethod
    def create(self, save: PendingTree) -> str:
        """Make the private directory, and in it the one that the caller writes to. Returns its path."""

    @abstractmethod
    def take_over(self, save: PendingTree) -> int:
        """Take what others wrote: check it, measure it, give it the old directory's metadata."""

    @abstractmethod
    def flush(self, save: PendingTree) -> None:
        """Bring the whole tree to the device."""

    @abstractmethod
    def rename_into_place(self, save: PendingTree) -> None:
        """Let the target's name lead to the new tree, in one step. Sets ``published``."""

    def fsync_directory(self, save: PendingTree) -> None:
        """Bring the new name to the device, before anything of the old tree is removed."""
        self.routine.fsync_directory(save)

    @abstractmethod
    def keep(self, save: PendingTree) -> None:
        """Move the old tree to where it is to be kept. Nothing if that was done."""

    @abstractmethod
    def remove_old(self, save: PendingTree) -> None:
        """Remove the old tree, if it is still there, and the private directory."""

    @abstractmethod
    def discard(self, save: PendingTree) -> None:
        """Remove the new tree, whoever still writes to it."""

    @abstractmethod
    def leftovers(self, save: PendingTree) -> tuple[str, ...]:
        """What is still there of what `remove_old` or `discard` removes: where it lies, for a message."""

    @abstractmethod
    def doubtful(self, save: PendingTree) -> tuple[str, ...]:
        """The same where it is not known which tree the target leads to: any of them may be in use."""
