"""Directories on Linux: exchanged by renameat2, flushed by syncfs where that is proof."""

from __future__ import annotations

from durably._commit.linux import xattr
from durably._commit.posix.tree import Trees
from durably._system.native.linux import RENAME_EXCHANGE, RENAME_NOREPLACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.linux.strategy import Linux
    from durably._commit.pending import PendingFile, PendingTree

_DEFAULT_ACL = "system.posix_acl_default"


class LinuxTrees(Trees):
    """Linux, and Android."""

    def __init__(self, routine: Linux) -> None:
        super().__init__(routine)
        self.linux = routine

    def swap(self, directory: int, name: str, other: int, other_name: str) -> None:
        self.calls.renameat2(directory, name, other, other_name, RENAME_EXCHANGE)

    def move(self, directory: int, name: str, other: int, other_name: str) -> None:
        self.calls.renameat2(directory, name, other, other_name, RENAME_NOREPLACE)

    def read_attributes(self, save: PendingFile, fd: int) -> None:
        xattr.read_old(self.calls, save, fd, also=_DEFAULT_ACL)

    def apply_metadata(self, save: PendingTree) -> None:
        super().apply_metadata(save)
        # Inherited from the directory, as the staged one lies in it.
        alien = save.preserve_metadata and _DEFAULT_ACL not in (save.old_attributes or ())
        if alien and _DEFAULT_ACL in xattr.names(self.calls, save.fd):
            self.calls.removexattr(save.fd, _DEFAULT_ACL)

    def is_witnessed(self, save: PendingTree) -> bool:
        return self.linux.reports_lost_writes(save.directory)
