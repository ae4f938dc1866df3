"""The file system for fsspec; fsspec's own local one is the control. Nothing where fsspec is missing."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import durably

from ..courses import growing, planting, replacing
from ..workload import KEPT, WHOLE, Workload
from .batches import replacing_many

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..session import Session, Writer

    Contents = Mapping[str, bytes]
    """What is done to a name; a content to be written, or another name."""

_NAMES = ("one", "two", "three", "sub/one", "sub/two", "sub/deep/one")
_SIZES = (8, 100, 4096, 5000, 70_000)
_PIECE = 8192


def changing(session: Session, writer: Writer) -> None:
    """Write a few files in one directory and below it, together."""
    held: dict[str, bytes | None] = dict.fromkeys(_NAMES)
    for _ in range(session.rounds // 3):
        names = session.random.sample(_NAMES, session.random.randint(2, len(_NAMES)))
        changes = {name: session.content(session.random.choice(_SIZES)) for name in names}
        after = {**held, **changes}
        if session.save_all(after, partial(writer, session.root, changes), together=True):
            held = after


def piped(path: str, data: bytes) -> None:
    """`pipe`, durable; it makes the directories that are missing."""
    _durable().pipe(path, data)


def opened(path: str, data: bytes) -> None:
    """`fsspec.open`, in several writes."""
    with _module("fsspec").open(f"durable://{path}", "wb") as file:
        for start in range(0, len(data), _PIECE):
            file.write(data[start : start + _PIECE])


def appended(path: str, data: bytes) -> None:
    """`open` with mode a."""
    with _durable().open(path, "ab") as file:
        file.write(data)


def moved(path: str, data: bytes) -> None:
    """`mv` of a file that somebody else wrote, and did not flush."""
    _durable().mv(_written(path, data), path)


def transaction(root: str, changes: Contents) -> None:
    """``with fs.transaction``."""
    _together(_durable(), root, changes)


def piped_many(contents: Contents) -> None:
    """`pipe` of many files, durable."""
    _durable().pipe(dict(contents))


def put_many(contents: Contents) -> None:
    """`put` of many files that others have written, durable."""
    root = os.path.dirname(os.path.dirname(next(iter(contents))))
    sources = [
        _written(os.path.join(root, f"source{number}"), data) for number, data in enumerate(contents.values())
    ]
    _durable().put(sources, list(contents))


def recover(root: str) -> None:
    """Recover every directory that the files of a transaction may have had in common."""
    for directory, _, _ in os.walk(root):
        durably.recover(directory)


# Controls: the same through fsspec's own file system.


def piped_by_fsspec(path: str, data: bytes) -> None:
    """`pipe`."""
    _own().pipe(path, data)


def appended_by_fsspec(path: str, data: bytes) -> None:
    """`open` with mode a."""
    with _own().open(path, "ab") as file:
        file.write(data)


def moved_by_fsspec(path: str, data: bytes) -> None:
    """`mv`."""
    _own().mv(_written(path, data), path)


def piped_many_by_fsspec(contents: Contents) -> None:
    """`pipe` of many files."""
    _own().pipe(dict(contents))


def _written(path: str, data: bytes) -> str:
    """A file on the same file system, not in the directory: what is left of it is nobody's to sweep."""
    directory, name = os.path.split(path)
    source = os.path.join(os.path.dirname(directory), name)
    with open(source, "wb") as file:
        file.write(data)
    return source


def transaction_by_fsspec(root: str, changes: Contents) -> None:
    """``with fs.transaction``."""
    _together(_own(), root, changes)


def _together(fs: Any, root: str, changes: Contents) -> None:
    for name in changes:
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
    with fs.transaction:
        for name, data in changes.items():
            with fs.open(os.path.join(root, name), "wb") as file:
                file.write(data)


def _durable() -> Any:
    from durably.filesystem import DurableFileSystem

    return DurableFileSystem()


def _own() -> Any:
    return _module("fsspec.implementations.local").LocalFileSystem(auto_mkdir=True)


def _module(name: str) -> Any:
    return importlib.import_module(name)


_IS_THERE = importlib.util.find_spec("fsspec") is not None


_PRODUCT = (
    Workload("fsspec-pipe", replacing, piped, "fsspec-own-pipe", careless=piped_by_fsspec),
    Workload("fsspec-open", replacing, opened, "fsspec-own-pipe", careless=piped_by_fsspec),
    Workload("fsspec-append", growing, appended, "fsspec-own-append", careless=appended_by_fsspec),
    Workload("fsspec-tree", planting, piped, "fsspec-own-tree", careless=piped_by_fsspec),
    Workload("fsspec-move", replacing, moved, "fsspec-own-move", careless=moved_by_fsspec),
    Workload("fsspec-transaction", changing, transaction, "fsspec-own-transaction", recover=recover),
    Workload("fsspec-pipe-many", replacing_many, piped_many, "fsspec-own-pipe-many"),
    Workload("fsspec-put-many", replacing_many, put_many, "fsspec-own-pipe-many"),
)
_CONTROLS = (
    Workload("fsspec-own-pipe", replacing, piped_by_fsspec, expects=WHOLE | KEPT),
    Workload("fsspec-own-append", growing, appended_by_fsspec, expects=WHOLE | KEPT),
    Workload("fsspec-own-tree", planting, piped_by_fsspec, expects=WHOLE | KEPT),
    Workload("fsspec-own-move", replacing, moved_by_fsspec, expects=WHOLE | KEPT),
    Workload("fsspec-own-transaction", changing, transaction_by_fsspec, expects=WHOLE),
    Workload("fsspec-own-pipe-many", replacing_many, piped_many_by_fsspec, expects=WHOLE | KEPT),
)
PRODUCT = _PRODUCT if _IS_THERE else ()
CONTROLS = _CONTROLS if _IS_THERE else ()
