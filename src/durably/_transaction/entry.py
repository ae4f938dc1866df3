"""What a transaction remembers of each file and each tree that it has staged."""

from __future__ import annotations

from durably._commit.pending import PendingFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import EllipsisType

    from durably._system.temp_names import Kind
    from durably._transaction.root import Parts

    Precondition = bytes | None | EllipsisType


class StagedSave(PendingFile):
    """The save of a file of a transaction: closed when it is written, and published with the others."""

    closes = True
    parts: Parts = ()
    """The target, from the root."""
    tree: Tree | None = None

    @property
    def kind(self) -> Kind:
        """The kind of name that the temporary gets."""
        return "t"


class Tree:
    """Directories that do not exist yet, staged as one that is renamed to its place."""

    __slots__ = ("made", "staged", "target", "where")

    def __init__(self, target: Parts, where: Parts, staged: str) -> None:
        self.target: Parts = target
        self.where: Parts = where
        """The directory on the disk that it lies in, where its place is."""
        self.staged: str = staged
        self.made: list[Parts] = []
        """The directories in it."""


class File:
    """One target, as the transaction would leave it."""

    __slots__ = ("precondition", "staged", "tree")

    def __init__(self) -> None:
        self.staged: str | None = None
        """The name of the new file in the target's directory (in a tree: its own name); None: removed."""
        self.tree: Tree | None = None
        """The tree that it lies in; then it is no operation of its own."""
        self.precondition: Precondition = ...
        """What the old file must hold."""
