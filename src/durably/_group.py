"""Many files together: each is staged and closed, all are flushed, then each is renamed.

The course of a group::

    enter ─ (create, write) ─ add     for each file, on any thread; or: drop
    flush ─ publish                   once; why a file failed is in ``failed``
    close                             removes what was not published

Whether the rest goes on without a file that failed is the caller's affair.
"""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock  # threading costs more, and has nothing that is needed here

from durably import _forks, _outcomes
from durably._options import DURABLE, NONE
from durably._places import DEFAULTS, Place, Places, Staged, Traits, revive
from durably._save import Save
from durably._saving import abandon, discard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durably._commit._routine import Routine
    from durably._options import Receipt
    from durably._places import Disk
    from durably._stream import Channel

    Opened = tuple[Place, Save, int]

_OPEN_FILES = 64
"""Files that stay open until they are flushed, each by its own descriptor."""
_WORTHWHILE = 16
"""Files from which on one flush of a file system is faster than one of each."""
_EARLY = 256 << 10
"""Bytes from which on a file is written out while others are staged."""


class Group:
    """The files, and the directories that they are staged in."""

    def __init__(self, routine: Routine, *, goes_on: bool = False) -> None:
        self.routine = routine
        self.goes_on = goes_on
        """Whether the others are published where one file fails."""
        self.failed: dict[str, OSError] = {}
        """Why a file was not saved, or is not known to be durable, by path."""
        self.over = False
        """Whether nothing more is taken."""
        self.writing: dict[int, tuple[Channel, Place, Save]] = {}
        """What is still written to."""
        self._staging: dict[int, Save] = {}
        """What is on its way on some thread. Such a save uses directories that the group has open."""
        self._closed_up = False
        self._places = Places(routine)
        self._made: list[list[tuple[Place, str]]] = []
        self._open: list[Opened] = []
        self._traits: dict[object, Traits] = {}
        self._last: Traits | None = None
        self._lock = allocate_lock()
        self._gaps = False
        _forks.watch_many(self, self._forsake)

    # Staging.

    def enter(self, save: Save) -> Place:
        """Locate a save, and reserve its target. Raises ValueError for one that is in the group already."""
        save.closes = True
        self._staging[id(save)] = save
        self.check_open(save)
        place = self._places.locate(save)
        with self._lock:
            if save.made:
                self._made.append(self._places.above(save))
            if save.name in place.files:
                raise ValueError(f"{save.path!r} leads to a file that was added already")
            save.sheltered = place.shelter is not None
            place.files[save.name] = None
        return place

    def add(self, place: Place, save: Save, size: int) -> None:
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
            elif lasting:
                disk.waits = True
            full = self._taken() if len(self._open) >= _OPEN_FILES else []
        if staged is not None and save.directory != save.borrowed:
            self.routine.release(save)
        self._leave(save)
        if full:
            self._relieve(full)

    def drop(self, place: Place | None, save: Save, error: BaseException) -> None:
        """Give up a save that ``error`` broke off before it was added. Nothing is raised."""
        self._gaps = True
        staged = place.files.pop(save.name, None) if place is not None else None
        if place is not None and isinstance(staged, Staged):
            _outcomes.remove(self.routine, place, save.name, staged, error)
            self.routine.release(save)
        else:
            abandon(self.routine, save, error)
        if isinstance(error, OSError):
            self.failed[save.path] = error
        self._leave(save)

    def throw_away(self, place: Place, save: Save, error: BaseException) -> None:
        """Give up a save that was not added, because its caller wants so. Nothing is raised."""
        self._gaps = True
        place.files.pop(save.name, None)
        discard(self.routine, save, error)
        self._leave(save)

    def _leave(self, save: Save) -> None:
        self._staging.pop(id(save), None)
        if self._closed_up and not self._staging:
            self._places.unpin()  # the last one of those that came too late

    def check_open(self, save: Save) -> None:
        """Raise ValueError where nothing more is taken."""
        if self.over:
            raise ValueError(f"{save.path!r} comes too late: what it was to be saved with is over")

    def _taken(self) -> list[Opened]:
        opened, self._open = self._open, []
        return opened

    def _closed(self, place: Place, save: Save, size: int, *, flushed: bool) -> Staged:
        """Close the temporary, and keep only what is needed to publish it."""
        if size >= _EARLY and not flushed and save.options.durability is not NONE:
            self.routine.start_flush(save.fd)
        self.routine.close_staged(save)
        path = None if place.head + save.name == save.path else save.path
        return Staged(path, save, size, self._traits_of(save, flushed))

    def _traits_of(self, save: Save, flushed: bool) -> Traits:
        last = self._last
        if last is not None and last.fit(save, flushed):
            return last
        traits = Traits(save, flushed)
        self._last = self._traits.setdefault(traits.key(), traits)
        return self._last

    # Flushing.

    def flush(self) -> None:
        """Flush all that was added, and take no more. Files that fail are removed."""
        with self._lock:
            self.over = True
            rest = self._taken()
        for _, place, save in list(self.writing.values()):
            error = OSError(errno.EBUSY, "was still open when the files beside it were to be saved")
            self._end_writing(place, save, error)
            error.filename = save.path
            self.failed[save.path] = error
        self._relieve(rest)
        for disk in self._places.disks.values():
            if disk.waits:
                disk.waits = False
                try:
                    self.routine.flush_all(disk.witness)
                except OSError as error:
                    self._lose(disk, error)

    def _end_writing(self, place: Place, save: Save, error: BaseException) -> None:
        channel, _, _ = self.writing.pop(id(save))
        channel.detach()
        _forks.forget(save)
        self.throw_away(place, save, error)

    def _relieve(self, opened: list[Opened]) -> None:
        """Close files: each after its own flush, or to be flushed with their whole file system."""
        for place, _, _ in opened:
            place.disk.shared = place.disk.shared or self._is_worthwhile(place.disk)
        for place, save, _ in opened:
            if not place.disk.shared:
                self._try(place, save, lambda save=save: self.routine.start_flush(save.fd))
        for place, save, size in opened:
            if save.name in place.files:
                self._try(place, save, lambda entry=(place, save, size): self._put_away(*entry))

    def _is_worthwhile(self, disk: Disk) -> bool:
        return (
            disk.witness is not None
            and disk.files >= _WORTHWHILE
            and self.routine.is_quiet(disk.files, disk.size)
        )

    def _put_away(self, place: Place, save: Save, size: int) -> None:
        shared = place.disk.shared
        if shared:
            place.disk.waits = True
        else:
            self.routine.flush(save)
        place.files[save.name] = self._closed(place, save, size, flushed=not shared)
        self.routine.release(save)

    def _try(self, place: Place, save: Save, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            self.drop(place, save, error)

    def _lose(self, disk: Disk, cause: OSError) -> None:
        """Nothing of a file system is published whose flush has failed: which file was lost is not told."""
        message = f"the flush of its whole file system failed ({cause.strerror})"
        for place in self._places.all.values():
            for name in list(place.files) if place.disk is disk else ():
                staged = place.files[name]
                if isinstance(staged, Staged):
                    error = OSError(cause.errno, message)
                    error.__cause__ = cause
                    self._fail(place, name, staged, error)

    # Publishing.

    def publish(self) -> None:
        """Rename all that was flushed, and flush each directory."""
        for chunk in self._places.chunks():
            opened = [place for place in chunk if self._is_open(place)]
            try:
                for place in opened:
                    self._publish_in(place)
            finally:
                for place in opened:
                    self._settle(place)
                    place.close(self.routine)
            if self._is_stopped():
                return

    def _is_stopped(self) -> bool:
        return bool(self.failed) and not self.goes_on

    def _is_open(self, place: Place) -> bool:
        """Open a place to publish in it. False: that failed, and so did its files."""
        try:
            place.open(self.routine)
        except OSError as cause:
            for name in list(place.files):
                staged = place.files[name]
                if isinstance(staged, Staged):
                    error = OSError(cause.errno, cause.strerror)
                    error.__cause__ = cause
                    self._fail(place, name, staged, error)
            return False
        return True

    def _publish_in(self, place: Place) -> None:
        routine = self.routine
        goes_on = self.goes_on
        for name in list(place.files):
            if self.failed and not goes_on:
                return
            staged = place.files[name]
            if isinstance(staged, Staged):
                self._publish_one(routine, place, name, staged)

    def _publish_one(self, routine: Routine, place: Place, name: str, staged: Staged) -> None:
        save = revive(place, name, staged)
        try:
            routine.reopen_staged(save)
            routine.publish(save)
            staged.tail = None
        except OSError as error:
            self._fail(place, name, staged, error, save)
        except BaseException as error:
            # An interrupt: by what is on the disk.
            if _outcomes.took_place(routine, save):
                staged.tail = None
                _outcomes.remove_name(routine, save, error)
            raise
        if save.skipped:
            staged.traits = staged.traits.having(save.skipped)

    def _settle(self, place: Place) -> None:
        """Flush a directory that names were changed in, and note what its files' receipts tell of it."""
        place.file_system = self.routine.file_system(place.directory)
        durable = (staged.traits.options.durability is DURABLE for _, staged in place.published())
        if place.settles or any(durable):
            try:
                place.settle(self.routine)
            except OSError as error:
                place.failure = error
                self.failed.update(_outcomes.not_durable(self.routine, place))

    def _fail(
        self, place: Place, name: str, staged: Staged, error: OSError, save: Save | None = None
    ) -> None:
        """Note why a file is not saved, and remove its temporary."""
        path = place.full_path(name, staged)
        self.failed[path] = error
        self._gaps = True
        del place.files[name]
        _outcomes.remove(self.routine, place, name, staged, error, save)
        error.filename, error.filename2 = path, None

    # The end.

    def receipts(self) -> Iterator[Receipt]:
        """Of the files that were saved, directory by directory. Those in ``failed`` are not among them."""
        for place in self._places.all.values():
            for name, staged in place.published():
                receipt = _outcomes.receipt(self.routine, place, name, staged)
                if receipt.path not in self.failed:
                    yield receipt

    def count(self) -> int:
        """How many `receipts` there are."""
        if not self.failed:
            return sum(1 for place in self._places.all.values() for _ in place.published())
        return sum(1 for _ in self.receipts())

    def unsaved(self) -> Iterator[str]:
        """The paths of the files that were added, have not failed, and were not published."""
        for place in filter(Place.holds_staged, self._places.all.values()):
            for name, staged in place.files.items():
                if isinstance(staged, Staged) and staged.tail is not None:
                    yield place.full_path(name, staged)
                elif isinstance(staged, Save):
                    yield staged.path

    def close(self, error: BaseException) -> None:
        """Remove what was not published, and close everything. Nothing is raised.

        What cannot be removed is named in ``error.leftovers``.
        """
        try:
            self._close(error)
        except BaseException:
            self._close(error)  # an interrupt: once more, from where it broke off
            raise

    def _close(self, error: BaseException) -> None:
        self.over = True
        for _, place, save in list(self.writing.values()):
            self._end_writing(place, save, error)
        for place in self._places.all.values():
            for name, staged in list(place.files.items()) if place.holds_staged() else ():
                self._clear(place, name, staged, error)
            place.close(self.routine)
        if self._gaps:
            self._unmake(error)
        self._closed_up = True
        if not self._staging:
            self._places.unpin()
        _forks.forget_many(self)

    def _clear(self, place: Place, name: str, staged: Staged | Save | None, error: BaseException) -> None:
        """Remove a temporary that is left, closed or still open."""
        if isinstance(staged, Staged) and staged.tail is not None:
            self._gaps = True
            _outcomes.remove(self.routine, place, name, staged, error)
        elif isinstance(staged, Save):
            self._gaps = True
            discard(self.routine, staged, error)

    def _unmake(self, error: BaseException) -> None:
        """Remove the directories that were made and hold nothing, the lowest first."""
        for made in reversed(self._made):
            for place, name in made:
                try:
                    place.open(self.routine)
                except OSError as failure:
                    _outcomes.leave(error, os.path.join(place.path, name), failure)
                    continue
                above = Save(place.path, DEFAULTS)
                above.made = ((place.directory, name),)
                self.routine.remove(above)
                place.close(self.routine)

    def _forsake(self) -> None:
        """In a forked child: close everything, and touch nothing."""
        for place in self._places.all.values():
            for staged in place.files.values():
                if isinstance(staged, Save):
                    self.routine.release(staged)
        self._places.unpin()
