"""What is done on the disk while the power may go, and what must hold, or must be seen not to hold.

A workload is a course (which files are saved in which order), a writer (how one is saved), and what it
expects: nothing wrong for the product, and for each control the violations of which the rig must find
one. To add one: write a course if none fits, and put a line for it and for its control into `PRODUCT`
and `CONTROLS`.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import durably

from . import writers, wrong

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Callable

    from .session import Session, Writer

ALL = ("ext4", "xfs", "btrfs")
_WHOLE, _KEPT = frozenset({"torn"}), frozenset({"stale", "lost"})
_FILES = 8
_CROWD = 3
_FREE = 2 << 20


class Workload(NamedTuple):
    """One line of the tables.

    ``durable``: whether a save that has returned must stay. ``refused``: flags of open(2) that fail, as
    where the file system lacks them. ``overlay``: whether it runs in an overlay on the file system.
    ``lie``: whether the disk ignores flushes. ``expects``: kinds of violation of which one must be
    found, on the file systems ``where``; none: none may be. ``control``: the name of the control that
    shows that this course can fail.
    """

    name: str
    course: Callable[[Session, Writer], None]
    writer: Writer
    control: str = ""
    durable: bool = True
    refused: int = 0
    overlay: bool = False
    lie: bool = False
    expects: frozenset[str] = frozenset()
    where: tuple[str, ...] = ALL

    @property
    def is_product(self) -> bool:
        """Whether the writer is durably's, and goes through its table of calls."""
        return self.writer.__module__ == writers.__name__


def replacing(session: Session, writer: Writer) -> None:
    """Save a few files again and again."""
    for _ in range(session.rounds):
        content = session.content()
        session.save(f"file{session.random.randrange(_FILES)}", content, writer)


def creating(session: Session, writer: Writer) -> None:
    """Save new files only."""
    for number in range(session.rounds):
        content = session.content()
        session.save(f"new{number}", content, writer)


def growing(session: Session, writer: Writer) -> None:
    """Append to a few files."""
    whole = dict.fromkeys(("log0", "log1"), b"")
    for _ in range(session.rounds):
        name = session.random.choice(sorted(whole))
        record = session.content(session.random.choice((100, 5000, 40_000)))
        whole[name] += record
        session.save(name, record, writer, whole=whole[name])


def planting(session: Session, writer: Writer) -> None:
    """Save each file into new directories, some of them below those of the one before."""
    for number in range(session.rounds):
        content = session.content()
        name = f"tree{number // 3}/{'deep/' * (number % 3)}leaf{number}"
        session.save(name, content, writer)


def recreating(session: Session, writer: Writer) -> None:
    """Save a file, and remove it now and then."""
    for _ in range(session.rounds):
        name = f"file{session.random.randrange(3)}"
        if os.path.exists(os.path.join(session.root, name)) and session.random.choice((True, False)):
            session.delete(name)
        else:
            content = session.content()
            session.save(name, content, writer)


def sweeping(session: Session, writer: Writer) -> None:
    """Sweep up after processes that are killed while they save, between saves that succeed."""
    for _ in range(session.rounds // 3):
        for save in (session.save_killed, session.save_killed, session.save):
            save(f"file{session.random.randrange(_FILES)}", session.content(), writer)
        durably.sweep(session.root, older_than=0)


def crowding(session: Session, writer: Writer) -> None:
    """Several processes in one directory, each with a file of its own, and one file for all."""

    def one(number: int) -> None:
        session.random.seed(number)
        for _ in range(session.rounds // _CROWD):
            name = session.random.choice((f"own{number}", "shared"))
            content = session.content()
            session.save(name, content, writer)

    session.share(_CROWD, one)


def filling(session: Session, writer: Writer) -> None:
    """Save a few files where there is not always room."""
    fill(os.path.join(os.path.dirname(session.root), "filler"), _FREE)
    replacing(session, writer)


def fill(path: str, free: int) -> None:
    """Leave about so many bytes of room on a file system."""
    with open(path, "wb") as file:
        size, step = 0, 64 << 20
        while step >= 1 << 16:
            try:
                os.posix_fallocate(file.fileno(), size, step)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step //= 4
            else:
                size += step
        file.truncate(size - free)
        os.fsync(file.fileno())


PRODUCT = (
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

CONTROLS = (
    Workload("naive", replacing, wrong.naive, expects=_WHOLE | _KEPT),
    Workload("in-place", replacing, wrong.in_place, expects=_WHOLE),
    Workload("rename-only", replacing, wrong.rename_only, expects=_WHOLE | _KEPT),
    Workload("without-fsync", replacing, wrong.without_fsync, expects=_WHOLE),
    Workload("without-directory", replacing, wrong.without_directory, expects=_KEPT),
    Workload("rename-first", replacing, wrong.rename_first, expects=_WHOLE),
    Workload("link-first", creating, wrong.link_first, expects=_WHOLE, where=("ext4", "btrfs")),
    Workload("append-in-place", growing, wrong.append_in_place, expects=_WHOLE),
    Workload("tree-without-directory", planting, wrong.tree_without_directory, expects=_KEPT),
    Workload("recreate-without-directory", recreating, wrong.without_directory, expects=_KEPT),
    Workload("sweep-without-directory", sweeping, wrong.without_directory, expects=_KEPT),
    Workload("concurrent-without-directory", crowding, wrong.without_directory, expects=_KEPT),
    Workload("full-disk-naive", filling, wrong.naive, expects=_WHOLE),
    Workload("overlay-without-directory", replacing, wrong.without_directory, expects=_KEPT, overlay=True),
    Workload("level-none", replacing, writers.one_shot_none, expects=_WHOLE | _KEPT),
    Workload("lying-disk", replacing, writers.one_shot, lie=True, expects=_WHOLE | _KEPT | {"mount", "read"}),
)

WORKLOADS = {one.name: one for one in PRODUCT + CONTROLS}
