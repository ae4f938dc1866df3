"""The first half of a group commit: each file is staged and closed, then all are flushed."""

from __future__ import annotations

import errno
from _thread import allocate_lock  # threading costs more, and has nothing that is needed here

from durably._batch import outcomes
from durably._batch.directories import DirectoryCache, TargetDirectory
from durably._batch.entry import SharedAttributes, StagedEntry
from durably._batch.flush_group import EARLY, OPEN_FILES
from durably._commit.pending import PendingFile
from durably._errors import set_error_path
from durably._file.protocol import abandon, discard
from durably._system import fork
from durably._types import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from durably._batch.flush_group import FlushGroup
    from durably._commit.strategy import Routine
    from durably._file.stream import Channel

    Opened = tuple[TargetDirectory, PendingFile, int]


class Staging:
    """The files, and the directories that they are staged in. `Group` is the whole."""

    def __init__(self, routine: Routine, *, continue_on_error: bool = False) -> None:
        self.routine = routine
        self.continue_on_error = continue_on_error
        """Whether the others are published where one file fails."""
        self.failed: dict[str, OSError] = {}
        """Why a file was not saved, or is not known to be durable, by path."""
        self.over: bool = False
        """Whether nothing more is taken."""
        self.writing: dict[int, tuple[Channel, TargetDirectory, PendingFile]] = {}
        """What is still written to."""
        self.staging: dict[int, PendingFile] = {}
        """What is on its way on some thread. Such a save uses directories that the group has open."""
        self.closed = False
        self.places: DirectoryCache = DirectoryCache(routine)
        self.made: list[list[tuple[TargetDirectory, str]]] = []
        self._open: list[Opened] = []
        self._held: int = 0
        """Their descriptors: one each, and where it does not stay open one of the directory."""
        self._attributes: dict[object, SharedAttributes] = {}
        self._last: SharedAttributes | None = None
        self._lock = allocate_lock()
        self._relief = allocate_lock()
        self.has_uncommitted: bool = False
        fork.register_group(self, self.close_after_fork)

    # Staging.

    def enter(self, save: PendingFile) -> TargetDirectory:
        """Locate a save, and reserve its target. Raises ValueError for one that is in the group already."""
        save.closes = True
        self.staging[id(save)] = save
        self.check_open(save)
        place = self.places.locate(save)
        files, name = place.files, save.name
        with self._lock:
            if save.made:
                self.made.append(self.places.above(save))
            if name in files:
                raise ValueError(f"{save.path!r} leads to a file that was added already")
            files[name] = None
        save.shared_locked = place.shared_lock is not None
        return place

    def add(self, place: TargetDirectory, save: PendingFile, size: int) -> None:
        """Take a save whose temporary is written. An error is this file's own, which is not taken then."""
        if save.options.permissions is not None:
            self.routine.seal(save)
        disk = place.disk
        lasting = save.options.durability is not NONE
        staged = None
        if disk.shared or not lasting:
            staged = self._closed(place, save, size, flushed=False)
        with self._lock:
            self.check_open(save)
            disk.files += 1
            disk.size += size
            place.files[save.name] = staged or save
            if staged is None:
                self._open.append((place, save, size))
                self._held += 1 if save.directory == save.borrowed else 2
            elif lasting:
                disk.waits = True
            if self.failed:
                self.failed.pop(save.path, None)  # tried again, with success
        if staged is not None and save.directory != save.borrowed:
            self.routine.release(save)
        self._leave(save)
        if self._held >= OPEN_FILES:
            self._relieve()

    def drop(self, place: TargetDirectory | None, save: PendingFile, error: BaseException) -> None:
        """Give up a save that ``error`` broke off before it was added. Nothing is raised."""
        self.has_uncommitted = True
        staged = place.files.pop(save.name, None) if place is not None else None
        if place is not None and isinstance(staged, StagedEntry):
            outcomes.remove(self.routine, place, save.name, staged, error)
            self.routine.release(save)
        else:
            abandon(self.routine, save, error)
        if isinstance(error, OSError):
            self.failed[save.path] = error
        self._leave(save)

    def throw_away(self, place: TargetDirectory, save: PendingFile, error: BaseException) -> None:
        """Give up a save that was not added, because its caller wants so. Nothing is raised."""
        self.has_uncommitted = True
        place.files.pop(save.name, None)
        discard(self.routine, save, error)
        self._leave(save)

    def _leave(self, save: PendingFile) -> None:
        self.staging.pop(id(save), None)
        if self.closed and not self.staging:
            self.places.unpin()  # the last one of those that came too late

    def check_open(self, save: PendingFile) -> None:
        """Raise ValueError where nothing more is taken."""
        if self.over:
            raise ValueError(f"{save.path!r} comes too late: what it was to be saved with is over")

    def _closed(self, place: TargetDirectory, save: PendingFile, size: int, *, flushed: bool) -> StagedEntry:
        """Close the temporary, and keep only what is needed to publish it."""
        if size >= EARLY and not flushed and save.options.durability is not NONE:
            self.routine.start_flush(save.fd)
        self.routine.close_staged(save)
        path = None if place.head + save.name == save.path else save.path
        return StagedEntry(path, save, size, self._attributes_of(save, flushed))

    def _attributes_of(self, save: PendingFile, flushed: bool) -> SharedAttributes:
        last = self._last
        if last is not None and last.fit(save, flushed):
            return last
        shared = SharedAttributes(save, flushed)
        self._last = self._attributes.setdefault(shared.key(), shared)
        return self._last

    # Flushing.

    def flush(self) -> None:
        """Flush all that was added, and take no more. Files that fail are removed."""
        self.over = True
        for _, place, save in list(self.writing.values()):
            error = OSError(errno.EBUSY, "was still open when the files beside it were to be saved")
            self._end_writing(place, save, error)
            error.filename = save.path
            self.failed[save.path] = error
        self._relieve()
        for disk in self.places.disks.values():
            if disk.waits:
                disk.waits = False
                try:
                    self.routine.flush_all(disk.witness)
                except OSError as error:
                    self._lose(disk, error)

    def _end_writing(self, place: TargetDirectory, save: PendingFile, error: BaseException) -> None:
        channel, _, _ = self.writing.pop(id(save))
        channel.detach()
        fork.forget(save)
        self.throw_away(place, save, error)

    def _relieve(self) -> None:
        """Close files: each after its own flush, or to be flushed with their whole file system."""
        with self._relief:  # whoever comes next finds nothing half done
            with self._lock:
                opened, self._open = self._open, []
                held, self._held = self._held, 0
            try:
                self._put_all_away(opened)
            except BaseException:
                self._open += opened  # an interrupt: what is still open waits for the next turn
                self._held += held
                raise

    def _put_all_away(self, opened: list[Opened]) -> None:
        opened = [entry for entry in opened if entry[0].files.get(entry[1].name) is entry[1]]
        for disk in {place.disk for place, _, _ in opened}:
            disk.shares(self.routine)
        for place, save, _ in opened:
            if not place.disk.shared:
                with _own_error(self, place, save):
                    self.routine.start_flush(save.fd)
        for place, save, size in opened:
            if place.files.get(save.name) is save:
                with _own_error(self, place, save):
                    self._put_away(place, save, size)

    def _put_away(self, place: TargetDirectory, save: PendingFile, size: int) -> None:
        shared = place.disk.shared
        if shared:
            place.disk.waits = True
        else:
            self.routine.flush(save)
        place.files[save.name] = self._closed(place, save, size, flushed=not shared)
        self.routine.release(save)

    def _lose(self, disk: FlushGroup, cause: OSError) -> None:
        """Nothing of a file system is published whose flush has failed: which file was lost is not told."""
        message = f"the flush of its whole file system failed ({cause.strerror})"
        for place in self.places.all.values():
            for name in list(place.files) if place.disk is disk else ():
                staged = place.files[name]
                if isinstance(staged, StagedEntry):
                    error = OSError(cause.errno, message)
                    error.__cause__ = cause
                    self.fail(place, name, staged, error)

    def fail(
        self,
        place: TargetDirectory,
        name: str,
        staged: StagedEntry,
        error: OSError,
        save: PendingFile | None = None,
    ) -> None:
        """Note why a file is not saved, and remove its temporary."""
        path = place.full_path(name, staged)
        self.failed[path] = error
        self.has_uncommitted = True
        del place.files[name]
        outcomes.remove(self.routine, place, name, staged, error, save)
        set_error_path(error, path)

    def close_after_fork(self) -> None:
        """In a forked child: close everything, and touch nothing."""
        for place in self.places.all.values():
            for staged in place.files.values():
                if isinstance(staged, PendingFile):
                    self.routine.release(staged)
        self.places.unpin()


class _own_error:  # noqa: N801 # a statement's
    """A block whose OSError is that of one file, which is given up; the others go on."""

    __slots__ = ("group", "place", "save")

    def __init__(self, group: Staging, place: TargetDirectory, save: PendingFile) -> None:
        self.group, self.place, self.save = group, place, save

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, OSError):
            self.group.drop(self.place, self.save, error)
        return isinstance(error, OSError)
