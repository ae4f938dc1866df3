"""The directories that many files are staged in."""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock  # threading costs more, and has nothing that is needed here

from durably._batch.entry import StagedEntry
from durably._batch.flush_group import FlushGroup
from durably._commit.pending import PendingFile
from durably._types import CONSISTENT, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from durably._commit.strategy import Routine
    from durably._system.promises import FileSystem

DEFAULTS = Options()
_PINNED = 32
"""Directories that stay open, and are locked, to the end; the others are opened again to publish."""


class TargetDirectory:
    """A directory that files are staged in."""

    __slots__ = (
        "directory",
        "disk",
        "done",
        "failure",
        "file_system",
        "files",
        "head",
        "identity",
        "path",
        "pinned",
        "needs_fsync",
        "shared_lock",
        "skipped",
        "state",
        "unreadable",
    )

    def __init__(self, identity: object, path: str, head: str, disk: FlushGroup) -> None:
        self.identity: object = identity
        self.path: str = path
        """Where it lay when it was opened, for messages and to open it again."""
        self.head: str = head
        """What comes before the name in the paths of the caller."""
        self.disk: FlushGroup = disk
        self.directory: Any = None
        self.shared_lock: Any = None
        self.pinned: bool = False
        self.files: dict[str, StagedEntry | PendingFile | None] = {}
        """By name: closed, still open, or only reserved."""
        self.done: int = 0
        """How many of them are published."""
        self.needs_fsync: bool = False
        """Whether a directory was made in it, whose name is to be durable."""
        self.state: PendingFile | None = None
        """The steps, limits and omissions of its own flush."""
        self.unreadable: str = ""
        """Why it cannot be flushed at all: it may be written but not read."""
        self.skipped: dict[str, str] = {}
        """What else the receipts of its files tell."""
        self.failure: OSError | None = None
        """Why it could not be flushed."""
        self.file_system: FileSystem | None = None

    def full_path(self, name: str, staged: StagedEntry) -> str:
        """The target as the caller named it."""
        return self.head + name if staged.path is None else staged.path

    def published(self) -> Iterator[tuple[str, StagedEntry]]:
        """The files in it that got their names."""
        for name, staged in self.files.items():
            if isinstance(staged, StagedEntry) and staged.temp_suffix is None:
                yield name, staged

    def holds_staged(self) -> bool:
        """Whether there is a file in it that is not published."""
        return self.done < len(self.files)

    def revive(self, name: str, staged: StagedEntry, former: PendingFile | None = None) -> PendingFile:
        """The save that a staged file was, to be published or removed.

        ``former``: one of the same place that is done with; it is used again where it fits, which is
        quicker.
        """
        shared = staged.shared
        save = former
        if save is None or not save.published or save.skipped or save.options is not shared.options:
            save = PendingFile("", shared.options)
            save.directory = save.staging = self.directory
            save.where = self.path
            save.closes = True
        save.published = False
        save.steps.clear()
        save.path = self.head + name if staged.path is None else staged.path
        save.name = name
        save.temporary = shared.temp_prefix + staged.temp_suffix  # type: ignore[operator] # it is not published
        save.identity = (shared.device, staged.inode)
        return save

    def fsync_directory(self, routine: Routine) -> None:
        """Bring the names in it to the device."""
        self.state = save = PendingFile(self.path, DEFAULTS)
        save.directory = self.directory
        if self.unreadable:
            save.skip_flush("fsync directory", self.unreadable, CONSISTENT)
        routine.fsync_directory(save)

    def open(self, routine: Routine) -> None:
        """Open it again. Raises OSError where another directory has its path by now."""
        if self.directory is None:
            directory = routine.open_directory(self.path)
            try:
                self._check(routine.identify(directory))
            except BaseException:
                routine.close_directory(directory)
                raise
            self.directory = directory

    def _check(self, identity: object) -> None:
        if identity != self.identity:
            raise OSError(errno.ESTALE, "the directory was moved or replaced meanwhile", self.path)

    def close(self, routine: Routine) -> None:
        """Close it, unless it is to stay open. Nothing is raised: it was only read."""
        if not self.pinned:
            directory, self.directory = self.directory, None
            if directory is not None:
                self.quietly(routine.close_directory, directory)

    def unpin(self, routine: Routine) -> None:
        """Close it at the end, and let sweeps in."""
        self.pinned = False
        lock, self.shared_lock = self.shared_lock, None
        if lock is not None:
            self.quietly(routine.unlock_shared, lock)
        self.close(routine)

    def quietly(self, close: Callable[[Any], None], what: Any) -> None:
        """Close what was only read: an error is told by the receipts."""
        try:
            close(what)
        except OSError as error:
            self.skipped["close"] = str(error.strerror)


class DirectoryCache:
    """All directories of a group, found by what they are and not by their paths."""

    def __init__(self, routine: Routine) -> None:
        self.routine = routine
        self.all: dict[object, TargetDirectory] = {}
        self.disks: dict[str, FlushGroup] = {}
        self._pinned = 0
        self._by_head: dict[str, TargetDirectory] = {}
        """Those that stay open, by what came before the name in the path of a caller."""
        self._lock = allocate_lock()

    def locate(self, save: PendingFile) -> TargetDirectory:
        """Locate a save, if it can be through a directory that is open already. Returns its place."""
        head = save.path.rpartition("/")[0]
        place = self._by_head.get(head)
        routine = self.routine
        if place is None or not routine.borrow(save, place.directory, place.identity):
            routine.locate(save)
        else:
            routine.examine(save)
            if save.directory == save.borrowed:
                return place  # no link led on
        with self._lock:
            place = self.of(save)
            if head and place.pinned:
                self._by_head[head] = place
            return place

    def of(self, save: PendingFile) -> TargetDirectory:
        """The place of a located save."""
        identity = self.routine.identify(save.directory)
        place = self.all.get(identity)
        if place is None:
            path = self.routine.location(save, "")
            place = self._add(identity, save.directory, path, save, _head(save))
        return place

    def above(self, save: PendingFile) -> list[tuple[TargetDirectory, str]]:
        """The directories that the save has made, the lowest first, each with the place it was made in.

        From now on they are the group's; an exception leaves all of them with the save.
        """
        path = self.routine.location(save, "")
        made: list[tuple[TargetDirectory, str]] = []
        for parent, name in reversed(save.made):
            path = os.path.dirname(path.rstrip(os.sep)) or path
            identity = self.routine.identify(parent)
            place = self.all.get(identity) or self._add(identity, parent, path, save, os.path.join(path, ""))
            made.append((place, name))
        opened, save.made = save.made, ()
        for (parent, _), (place, _) in zip(reversed(opened), made, strict=True):
            place.needs_fsync = True
            place.quietly(self.routine.close_directory, parent)
        return [entry for entry in made if entry[1]]  # without a name: somebody else's by now

    def _add(
        self, identity: object, directory: Any, path: str, save: PendingFile, head: str
    ) -> TargetDirectory:
        routine = self.routine
        unreadable = save.skipped.get("fsync directory", "") if directory == save.directory else ""
        device = "" if unreadable else routine.common_flush(directory)
        disk = self.disks.get(device)
        place = TargetDirectory(identity, path, head, disk or FlushGroup(None))
        place.unreadable = unreadable
        # Where it may not be read it could not be opened again.
        if self._pinned < _PINNED or (device and disk is None) or unreadable:
            place.directory = routine.keep_directory(directory)
            place.pinned = True
            self._pinned += 1
            self.all[identity] = place
            place.shared_lock = routine.lock_shared(directory)
        self.all[identity] = place
        if disk is None:
            self.disks[device] = place.disk
            place.disk.witness = place.directory if device else None
        return place

    def chunks(self) -> list[list[TargetDirectory]]:
        """All of them, a few at a time, as not all can be open."""
        every = list(self.all.values())
        return [every[at : at + _PINNED] for at in range(0, len(every), _PINNED)]

    def unpin(self) -> None:
        """Close all of them."""
        for place in self.all.values():
            place.unpin(self.routine)


def _head(save: PendingFile) -> str:
    return save.path[: len(save.path) - len(save.name)] if save.path.endswith(save.name) else ""
