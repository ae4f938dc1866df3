"""How the files of one file system are flushed: by one flush where that is proof, else each by itself."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from durably._commit.strategy import Routine

OPEN_FILES = 64
"""Files that stay open until they are flushed, each by its own descriptor: the one that wrote it.

One that has a descriptor of its directory as well counts twice."""
EARLY = 256 << 10
"""Bytes from which on a file is written out while others are staged."""
_WORTHWHILE = 16
"""Files from which on one flush of a file system is faster than one of each."""


class FlushGroup:
    """The files of one file system that wait for their flush."""

    __slots__ = ("files", "shared", "size", "waits", "witness")

    def __init__(self, witness: Any) -> None:
        self.witness: Any = witness
        """A directory that was opened before the first write, where one flush of all can be proof."""
        self.files: int = 0
        self.size: int = 0
        self.shared: bool = False
        """Whether its files are closed at once, to be flushed by that one flush."""
        self.waits: bool = False
        """Whether there are closed files that were not flushed."""

    def shares(self, routine: Routine) -> bool:
        """Decide whether its files are flushed by one flush; once they are, the others are as well."""
        if not self.shared and self.witness is not None and self.files >= _WORTHWHILE:
            self.shared = routine.is_quiet(self.files, self.size)
        return self.shared
