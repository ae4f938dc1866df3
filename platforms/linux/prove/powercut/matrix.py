"""Other options of mount, and a disk that writes sectors instead of blocks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from . import runs
from .record import Recording
from .runs import Budget, Result
from .states import PAGE, SECTOR

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORKLOADS = ("one-shot", "stream", "create", "staged-path", "append")
_ROUNDS = 40


class Setting(NamedTuple):
    """One line. ``expected``: kinds of violation that the file system itself causes there."""

    kind: str
    options: str
    piece: int = PAGE
    expected: tuple[str, ...] = ()


SETTINGS = (
    Setting("ext4", "data=journal"),
    Setting("ext4", "data=writeback"),
    Setting("ext4", "noauto_da_alloc"),
    Setting("ext4", "noauto_da_alloc,data=writeback"),
    Setting("ext4", "nodelalloc"),
    # Its superblock is two sectors under one checksum, and is read before the journal that would mend it.
    Setting("ext4", "", SECTOR, ("mount",)),
    Setting("xfs", "wsync"),
    Setting("xfs", "", SECTOR),
    Setting("btrfs", "compress=zstd"),
    Setting("btrfs", "notreelog"),
    Setting("btrfs", "flushoncommit"),
    Setting("btrfs", "nodatacow"),
    # Its superblock is one block of 4096 bytes, and is lost if the disk tears it.
    Setting("btrfs", "", SECTOR, ("mount", "read", "fsck")),
)


def settings(kinds: list[str]) -> Iterator[Setting]:
    """The lines for these file systems."""
    return (one for one in SETTINGS if one.kind in kinds)


def run(setting: Setting, *, points: int, seed: int, jobs: int) -> list[Result]:
    """A few workloads under one setting, with noise and without."""
    budget = Budget(-(-points // (2 * len(_WORKLOADS))), seed, jobs, setting.piece)
    return [
        runs.run(Recording(setting.kind, name, setting.options, "", _ROUNDS, seed, loud), budget)
        for name in _WORKLOADS
        for loud in (True, False)
    ]
