"""The groups of figures: what is measured, how often, and in which half of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import filesystems
import growth
import imports
import many
import saves
import streams
import workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from findings import Found

STATED, GROWTH = "stated", "growth"
_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30
_SIZES = (0, 4 * _KIB, 64 * _KIB, _MIB, 16 * _MIB, 256 * _MIB, _GIB, 4 * _GIB)
_FILES = (1, 10, 100, 1_000, 10_000, 100_000)
_ENTRIES = (0, 100, 1_000, 10_000, 100_000, 1_000_000)
_WORKERS = (1, 2, 4, 8, 16, 32)
_ONE = ("ext4",)  # enough to see that it runs


class Group(NamedTuple):
    """What is measured at once, and kept in a data file of its own."""

    half: str
    """"stated": has figures with a target. "growth": shows how a cost grows."""
    quick: Callable[[Path], Found]
    """To see that it runs: on a directory of the disk to use."""
    whole: Callable[[Path], Found]


GROUPS = {
    "calls": Group(STATED, lambda _: saves.calls(), lambda _: saves.calls()),
    "memory": Group(
        STATED, lambda _: saves.on_memory(rounds=3, count=20), lambda _: saves.on_memory(rounds=301, count=50)
    ),
    "disk": Group(
        STATED,
        lambda disk: saves.on_disk(disk, rounds=2, count=3),
        lambda disk: saves.on_disk(disk, rounds=31, count=30),
    ),
    "short": Group(
        STATED,
        lambda _: streams.short_writes(rounds=2, count=20_000),
        lambda _: streams.short_writes(rounds=41, count=100_000),
    ),
    "large": Group(
        STATED,
        lambda disk: streams.large(disk, rounds=1, mebibytes=8),
        lambda disk: streams.large(disk, rounds=7, mebibytes=512),
    ),
    "fsspec": Group(
        STATED,
        lambda _: filesystems.on_memory(rounds=3, count=20),
        lambda _: filesystems.on_memory(rounds=301, count=50),
    ),
    "fsspec-disk": Group(
        STATED,
        lambda disk: filesystems.on_disk(disk, rounds=2, count=3),
        lambda disk: filesystems.on_disk(disk, rounds=31, count=30),
    ),
    "fsspec-many": Group(
        STATED,
        lambda disk: filesystems.transactions(disk, rounds=1, files=20),
        lambda disk: filesystems.transactions(disk, rounds=7),
    ),
    "import": Group(STATED, lambda _: imports.imports(rounds=3), lambda _: imports.imports(rounds=41)),
    "many": Group(
        STATED,
        lambda disk: many.on_each(disk, 1, 20, _ONE),
        lambda disk: many.on_each(disk, 9, 1_000),
    ),
    "files": Group(
        STATED,
        lambda disk: growth.files(disk, 1, (1, 20), _ONE),
        lambda disk: growth.files(disk, 3, _FILES),
    ),
    "levels": Group(
        GROWTH,
        lambda disk: saves.levels(disk, 2, 3, _ONE),
        lambda disk: saves.levels(disk, 31, 30),
    ),
    "sizes": Group(
        GROWTH,
        lambda disk: growth.sizes(disk, 1, (0, 4 * _KIB, _MIB)),
        lambda disk: growth.sizes(disk, 9, _SIZES),
    ),
    "entries": Group(
        GROWTH,
        lambda disk: growth.entries(disk, 2, 2, (0, 100, 1_000)),
        lambda disk: growth.entries(disk, 9, 20, _ENTRIES),
    ),
    "workers": Group(
        GROWTH,
        lambda disk: workers.workers(disk, 1, 0.05, (1, 4)),
        lambda disk: workers.workers(disk, 3, 0.7, _WORKERS),
    ),
}
HALVES = {half: [name for name, group in GROUPS.items() if group.half == half] for half in (STATED, GROWTH)}
