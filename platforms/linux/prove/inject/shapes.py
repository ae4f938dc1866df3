"""What a way to save leaves at its target: a file, a directory, a link to one, or files below a root."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, NamedTuple

import durably
from durably._system import temp_names

from ..powercut import system

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Files = Mapping[str, bytes]

OLD = b"old content\n" * 500
NEW = b"what is saved\n" * 700
OLD_FILES = {"a": OLD, "part/b": b"old too\n", "gone": b"old only\n"}
NEW_FILES = {"a": NEW, "part/b": b"new too\n", "made/c": b"new only\n"}


class Shape(NamedTuple):
    """One kind of target.

    ``old``, ``new``: what is there before and after, as ``read`` tells it; None: nothing. ``lay``: makes
    what the old save left. ``beside``: the names of what lies beside the target and belongs to it.
    ``recover``: what a program does after a crash before it looks and sweeps. All take the target's path.
    """

    old: bytes
    new: bytes
    lay: Callable[[str], None]
    read: Callable[[str], bytes | None]
    beside: Callable[[str], tuple[str, ...]]
    recover: Callable[[str], object]

    def owns(self, place: str, target: str, path: str) -> bool:
        """Whether a path below a directory is the target, or belongs to it, or lies in either.

        What durably makes for a while does not belong to it, wherever it lies.
        """
        for top in (target, *self.beside(os.path.join(place, target))):
            below = path[len(top) + 1 :].split("/")
            if path == top or (path.startswith(f"{top}/") and not any(map(_is_ours, below))):
                return True
        return False


def _is_ours(name: str) -> bool:
    return temp_names.parse(name) is not None or name in (temp_names.JOURNAL, temp_names.LOCK)


def fill(directory: str, files: Files) -> None:
    """Write files below a directory."""
    for name, data in files.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


def told(files: Files) -> bytes:
    """Several files as one content."""
    return b"".join(b"%s %d\n%s" % (name.encode(), len(files[name]), files[name]) for name in sorted(files))


def _read_file(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _read_files(path: str) -> bytes | None:
    found: dict[str, bytes] = {}
    for place, directories, files in os.walk(path):
        directories[:] = [name for name in directories if not _is_ours(name)]
        for name in files:
            if not _is_ours(name):
                with open(os.path.join(place, name), "rb") as file:
                    found[os.path.relpath(file.name, path)] = file.read()
    return told(found) if found else None


def _lay_file(path: str) -> None:
    with open(path, "wb") as file:
        file.write(OLD)


def _lay_directory(path: str) -> None:
    os.mkdir(path)
    fill(path, OLD_FILES)


def _lay_link(path: str) -> None:
    # A version is swept only once its maker is gone.
    system.wait(system.child(lambda: _lay_version(path)), "laying a version")


def _lay_version(path: str) -> None:
    with durably.staged_directory(path, durability="none", fallback="symlink") as directory:
        fill(os.fspath(directory), OLD_FILES)


def _nothing(_: str) -> tuple[str, ...]:
    return ()


def _kept(_: str) -> tuple[str, ...]:
    return ("kept",)


def _version(path: str) -> tuple[str, ...]:
    return (os.readlink(path),) if os.path.islink(path) else ()


def _move_away(path: str) -> None:
    """An old directory that was to be kept is not swept: it is for its user to move away."""
    for found in durably.sweep(os.path.dirname(path), older_than=0):
        if "was to be kept" in found.reason:
            shutil.rmtree(found.path)


_FILES = told(OLD_FILES), told(NEW_FILES)
FILE = Shape(OLD, NEW, _lay_file, _read_file, _nothing, _nothing)
DIRECTORY = Shape(*_FILES, _lay_directory, _read_files, _nothing, _nothing)
KEPT = DIRECTORY._replace(beside=_kept, recover=_move_away)
LINKED = Shape(*_FILES, _lay_link, _read_files, _version, _nothing)
ROOT = DIRECTORY._replace(recover=durably.recover)
