"""The one interface by which names in open directories are worked on, beside the `Routine` of its system."""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Where the number of a file may be another after the next mount: FAT and its kin have no inodes.
_UNNUMBERED = {"vfat", "msdos", "exfat", "fat", "fat32"}


class DirectoryOperations(ABC):
    """Names in open directories. A directory is whatever the routine's `open_directory` gives."""

    @abstractmethod
    def enter(self, directory: Any, name: str) -> Any:
        """Open a directory in another. Refuses a link, and what lies on another mount."""

    @abstractmethod
    def check_name(self, name: str, path: str) -> None:
        """Refuse a name that the system would take for something else."""

    @abstractmethod
    def open(self, directory: Any, name: str) -> int:
        """A descriptor of a file, to read it. Follows no link."""

    @abstractmethod
    def create(self, directory: Any, name: str) -> int:
        """A descriptor of a new file that only its maker may read."""

    @abstractmethod
    def make(self, directory: Any, name: str) -> None:
        """Make a directory, with the permissions that every new one gets there."""

    @abstractmethod
    def move(self, old: Any, name: str, new: Any, as_name: str, *, replace: bool) -> None:
        """Rename, perhaps to another directory. ``replace=False``: FileExistsError if the name is taken."""

    @abstractmethod
    def link(self, old: Any, name: str, new: Any, as_name: str) -> None:
        """Give a file a second name. Raises UnsupportedError where it can have none."""

    @abstractmethod
    def exchange(self, directory: Any, one: str, other: str) -> None:
        """Let two names in a directory change places. Raises UnsupportedError where that cannot be."""

    @abstractmethod
    def unlink(self, directory: Any, name: str) -> None:
        """Remove a file."""

    @abstractmethod
    def open_lock(self, directory: Any) -> Any:
        """What excludes others from a directory, once `take` has waited for it."""

    @abstractmethod
    def take(self, lock: Any) -> None:
        """Wait until no other has the lock. Raises UnsupportedError where there are no locks."""

    @abstractmethod
    def unlock(self, lock: Any) -> None:
        """Let go of a lock."""

    @abstractmethod
    def close_after_fork(self, handles: list[Any]) -> None:
        """Close the directories and locks of the parent in a forked child. A lock stays the parent's."""

    @abstractmethod
    def untrusted_reason(self, directory: Any, journal: str | None) -> str:
        """Why what lies in a directory, or the journal in it, must not be acted on; "" if it may."""

    @abstractmethod
    def has_stable_inodes(self, directory: Any) -> bool:
        """Whether a file keeps its number for as long as it exists."""


def is_numbered(kind: str) -> bool:
    """Whether a file keeps its number on a file system of this type."""
    return kind.lower() not in _UNNUMBERED
