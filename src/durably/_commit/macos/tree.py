"""Directories on macOS: exchanged by renameatx_np, flushed by one F_FULLFSYNC after all the others."""

from __future__ import annotations

from durably._commit.posix.tree import Trees
from durably._system.native.darwin import RENAME_EXCL, RENAME_SWAP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingTree


class MacOSTrees(Trees):
    """macOS 10.12 and later."""

    def swap(self, directory: int, name: str, other: int, other_name: str) -> None:
        self.calls.renameatx_np(directory, name, other, other_name, RENAME_SWAP)

    def move(self, directory: int, name: str, other: int, other_name: str) -> None:
        self.calls.renameatx_np(directory, name, other, other_name, RENAME_EXCL)

    def finish_flush(self, save: PendingTree) -> None:
        # fsync(2) hands a file to the drive; this makes the drive write all that it was handed (fcntl(2)).
        self.posix.flush(save)
