"""Transactions: after a cut and a recovery, all of the files are old, or all are new."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import durably

from ..workload import WHOLE, Workload

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import EllipsisType

    from ..session import Session, Writer

    Contents = Mapping[str, bytes | None]

_NAMES = ("one", "two", "three", "sub/one", "sub/two", "deep/er/one")
_MANY = tuple(f"{place}{number}" for place in ("", "sub/") for number in range(12))
_SIZES = (8, 100, 4096, 5000, 70_000)


def changing(session: Session, writer: Writer) -> None:
    """Write, replace and remove a few files in the root and below it."""
    _change(session, writer, _NAMES, session.rounds // 3)


def changing_many(session: Session, writer: Writer) -> None:
    """So many that they are flushed together, where the machine is quiet enough."""
    _change(session, writer, _MANY, session.rounds // 6)


def _change(session: Session, writer: Writer, names: tuple[str, ...], turns: int) -> None:
    held: dict[str, bytes | None] = dict.fromkeys(names)
    for _ in range(turns):
        changes: dict[str, bytes | None] = {}
        for name in session.random.sample(names, session.random.randint(2, len(names))):
            gone = held[name] is not None and session.random.random() < 1 / 4
            changes[name] = None if gone else session.content(session.random.choice(_SIZES))
        after = {**held, **changes}
        if session.save_all(after, partial(writer, session.root, changes), together=True):
            held = after


def transaction(root: str, changes: Contents) -> None:
    """`Transaction`, durable."""
    _transaction(root, changes)


def transaction_consistent(root: str, changes: Contents) -> None:
    """`Transaction`, all or none after a cut, but perhaps none."""
    _transaction(root, changes, durability="consistent")


def _transaction(root: str, changes: Contents, durability: str | EllipsisType = "durable") -> None:
    with durably.Transaction(root, durability=durability) as txn:  # type: ignore[arg-type] # a level
        for name, data in changes.items():
            if data is not None:
                txn.write_bytes(name, data)
            elif txn.exists(name):
                txn.remove(name)


# Controls: the same by hand.


def without_journal(root: str, changes: Contents) -> None:
    """Flush every file and every directory, and write down nothing."""
    _stage(root, changes)
    _publish(root, changes)


def journal_unflushed(root: str, changes: Contents) -> None:
    """Write a journal, rename it into place, and flush neither it nor the root before going on."""
    _stage(root, changes)
    with open(os.path.join(root, "journal.part"), "wb") as file:
        file.write(json.dumps(sorted(changes)).encode())
    os.replace(os.path.join(root, "journal.part"), os.path.join(root, "journal"))
    _publish(root, changes)
    os.unlink(os.path.join(root, "journal"))


def replay(root: str) -> None:
    """The recovery of `journal_unflushed`."""
    try:
        with open(os.path.join(root, "journal"), "rb") as file:
            names = json.load(file)
    except (FileNotFoundError, ValueError):
        return
    for name in names:
        path = os.path.join(root, name)
        if os.path.exists(f"{path}.part"):
            os.replace(f"{path}.part", path)
        elif os.path.exists(f"{path}.gone") and os.path.exists(path):
            os.unlink(path)
    os.unlink(os.path.join(root, "journal"))


def _stage(root: str, changes: Contents) -> None:
    for name, data in changes.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.part" if data is not None else f"{path}.gone", "wb") as file:
            file.write(data or b"")
            file.flush()
            os.fsync(file.fileno())


def _publish(root: str, changes: Contents) -> None:
    for name, data in changes.items():
        path = os.path.join(root, name)
        if data is not None:
            os.replace(f"{path}.part", path)
        else:
            os.unlink(f"{path}.gone")
            if os.path.exists(path):
                os.unlink(path)
        fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


PRODUCT = (
    Workload("transaction", changing, transaction, "transaction-without-journal", recover=durably.recover),
    Workload(
        "transaction-many",
        changing_many,
        transaction,
        "transaction-many-without-journal",
        recover=durably.recover,
    ),
    Workload(
        "transaction-consistent",
        changing,
        transaction_consistent,
        "transaction-without-journal",
        durable=False,
        recover=durably.recover,
    ),
)
CONTROLS = (
    Workload("transaction-without-journal", changing, without_journal, expects=WHOLE),
    Workload("transaction-many-without-journal", changing_many, without_journal, expects=WHOLE),
    Workload("transaction-journal-unflushed", changing, journal_unflushed, expects=WHOLE, recover=replay),
)
