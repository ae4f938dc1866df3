"""Many files saved together: each is whole, and all that were saved when the batch returned stay."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal

import durably
from durably._commit.linux.strategy import Linux

from ..workload import KEPT, WHOLE, Workload

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..session import Session, Writer

    Contents = Mapping[str, bytes]

_MANY, _FEW = 24, 6
_SIZES = (8, 100, 4096, 5000, 70_000)


def replacing_many(session: Session, writer: Writer) -> None:
    """Save the same files again and again, in two directories."""
    for place in ("one", "two"):
        os.mkdir(os.path.join(session.root, place))
    for _ in range(session.rounds // 6):
        _save(
            session, writer, [f"{place}/{number}" for place in ("one", "two") for number in range(_MANY // 2)]
        )


def making_many(session: Session, writer: Writer) -> None:
    """Save new files only, each time in a new directory."""
    for turn in range(session.rounds // 6):
        os.mkdir(os.path.join(session.root, f"turn{turn}"))
        _save(session, writer, [f"turn{turn}/{number}" for number in range(_MANY)])


def replacing_few(session: Session, writer: Writer) -> None:
    """Save so few files that each is flushed by itself."""
    for _ in range(session.rounds // 3):
        _save(session, writer, [str(number) for number in range(_FEW)])


def _save(session: Session, writer: Writer, names: list[str]) -> None:
    contents = {name: session.content(session.random.choice(_SIZES)) for name in names}
    paths = {os.path.join(session.root, name): data for name, data in contents.items()}
    session.save_all(contents, lambda: writer(paths), together=False)


def batch(contents: Contents) -> None:
    """`Batch`, durable, each file or all flushed, as it decides."""
    _batch(contents, "durable")


def batch_consistent(contents: Contents) -> None:
    """`Batch`, whole after a cut, but perhaps old."""
    _batch(contents, "consistent")


def batch_at_once(contents: Contents) -> None:
    """`Batch`, with one flush for the whole file system, whatever else the machine has to write."""
    Linux.is_quiet = _quiet  # type: ignore[assignment,method-assign] # in this process
    _batch(contents, "durable")


def _quiet(*_: object) -> bool:
    return True


def _batch(contents: Contents, durability: Literal["durable", "consistent"]) -> None:
    with durably.Batch(durability=durability) as files:
        for path, data in contents.items():
            files.write_bytes(path, data)


def unflushed(contents: Contents) -> None:
    """Write all, rename all, and flush the directories only."""
    _renamed(contents)
    for directory in sorted({os.path.dirname(path) for path in contents}):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def directories_unflushed(contents: Contents) -> None:
    """Flush every file, rename all, and leave the directories."""
    _renamed(contents, flush=True)


def _renamed(contents: Contents, *, flush: bool = False) -> None:
    for path, data in contents.items():
        with open(f"{path}.part", "wb") as file:
            file.write(data)
            if flush:
                file.flush()
                os.fsync(file.fileno())
    for path in contents:
        os.replace(f"{path}.part", path)


PRODUCT = (
    Workload("batch", replacing_many, batch, "batch-unflushed", careless=unflushed),
    Workload("batch-at-once", replacing_many, batch_at_once, "batch-unflushed", careless=unflushed),
    Workload("batch-new", making_many, batch_at_once, "batch-new-unflushed", careless=unflushed),
    Workload("batch-few", replacing_few, batch, "batch-without-directory", careless=unflushed),
    Workload("batch-consistent", replacing_many, batch_consistent, "batch-unflushed", durable=False),
)
CONTROLS = (
    Workload("batch-unflushed", replacing_many, unflushed, expects=WHOLE),
    Workload("batch-new-unflushed", making_many, unflushed, expects=WHOLE),
    Workload("batch-without-directory", replacing_few, directories_unflushed, expects=KEPT),
)
