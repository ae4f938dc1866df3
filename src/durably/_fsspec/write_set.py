"""The write set of a transaction whose root is not known before its last write."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from durably import _commit
from durably._errors import UnsupportedError
from durably._transaction.paths import parts_below, split
from durably._transaction.root import Root
from durably._transaction.write_set import WriteSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from durably._transaction.entry import Precondition, StagedSave
    from durably._transaction.root import Parts
    from durably._types import Options


class MovingWriteSet(WriteSet):
    """A write set whose root moves up when a target does not lie below it."""

    def __init__(self, path: str, options: Options) -> None:
        super().__init__(Root(_commit.routine(), path, options))
        self._options = options
        self._anchor: Root = self.root
        """Opened before the first write, and so a witness of what fails; see Flusher."""
        self._saves: list[StagedSave] = []

    def begin(
        self, parts: Parts, path: str, options: Options, precondition: Precondition, *, private: bool = False
    ) -> StagedSave:
        save = super().begin(parts, path, options, precondition, private=private)
        self._saves.append(save)
        return save

    def finish(self, save: StagedSave, size: int, precondition: Precondition) -> None:
        if save.parts not in self.read_set:  # moved or removed by the transaction itself, since `begin`
            self.look_up(save.directory, save.parts)
        super().finish(save, size, precondition)
        self._saves.remove(save)

    def abandon(self, save: StagedSave, error: BaseException) -> None:
        super().abandon(save, error)
        if save in self._saves:
            self._saves.remove(save)

    def reach(self, directory: str) -> None:
        """Have the root at or above a directory."""
        common = shared(self.root.path, directory)
        if common == self.root.path:
            return
        if not common or os.stat(common).st_dev != os.stat(self._anchor.path).st_dev:
            message = (
                f"lies on another file system than {self._anchor.path}: one transaction cannot have both"
            )
            raise UnsupportedError(errno.EXDEV, f"{message}; nothing was written", directory)
        root = Root(self.root.routine, common, self._options)
        down = split(os.path.relpath(self.root.path, common))
        self._move(root, down)

    def _move(self, root: Root, down: Parts) -> None:
        if self.root is not self._anchor:
            self.root.close()
        self.root = root
        self._rename_keys(lambda parts: (*down, *parts))

    def holds_below(self, path: str) -> bool:
        """Whether a file is staged at a path, or below it."""
        above = parts_below(self.root.path, path)
        return any(file.staged and parts[: len(above)] == above for parts, file in self.files.items())

    def drop_below(self, path: str) -> None:
        """Forget what is staged at a path, or below it: it is removed, or something else comes there."""
        above = parts_below(self.root.path, path)
        for parts in [each for each in self.read_set if each[: len(above)] == above]:
            del self.read_set[parts]
            file = self.files.pop(parts, None)
            if file is not None and file.staged is not None:
                self.left += self.root.discard([(parts[:-1], file.staged)])

    def carry(self, old: Parts, new: Parts) -> None:
        """A directory is moved, with what is staged in it."""
        length = len(old)
        self._rename_keys(lambda parts: (*new, *parts[length:]) if parts[:length] == old else parts)

    def _rename_keys(self, renamed: Callable[[Parts], Parts]) -> None:
        self.files = {renamed(parts): file for parts, file in self.files.items()}
        self.read_set = {renamed(parts): known for parts, known in self.read_set.items()}
        self.writing = {renamed(parts) for parts in self.writing}
        for save in self._saves:
            save.parts = renamed(save.parts)

    def close(self) -> None:
        """Close the files and the roots."""
        with ExitStack() as ends:  # an interrupt of one does not keep the others open
            for end in (self._anchor.close, self.root.close, self.flusher.discard):
                ends.callback(end)


def shared(first: str, second: str) -> str:
    """The directory above two paths, as the first spells it; empty if they are on two drives."""
    drives = {os.path.normcase(os.path.splitdrive(path)[0]) for path in (first, second)}
    return os.path.commonpath([first, second]) if len(drives) == 1 else ""
