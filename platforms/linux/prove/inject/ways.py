"""Every public way to save, as something to make fail."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import durably

from ..powercut import system
from . import shapes
from .shapes import FILE, NEW_FILES, Shape

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Callable

    from durably import Receipt

OLD, NEW = shapes.OLD, shapes.NEW
_LARGE = NEW * 1000
MODE, OWNER, NOTE = 0o640, 12345, ("user.note", b"kept")
_BIND = 4096


class Way(NamedTuple):
    """One way to save.

    ``save(path)`` saves `content`. ``states``: what it can meet: "new": no file; "old". ``goes_on``:
    whether it appends. ``target``: of the file below the directory. ``level``: the durability that it
    asks for. ``carries``: whether the old file's owner, mode and attributes are to be kept.
    ``shape``: what it saves: a file, a directory ...
    ``in_place``: whether the target is a mount point, so that nothing is promised about it. ``discards``:
    whether the body raises, so that nothing may be saved.
    """

    name: str
    save: Callable[[str], Receipt | None]
    states: tuple[str, ...] = ("new", "old")
    goes_on: bool = False
    target: str = "target"
    link: str = ""
    level: str = "durable"
    carries: bool = True
    in_place: bool = False
    discards: bool = False
    data: bytes = NEW
    shape: Shape = FILE

    def content(self, state: str) -> bytes:
        """What the target holds after a save."""
        if self.shape is not FILE:
            return self.shape.new
        return OLD + self.data if self.goes_on and state == "old" else self.data


def _bytes(path: str, data: bytes = NEW, **options: Any) -> Receipt:
    return durably.write_bytes(path, data, **options)


def _text(path: str) -> Receipt:
    return durably.write_text(path, NEW.decode(), newline="")


def _recipe(path: str) -> Receipt:
    return durably.atomic_write(path, NEW.decode())


def _opened(path: str, *, mode: str, data: bytes = NEW, **options: Any) -> Receipt | None:
    writer = durably.open(path, mode, **options)
    with writer as file:
        for part in (data[:5000], data[5000:]):
            file.write(part if "b" in mode else part.decode())
        if "r" in mode:
            file.truncate()
    return writer.receipt


def _by_hand(path: str) -> Receipt:
    writer = durably.open(path, "wb")
    try:
        writer.file.write(NEW)
        return writer.commit()
    finally:
        writer.discard()


def _staged(path: str, **options: Any) -> Receipt | None:
    staged = durably.staged_path(path, **options)
    with staged as temporary, open(temporary, "wb") as file:
        file.write(NEW)
    return staged.receipt


def _piped(path: str) -> None:
    durable: Any = import_module("durably.filesystem")
    durable.DurableFileSystem().pipe(path, NEW)


def _through_fsspec(path: str) -> None:
    durable: Any = import_module("durably.filesystem")
    with durable.DurableFileSystem().open(path, "wb") as file:
        file.write(NEW)


class GivenUpError(Exception):
    """What the body of a save raises that is to be discarded."""


def _given_up(path: str) -> None:
    with durably.open(path, "wb") as file:
        file.write(NEW)
        raise GivenUpError


def _staged_given_up(path: str) -> None:
    with durably.staged_path(path) as temporary:
        temporary.write_bytes(NEW)
        raise GivenUpError


def _alone(batch: durably.Batch) -> Receipt:
    """The receipt of the only file of a batch. Raises what became of that file."""
    assert batch.receipt is not None
    for error in batch.receipt.failed.values():
        raise error
    return batch.receipt.saved[0]


def _batch(path: str, **options: Any) -> Receipt:
    batch = durably.Batch(**options)
    try:
        with batch:
            batch.write_bytes(path, NEW)
    except durably.BatchError:
        pass  # it is raised as that file's own
    return _alone(batch)


def _batch_opened(path: str) -> Receipt:
    batch = durably.Batch()
    try:
        with batch, batch.open(path, "wb") as file:
            file.write(NEW)
    except durably.BatchError:
        pass
    return _alone(batch)


def _batch_given_up(path: str) -> None:
    with durably.Batch() as batch:
        batch.write_bytes(path, NEW)
        raise GivenUpError


def _directory(path: str, *, keep: bool = False, **options: Any) -> Receipt | None:
    if keep:
        options["keep_old"] = os.path.join(os.path.dirname(path), "kept")
    staged = durably.staged_directory(path, **options)
    with staged as directory:
        for place, _, files in os.walk(directory, onerror=_fail) if "start_from" in options else ():
            for name in files:
                os.unlink(os.path.join(place, name))
        shapes.fill(os.fspath(directory), NEW_FILES)
    return staged.receipt


def _fail(error: OSError) -> None:
    raise error


def _directory_given_up(path: str) -> None:
    with durably.staged_directory(path) as directory:
        shapes.fill(os.fspath(directory), NEW_FILES)
        raise GivenUpError


def _transaction(path: str, **options: Any) -> Any:
    transaction = durably.Transaction(path, **options)
    with transaction as txn:
        _change(txn)
    return transaction.receipt


def _change(txn: durably.Transaction) -> None:
    txn.write_bytes("a", NEW_FILES["a"])
    with txn.open("part/b", "wb") as file:
        file.write(NEW_FILES["part/b"])
    with txn.staged_path("made/c") as temporary, open(temporary, "wb") as file:
        file.write(NEW_FILES["made/c"])
    if txn.exists("gone"):
        txn.remove("gone")


def _transaction_given_up(path: str) -> None:
    with durably.Transaction(path) as txn:
        _change(txn)
        raise GivenUpError


# They return no receipt, so that nothing says which metadata were lost.
_FSSPEC = (
    Way("DurableFileSystem pipe", _piped, carries=False),
    Way("DurableFileSystem open", _through_fsspec, carries=False),
)
WAYS = (
    Way("write_bytes", _bytes),
    Way("write_text", _text),
    Way("atomic_write", _recipe),
    Way("write_bytes consistent", partial(_bytes, durability="consistent"), level="consistent"),
    Way("write_bytes none", partial(_bytes, durability="none"), level="none"),
    Way("write_bytes fresh", partial(_bytes, metadata="fresh"), carries=False),
    Way("write_bytes strict", partial(_bytes, metadata="strict"), ("old",)),
    Way("write_bytes permissions", partial(_bytes, permissions=MODE)),
    Way("write_bytes large", partial(_bytes, data=_LARGE), data=_LARGE),
    Way("write_bytes create", partial(_bytes, overwrite=False), ("new",)),
    Way("write_bytes make_parents", partial(_bytes, make_parents=True), ("new",), target="a/b/target"),
    Way("write_bytes through a link", _bytes, link="link"),
    Way("write_bytes allow_in_place", partial(_bytes, allow_in_place=True), ("old",), in_place=True),
    Way("open w", partial(_opened, mode="w")),
    Way("open wb", partial(_opened, mode="wb")),
    Way("open wb unbuffered", partial(_opened, mode="wb", buffering=0)),
    Way("open w+b", partial(_opened, mode="w+b")),
    Way("open wb consistent", partial(_opened, mode="wb", durability="consistent"), level="consistent"),
    Way("open wb none", partial(_opened, mode="wb", durability="none"), level="none"),
    Way("open x", partial(_opened, mode="x"), ("new",)),
    Way(
        "open xb make_parents", partial(_opened, mode="xb", make_parents=True), ("new",), target="a/b/target"
    ),
    Way("open a", partial(_opened, mode="a"), goes_on=True),
    Way("open a+b", partial(_opened, mode="a+b"), goes_on=True),
    Way("open r+", partial(_opened, mode="r+"), ("old",)),
    Way("open r+b", partial(_opened, mode="r+b"), ("old",)),
    Way("open wb allow_in_place", partial(_opened, mode="wb", allow_in_place=True), ("old",), in_place=True),
    Way("commit by hand", _by_hand),
    Way("staged_path", _staged),
    Way("staged_path create", partial(_staged, overwrite=False), ("new",)),
    Way("staged_path make_parents", partial(_staged, make_parents=True), ("new",), target="a/b/target"),
    Way("staged_path allow_in_place", partial(_staged, allow_in_place=True), ("old",), in_place=True),
    Way("Batch", _batch),
    Way("Batch open", _batch_opened),
    Way("Batch create", partial(_batch, overwrite=False), ("new",)),
    Way("Batch consistent", partial(_batch, durability="consistent"), level="consistent"),
    Way("staged_directory", _directory, shape=shapes.DIRECTORY),
    Way("staged_directory create", partial(_directory, overwrite=False), ("new",), shape=shapes.DIRECTORY),
    Way("staged_directory keep_old", partial(_directory, keep=True), ("old",), shape=shapes.KEPT),
    Way("staged_directory copy", partial(_directory, start_from="copy"), ("old",), shape=shapes.DIRECTORY),
    Way("staged_directory fallback", partial(_directory, fallback="symlink"), shape=shapes.LINKED),
    Way("Transaction", _transaction, carries=False, shape=shapes.ROOT),
    Way(
        "Transaction consistent",
        partial(_transaction, durability="consistent"),
        ("old",),
        level="consistent",
        carries=False,
        shape=shapes.ROOT,
    ),
    *(_FSSPEC if find_spec("fsspec") else ()),
    Way("open discarded", _given_up, discards=True),
    Way("staged_path discarded", _staged_given_up, discards=True),
    Way("Batch discarded", _batch_given_up, discards=True),
    Way("staged_directory discarded", _directory_given_up, discards=True, shape=shapes.DIRECTORY),
    Way("Transaction discarded", _transaction_given_up, discards=True, shape=shapes.ROOT),
)


def prepare(way: Way, state: str, place: str) -> str:
    """Make an empty directory, with what is old in it if there is to be any. Returns the path to save."""
    os.mkdir(place)
    target = os.path.join(place, way.target)
    if state == "old":
        way.shape.lay(target)
    elif way.shape is shapes.ROOT:
        os.mkdir(target)
    if state == "old" and way.carries:
        os.chown(target, OWNER, OWNER)
        os.chmod(target, MODE)
        os.setxattr(target, *NOTE)
    if way.in_place:
        system.mount(target, target, "", _BIND)
    if not way.link:
        return target
    link = os.path.join(place, way.link)
    os.symlink(way.target, link)
    return link


def restore(way: Way, place: str) -> None:
    """Take back the mount of `prepare`."""
    if way.in_place:
        system.unmount(os.path.join(place, way.target))
