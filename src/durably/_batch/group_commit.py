"""Many files together: each is staged and closed, all are flushed, then each is renamed.

The protocol of a group commit::

    enter ─ (create, write) ─ add     for each file, on any thread; or: drop
    flush ─ rename_into_place         once; why a file failed is in ``failed``
    close                             removes what was not published

Whether the rest goes on without a file that failed is the caller's affair.
"""

from __future__ import annotations

import os

from durably._batch import outcomes
from durably._batch.directories import DEFAULTS, TargetDirectory
from durably._batch.entry import StagedEntry
from durably._batch.staging import Staging
from durably._commit.pending import PendingFile
from durably._errors import note_leftovers
from durably._file.protocol import discard, was_published
from durably._system import fork
from durably._types import DURABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from durably._commit.strategy import Routine
    from durably._receipts import Receipt


class Group(Staging):
    """Many files, from the first that is staged to the last that has its name."""

    has_uncommitted: bool

    # Publishing.

    def rename_into_place(self) -> None:
        """Rename all that was flushed, and flush each directory."""
        for chunk in self.places.chunks():
            opened = [place for place in chunk if self._is_open(place)]
            try:
                for place in opened:
                    self._publish_in(place)
            finally:
                for place in opened:
                    self._fsync_directory(place)
                    place.close(self.routine)
            if self._is_stopped():
                return

    def _is_stopped(self) -> bool:
        return bool(self.failed) and not self.continue_on_error

    def _is_open(self, place: TargetDirectory) -> bool:
        """Open a place to publish in it. False: that failed, and so did its files."""
        try:
            place.open(self.routine)
        except OSError as cause:
            for name in list(place.files):
                staged = place.files[name]
                if isinstance(staged, StagedEntry):
                    error = OSError(cause.errno, cause.strerror)
                    error.__cause__ = cause
                    self.fail(place, name, staged, error)
            return False
        return True

    def _publish_in(self, place: TargetDirectory) -> None:
        routine, files, save = self.routine, place.files, None
        for name in list(files):
            if self.failed and not self.continue_on_error:
                return
            staged = files[name]
            if isinstance(staged, StagedEntry):
                save = place.revive(name, staged, save)
                self._publish_one(routine, place, staged, save)

    def _publish_one(
        self, routine: Routine, place: TargetDirectory, staged: StagedEntry, save: PendingFile
    ) -> None:
        name = save.name
        try:
            routine.reopen_staged(save)
            routine.rename_into_place(save)
            staged.temp_suffix = None
            place.done += 1
        except OSError as error:
            self.fail(place, name, staged, error, save)
        except BaseException as error:
            # An interrupt: by what is on the disk.
            if was_published(routine, save):
                staged.temp_suffix = None
                place.done = sum(1 for _ in place.published())
                outcomes.remove_name(routine, save, error)
            raise
        if save.skipped:
            staged.shared = staged.shared.having(save.skipped)

    def _fsync_directory(self, place: TargetDirectory) -> None:
        """Flush a directory that names were changed in, and note what its files' receipts tell of it."""
        place.file_system = self.routine.file_system(place.directory)
        durable = (staged.shared.options.durability is DURABLE for _, staged in place.published())
        if place.needs_fsync or any(durable):
            try:
                place.fsync_directory(self.routine)
            except OSError as error:
                place.failure = error
                self.failed.update(outcomes.unflushed(self.routine, place))

    # The end.

    def receipts(self) -> Iterator[Receipt]:
        """Of the files that were saved, directory by directory. Those in ``failed`` are not among them."""
        for place in self.places.all.values():
            for name, staged in place.published():
                receipt = outcomes.receipt(self.routine, place, name, staged)
                if receipt.path not in self.failed:
                    yield receipt

    def count(self) -> int:
        """How many `receipts` there are."""
        if not self.failed:
            return sum(place.done for place in self.places.all.values())
        return sum(1 for _ in self.receipts())

    def unsaved(self) -> Iterator[str]:
        """The paths of the files that were added, have not failed, and were not published."""
        for place in filter(TargetDirectory.holds_staged, self.places.all.values()):
            for name, staged in place.files.items():
                if isinstance(staged, StagedEntry) and staged.temp_suffix is not None:
                    yield place.full_path(name, staged)
                elif isinstance(staged, PendingFile):
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
        for place in self.places.all.values():
            for name, staged in list(place.files.items()) if place.holds_staged() else ():
                self._clear(place, name, staged, error)
            place.close(self.routine)
        if self.has_uncommitted:
            self._unmake(error)
        self.closed = True
        if not self.staging:
            self.places.unpin()
        fork.unregister_group(self)

    def _clear(
        self,
        place: TargetDirectory,
        name: str,
        staged: StagedEntry | PendingFile | None,
        error: BaseException,
    ) -> None:
        """Remove a temporary that is left, closed or still open."""
        if isinstance(staged, StagedEntry) and staged.temp_suffix is not None:
            self.has_uncommitted = True
            outcomes.remove(self.routine, place, name, staged, error)
        elif isinstance(staged, PendingFile):
            self.has_uncommitted = True
            discard(self.routine, staged, error)

    def _unmake(self, error: BaseException) -> None:
        """Remove the directories that were made and hold nothing, the lowest first."""
        for made in reversed(self.made):
            for place, name in made:
                try:
                    place.open(self.routine)
                except OSError as failure:
                    note_leftovers(error, (os.path.join(place.path, name),), failure)
                    continue
                above = PendingFile(place.path, DEFAULTS)
                above.made = ((place.directory, name),)
                self.routine.remove(above)
                place.close(self.routine)
