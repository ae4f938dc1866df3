"""The ways to save one file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .. import writers, wrong
from ..courses import creating, crowding, filling, growing, planting, recreating, replacing, sweeping
from ..workload import KEPT, WHOLE, Workload

assert sys.platform == "linux"

if TYPE_CHECKING:
    from ..session import Writer

_PRODUCT = (
    Workload("one-shot", replacing, writers.one_shot, "without-directory"),
    Workload("one-shot-consistent", replacing, writers.one_shot_consistent, "without-fsync", durable=False),
    Workload("stream", replacing, writers.stream, "without-directory"),
    Workload("stream-consistent", replacing, writers.stream_consistent, "without-fsync", durable=False),
    Workload("stream-named", replacing, writers.stream, "rename-first", refused=writers.UNNAMED),
    Workload("create", creating, writers.create, "link-first"),
    Workload("stream-create", creating, writers.stream_create, "link-first"),
    Workload("append", growing, writers.append, "append-in-place"),
    Workload("staged-path", replacing, writers.staged, "in-place"),
    Workload("tree", planting, writers.tree, "tree-without-directory"),
    Workload("delete-recreate", recreating, writers.one_shot, "recreate-without-directory"),
    Workload("sweep", sweeping, writers.one_shot, "sweep-without-directory"),
    Workload("sweep-named", sweeping, writers.stream, "sweep-without-directory", refused=writers.UNNAMED),
    Workload("sweep-staged", sweeping, writers.staged, "sweep-without-directory"),
    Workload("concurrent", crowding, writers.one_shot, "concurrent-without-directory"),
    Workload("concurrent-stream", crowding, writers.stream, "concurrent-without-directory"),
    Workload("full-disk", filling, writers.one_shot, "full-disk-naive"),
    Workload("full-disk-stream", filling, writers.stream, "full-disk-naive"),
    Workload("overlay", replacing, writers.one_shot, "overlay-without-directory", overlay=True),
    Workload("overlay-stream", replacing, writers.stream, "overlay-without-directory", overlay=True),
)

_CARELESS: dict[object, Writer] = {growing: wrong.append_only, planting: wrong.tree_rename_only}
PRODUCT = tuple(one._replace(careless=_CARELESS.get(one.course, wrong.rename_only)) for one in _PRODUCT)

CONTROLS = (
    Workload("naive", replacing, wrong.naive, expects=WHOLE | KEPT),
    Workload("in-place", replacing, wrong.in_place, expects=WHOLE),
    Workload("rename-only", replacing, wrong.rename_only, expects=WHOLE | KEPT),
    Workload("without-fsync", replacing, wrong.without_fsync, expects=WHOLE),
    Workload("without-directory", replacing, wrong.without_directory, expects=KEPT),
    Workload("rename-first", replacing, wrong.rename_first, expects=WHOLE),
    Workload("link-first", creating, wrong.link_first, expects=WHOLE, where=("ext4", "btrfs")),
    Workload("append-in-place", growing, wrong.append_in_place, expects=WHOLE),
    Workload("tree-without-directory", planting, wrong.tree_without_directory, expects=KEPT),
    Workload("recreate-without-directory", recreating, wrong.without_directory, expects=KEPT),
    Workload("sweep-without-directory", sweeping, wrong.without_directory, expects=KEPT),
    Workload("concurrent-without-directory", crowding, wrong.without_directory, expects=KEPT),
    Workload("full-disk-naive", filling, wrong.naive, expects=WHOLE),
    Workload("overlay-without-directory", replacing, wrong.without_directory, expects=KEPT, overlay=True),
    Workload("level-none", replacing, writers.one_shot_none, expects=WHOLE | KEPT),
    Workload(
        "recover-in-place",
        replacing,
        writers.one_shot,
        recover=wrong.recover_in_place,
        again=True,
        expects=WHOLE,
    ),
    Workload("lying-disk", replacing, writers.one_shot, lie=True, expects=WHOLE | KEPT | {"mount", "read"}),
)
