"""Whole directories: the tree is the old one or the new one, never a mix of both."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

import durably
from durably._system.native.linux import RENAME_EXCHANGE, renameat2, syncfs

from ..workload import KEPT, WHOLE, Workload

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..session import Session, Writer

    Contents = Mapping[str, bytes]

_FILES = 8
_SIZES = (100, 4096, 5000, 70_000)


def exchanging(session: Session, writer: Writer) -> None:
    """Save two directories again and again; each time other files are in them."""
    for number in range(session.rounds // 3):
        session.save_tree(f"tree{number % 2}", _contents(session), writer)


def making(session: Session, writer: Writer) -> None:
    """Save new directories only."""
    for number in range(session.rounds // 3):
        session.save_tree(f"tree{number}", _contents(session), writer)


def _contents(session: Session) -> dict[str, bytes]:
    names = [f"{where}file{number}" for where in ("", "part/", "part/deep/") for number in range(_FILES)]
    return {
        name: session.content(session.random.choice(_SIZES))
        for name in session.random.sample(names, session.random.randint(2, _FILES))
    }


def swapped(path: str, contents: Contents) -> None:
    """`staged_directory`, durable."""
    with durably.staged_directory(path) as directory:
        _fill(os.fspath(directory), contents)


def swapped_consistent(path: str, contents: Contents) -> None:
    """`staged_directory`, whole after a cut, but perhaps old."""
    with durably.staged_directory(path, durability="consistent") as directory:
        _fill(os.fspath(directory), contents)


def swapped_kept(path: str, contents: Contents) -> None:
    """`staged_directory`, with the old directory kept, and removed by its caller."""
    kept = os.path.join(os.path.dirname(os.path.dirname(path)), "kept")
    shutil.rmtree(kept, ignore_errors=True)
    with durably.staged_directory(path, keep_old=kept) as directory:
        _fill(os.fspath(directory), contents)
    shutil.rmtree(kept, ignore_errors=True)


def moved_away(root: str) -> None:
    """What remains to its user after a crash: to move away an old directory that was to be kept."""
    for found in durably.sweep(root, older_than=0):
        if "was to be kept" in found.reason:
            shutil.rmtree(found.path)


def copied(path: str, contents: Contents) -> None:
    """`staged_directory`, begun with a copy of the old one, whose files are replaced."""
    with durably.staged_directory(path, start_from="copy") as directory:
        for place, _, files in os.walk(directory):
            for name in files:
                if os.path.relpath(os.path.join(place, name), directory) not in contents:
                    os.unlink(os.path.join(place, name))
        _fill(os.fspath(directory), contents)


def linked(path: str, contents: Contents) -> None:
    """`staged_directory`, behind a symbolic link."""
    with durably.staged_directory(path, fallback="symlink") as directory:
        _fill(os.fspath(directory), contents)


def unflushed(path: str, contents: Contents) -> None:
    """Exchange a tree that was not flushed; then the directory above it is."""
    staged = _staged(path, contents)
    _exchange(staged, path)
    _fsync_directory(path)
    shutil.rmtree(staged, ignore_errors=True)


def linked_unflushed(path: str, contents: Contents) -> None:
    """Lead a link to a tree that was not flushed; then the directory above it is."""
    staged, link = _staged(path, contents), f"{path}.part"
    old = os.readlink(path) if os.path.islink(path) else None
    os.symlink(os.path.basename(staged), link)
    os.replace(link, path)
    _fsync_directory(path)
    if old is not None:
        shutil.rmtree(os.path.join(os.path.dirname(path), old), ignore_errors=True)


def removed_first(path: str, contents: Contents) -> None:
    """Flush the tree, exchange it, and remove the old one; the directory above is never flushed."""
    staged = _staged(path, contents)
    above = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        syncfs(above)
    finally:
        os.close(above)
    _exchange(staged, path)
    shutil.rmtree(staged, ignore_errors=True)


def in_place(path: str, contents: Contents) -> None:
    """Remove the old tree, and write the new one there."""
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path)
    _fill(path, contents)
    _fsync_directory(path)


def _staged(path: str, contents: Contents) -> str:
    staged = tempfile.mkdtemp(prefix=".durably-wrong-", dir=os.path.dirname(path))
    _fill(staged, contents)
    return staged


def _exchange(staged: str, path: str) -> None:
    if not os.path.lexists(path):
        os.rename(staged, path)
        return
    renameat2(-100, staged, -100, path, RENAME_EXCHANGE)


def _fill(directory: str, contents: Contents) -> None:
    for name, data in contents.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


def _fsync_directory(path: str) -> None:
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


PRODUCT = (
    Workload("directory", exchanging, swapped, "directory-unflushed", careless=unflushed),
    Workload("directory-new", making, swapped, "directory-new-unflushed", careless=unflushed),
    Workload("directory-kept", exchanging, swapped_kept, "directory-unflushed", recover=moved_away),
    Workload("directory-copied", exchanging, copied, "directory-unflushed"),
    Workload("directory-consistent", exchanging, swapped_consistent, "directory-unflushed", durable=False),
    Workload("directory-linked", exchanging, linked, "directory-linked-unflushed", careless=linked_unflushed),
)
CONTROLS = (
    Workload("directory-unflushed", exchanging, unflushed, expects=WHOLE),
    Workload("directory-new-unflushed", making, unflushed, expects=WHOLE),
    Workload("directory-removed-first", exchanging, removed_first, expects=WHOLE | KEPT),
    Workload("directory-linked-unflushed", exchanging, linked_unflushed, expects=WHOLE),
    Workload("directory-in-place", exchanging, in_place, expects=WHOLE | KEPT),
)
