"""What a transaction does to each name, and by what a file is known again after a crash."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from durably._transaction.root import Parts


class Identity:
    """By what a file is known again after a crash."""

    __slots__ = ("changed", "number", "size")

    def __init__(self, number: int, size: int, changed: int) -> None:
        self.number = number
        self.size = size
        self.changed = changed
        """Nanoseconds."""

    def is_of(self, found: os.stat_result) -> bool:
        """Whether that is the file, unchanged."""
        return (found.st_ino, found.st_size, found.st_mtime_ns) == (self.number, self.size, self.changed)

    def was_of(self, found: os.stat_result) -> bool:
        """Whether that is the file, unchanged as far as a crash lets one tell.

        A file that nobody had flushed may come back as it was before, and some file systems keep whole
        seconds only: its last change is then earlier, never later.
        """
        return self.is_of(found) or (found.st_ino == self.number and found.st_mtime_ns < self.changed)


def identity(found: os.stat_result) -> Identity:
    """The identity of a file."""
    return Identity(found.st_ino, found.st_size, found.st_mtime_ns)


class Operation:
    """What happens to one name: a file or a tree is put there, or what is there is removed."""

    __slots__ = ("inside", "backup", "name", "new", "old", "staged", "where")

    def __init__(
        self,
        where: Parts,
        name: str,
        *,
        staged: str | None = None,
        new: Identity | None = None,
        backup: str | None = None,
        old: Identity | None = None,
        inside: dict[str, Identity | None] | None = None,
    ) -> None:
        self.where = where
        """The directory, from the root."""
        self.name = name
        self.staged = staged
        """The name of what is put there, in the same directory; None: nothing, the old is removed."""
        self.new = new
        self.backup = backup
        """The name under which the old is kept; the same as ``staged`` where the two change places."""
        self.old = old
        """What is there before; None: nothing."""
        self.inside = inside
        """Of a tree: everything in it by its path, with None for directories. None: no tree."""

    @property
    def path(self) -> Parts:
        """The name, from the root."""
        return (*self.where, self.name)

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it is about, as paths from the root, with "/" between components."""
        path = "/".join(self.path)
        if self.inside is None:
            return (path,)
        return tuple(f"{path}/{name}" for name, known in self.inside.items() if known is not None)
