"""The strategy layer's interfaces: the verbs by which files are saved, the same on every system.

A `Routine` is one system's, whole. What needs a part of it names that part. A save of one file goes through
the verbs in this order::

    locate ─ create or create_unnamed ─ (the caller writes) ─ link ─ flush ─
    rename_into_place ─ fsync_directory ─ release            or: remove ─ release

A verb that has nothing to do on a system still exists there, and says in ``save.skipped`` what it
left out. Every routine imports and runs on every system: only the native calls are bound to one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from durably._commit.pending import CLOSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any

    from durably._commit.directory_operations import DirectoryOperations
    from durably._commit.pending import PendingFile
    from durably._commit.tree_strategy import TreeRoutine
    from durably._system.promises import FileSystem
    from durably._system.syscalls import Syscalls
    from durably._system.temp_names import Maker


class System(ABC):
    """What every interface stands on."""

    name: str
    """As receipts and probes show it."""

    def __init__(self, calls: Syscalls) -> None:
        self.calls = calls


class Directories(System):
    """Looking at directories, and at what lies in them."""

    @abstractmethod
    def location(self, save: PendingFile, name: str) -> str:
        """Where ``name`` lies, for a message: an absolute path where the system can tell."""

    @abstractmethod
    def file_system(self, directory: Any) -> FileSystem:
        """The file system that an open directory lies on. Raises OSError if it cannot tell."""

    def supports(self, directory: Any) -> frozenset[str]:
        """What works in an open directory, as `Guarantees.supports` names it, found out by doing it."""
        return frozenset()

    @abstractmethod
    def open_directory(self, path: str) -> Any:
        """Open a directory by itself, to look at what is in it."""

    def visit_directory(self, path: str) -> tuple[Any, str]:
        """Open a directory as a save in it does. Also why it cannot be flushed, or ""."""
        return self.open_directory(path), ""

    @abstractmethod
    def close_directory(self, directory: Any) -> None:
        """Close what `open_directory` gave."""

    @abstractmethod
    def lookup(self, directory: Any, name: str) -> os.stat_result:
        """The status of a name in an open directory, links not followed."""

    @abstractmethod
    def remove_entry(self, directory: Any, name: str) -> None:
        """Remove a file, or a directory with all that is in it; never crosses a mount."""


class OneFile(Directories):
    """One file, in the order above."""

    @abstractmethod
    def locate(self, save: PendingFile) -> None:
        """Open the target's directory, follow or refuse links, and look at the old file.

        Sets ``directory``, ``name``, ``old`` and ``made``. Refuses what cannot be saved to: a
        directory, FIFO, socket or device; an existing target under ``overwrite=False``; a link
        under ``symlinks="refuse"`` or one that protected_symlinks would refuse.
        """

    @abstractmethod
    def examine(self, save: PendingFile) -> None:
        """The second half of `locate`, for a ``directory`` and a ``name`` that are set already."""

    @abstractmethod
    def create(self, save: PendingFile) -> None:
        """Make the temporary under a fresh name, with its final metadata. Sets ``fd``, ``temporary``."""

    @abstractmethod
    def create_unnamed(self, save: PendingFile) -> None:
        """The same without a name where the file system can, so that a kill leaves nothing."""

    @abstractmethod
    def create_private(self, save: PendingFile) -> str:
        """Make a private directory beside the target, for others to write to. Returns the file's path.

        The file has the target's own name. Sets ``private``, ``staging`` and ``plain_mode``.
        """

    @abstractmethod
    def take_over(self, save: PendingFile) -> int:
        """Open what others wrote there, give it the metadata that `create` would, return its size.

        Refuses a directory that is empty or has other files in it. Sets ``fd`` and ``temporary``.
        """

    @abstractmethod
    def copy_old(self, save: PendingFile) -> None:
        """Fill the temporary with the old content, sharing its extents where the system can."""

    def share_extents(self, target: int, source: int) -> bool:
        """Have an open, empty file share the content of another. False: it must be copied."""
        return False

    def copy_attributes(self, source: int, target: int) -> None:  # POSIX has none
        """Give an open file the extended attributes of another, as far as it takes them."""

    @abstractmethod
    def append_only(self, save: PendingFile) -> None:
        """Have every write to the temporary go to its end, as in mode a."""

    @abstractmethod
    def start_flush(self, fd: int) -> None:
        """Start to write out what was written so far, without waiting."""

    @abstractmethod
    def link(self, save: PendingFile) -> None:
        """Give an unnamed temporary a temporary name, before it is flushed."""

    def seal(self, save: PendingFile) -> None:  # nothing to do on Windows
        """Give the temporary the permission bits that writing has taken from it."""

    def flush(self, save: PendingFile) -> None:
        """Bring the temporary's content and metadata to the device. An error is final."""
        self.calls.fsync(save.fd)
        save.steps.append("fsync")

    def flush_unwitnessed(self, save: PendingFile) -> None:
        """`flush` for a file that others wrote and closed."""
        # The descriptor was opened after the writing: fsync(2) may miss an error from before.
        save.skipped["witness"] = "others wrote the file and closed it; an earlier write error may be missed"
        self.flush(save)

    @abstractmethod
    def rename_into_place(self, save: PendingFile) -> None:
        """Rename the temporary over the target, or to it where it must not exist. Sets ``published``."""

    @abstractmethod
    def fsync_directory(self, save: PendingFile) -> None:
        """Bring the new name to the device. Only errors that mean "failed" are raised."""

    @abstractmethod
    def is_published(self, save: PendingFile) -> bool:
        """Whether the target is the temporary's file, by identity. Raises OSError if it cannot tell."""

    @abstractmethod
    def remove(self, save: PendingFile) -> None:
        """Close and remove the temporary, and the directories made on the way."""

    @abstractmethod
    def release(self, save: PendingFile) -> None:
        """Close what is still open. Nothing is raised: the outcome is known by now."""


class ManyFiles(Directories):
    """Many files together: each is staged and closed, and renamed when all are flushed."""

    @abstractmethod
    def identify(self, directory: Any) -> object:
        """By what an open directory is known again, whichever path leads to it."""

    def borrow(self, save: PendingFile, directory: Any, identity: Any) -> bool:
        """Have a save use an open directory that its path led to before. False: it leads elsewhere now.

        In place of the first half of `locate`; `examine` is the other.
        """
        return False

    @abstractmethod
    def keep_directory(self, directory: Any) -> Any:
        """The open directory once more, for longer than the save that opened it."""

    @abstractmethod
    def lock_shared(self, directory: Any) -> Any:
        """Lock an open directory, so that no sweep takes closed temporaries in it for dead ones.

        Returns what `unlock_shared` takes, or None where it cannot be locked.
        """

    @abstractmethod
    def unlock_shared(self, lock: Any) -> None:
        """Let go of the lock."""

    def common_flush(self, directory: Any) -> str:
        """The file system of an open directory, where one flush of it proves all its files; or ""."""
        return ""

    def is_quiet(self, files: int, size: int) -> bool:
        """Whether such a flush of so many files, and bytes, would have little else to write."""
        raise NotImplementedError  # no `common_flush` here

    def flush_all(self, directory: Any) -> None:
        """Flush the file system of a directory that was opened before the first write. An error is final."""
        raise NotImplementedError  # no `common_flush` here

    def close_staged(self, save: PendingFile) -> None:
        """Close the temporary until it is published. Sets ``identity``; an error is final."""
        if save.identity is None:
            new = self.calls.fstat(save.fd)
            save.identity = (new.st_dev, new.st_ino)
        fd, save.fd = save.fd, CLOSED
        self.calls.close(fd)

    def reopen_staged(self, save: PendingFile) -> None:  # POSIX renames by name
        """Open the temporary again, where it cannot be published otherwise. Sets ``fd``."""


class InPlace(Directories):
    """Rewriting the old file itself, where no rename is possible; see `durably._file.in_place`."""

    @abstractmethod
    def create_in_fallback_dir(self, save: PendingFile) -> None:
        """Make the temporary in a lasting system directory, for a rewrite in place of the target."""

    @abstractmethod
    def open_staged(self, save: PendingFile) -> int:
        """Open the temporary for reading, for a rewrite in place or after others wrote it."""

    @abstractmethod
    def open_target(self, save: PendingFile) -> int:
        """Open the old file itself for writing, for a rewrite in place."""

    def set_mode(self, fd: int, mode: int) -> None:  # nothing to do on Windows
        """Give an open file, the old one itself, this mode in place of its own and of its ACL."""


class Sweeping(Directories):
    """Telling a dead temporary from one that is in use."""

    @abstractmethod
    def try_lock_directory(self, directory: Any) -> Any:
        """Lock an open directory against `lock_shared`; None if somebody has a shared lock on it."""

    @abstractmethod
    def retention_reason(self, directory: Any, name: str) -> str:
        """Why a tree that a dead process has left is in use all the same; "" if it is not."""

    @abstractmethod
    def is_running(self, maker: Maker) -> bool:
        """Whether that process of this kernel and process space still runs."""

    @abstractmethod
    def try_lock(self, directory: Any, name: str) -> Any:
        """Lock a temporary that is to be swept; None if its maker holds it. OSError: cannot tell."""

    def remove_locked(self, directory: Any, name: str, lock: Any) -> None:
        """Remove what `try_lock` has locked, before its maker can lock it after all; and let go of it."""
        try:
            self.remove_entry(directory, name)
        finally:
            self.unlock_claimed(lock)

    @abstractmethod
    def unlock_claimed(self, lock: Any) -> None:
        """Let go of what `try_lock` gave."""


class Routine(OneFile, ManyFiles, InPlace, Sweeping):
    """How one operating system commits: its whole bundle, chosen once."""

    @abstractmethod
    def trees(self) -> TreeRoutine:
        """How this system saves whole directories."""

    @abstractmethod
    def directory_operations(self) -> DirectoryOperations:
        """How this system works on names in open directories, for transactions."""
