"""Every entry point, what it may meet, and what must hold afterwards: saved, or refused without a trace."""

from __future__ import annotations

import errno
import os
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import durably
import entry_points
from entry_points import NEW, OLD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from durably import Receipt

_PAGE = "page"


class Case(NamedTuple):
    """``save(target, options)`` saves `NEW`; ``content(old)`` is what the target then holds."""

    name: str
    state: str
    save: Callable[[Path, Mapping[str, Any]], Receipt | None]
    content: Callable[[bytes | None], bytes]
    takes_options: bool = True
    tree: bool = False
    """Whether the target is a directory."""


class Outcome(NamedTuple):
    """What one case came to. ``refused``: the error, or ""; ``wrong``: what must not be."""

    case: Case
    receipt: Receipt | None
    refused: str
    wrong: str


def _new(_: bytes | None) -> bytes:
    return NEW


def _by_entry_point(entry_point: entry_points.EntryPoint, path: Path, options: Mapping[str, Any]) -> Receipt:
    return entry_point.save(path, NEW, **options)


def _batch(path: Path, _: Mapping[str, Any]) -> None:
    with durably.Batch() as batch:
        batch.write_bytes(path, NEW)


def _transaction(path: Path, _: Mapping[str, Any]) -> None:
    with durably.Transaction(path.parent) as txn:
        txn.write_bytes(path.name, NEW)


def _directory(path: Path, _: Mapping[str, Any]) -> Receipt | None:
    staged = durably.staged_directory(path)
    with staged as directory:
        (directory / _PAGE).write_bytes(NEW)
    return staged.receipt


def _cases() -> Iterator[Case]:
    for entry_point, state in entry_points.CASES:
        yield Case(entry_point.name, state, partial(_by_entry_point, entry_point), entry_point.content)
    for state in ("new", "replaced"):
        yield Case("Batch", state, _batch, _new, takes_options=False)
        yield Case("Transaction", state, _transaction, _new, takes_options=False)
        yield Case("staged_directory", state, _directory, _new, takes_options=False, tree=True)


CASES = tuple(_cases())


def prepare(case: Case, target: Path) -> None:
    """Only what the case is to meet lies in the directory."""
    for entry in target.parent.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if case.state == "replaced":
        if case.tree:
            target.mkdir()
        _file(case, target).write_bytes(OLD)


def attempt(case: Case, target: Path, options: Mapping[str, Any]) -> Outcome:
    """Save, and look at the disk."""
    old = OLD if case.state == "replaced" else None
    beside = set(os.listdir(target.parent)) - {target.name}
    try:
        receipt, refused = case.save(target, options), ""
    except OSError as error:
        receipt, refused = None, f"{type(error).__name__} {errno.errorcode.get(error.errno or 0, '')}".strip()
    now, wanted = _content(_file(case, target)), old if refused else case.content(old)
    left = set(os.listdir(target.parent)) - {target.name} - beside
    # A directory that had to be a symbolic link to one of its versions keeps that version beside it.
    left -= {os.path.basename(os.path.realpath(target))}
    wrong = "content" if now != wanted else f"left over: {sorted(left)}" if left else ""
    return Outcome(case, receipt, refused, wrong)


def _file(case: Case, target: Path) -> Path:
    return target / _PAGE if case.tree else target


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
