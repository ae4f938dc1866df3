"""Trees for the tests of `durably.staged_directory`: made, compared, and saved in every way."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

import durably

if TYPE_CHECKING:
    from pathlib import Path

    from durably import Receipt

Tree = dict[str, bytes | str | None]
"""What a tree holds: bytes of files, text of links, None for directories."""

OLD: Tree = {"a": b"old\n" * 300, "part": None, "part/b": b"old too\n", "part/deep": None, "part/deep/c": b""}
NEW: Tree = {"a": b"new\n" * 500, "part": None, "part/d": b"new too\n", "way": "part/d"}
# For the tests that save hundreds of times.
LITTLE_OLD: Tree = {"a": b"old\n", "part": None, "part/b": b""}
LITTLE_NEW: Tree = {"a": b"new\n", "part": None, "way": "a"}


def grow(directory: Path, tree: Tree) -> None:
    """Make a tree in a directory."""
    for name, content in tree.items():
        path = directory / name
        if content is None:
            path.mkdir()
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)


def seen(directory: Path) -> Tree | None:
    """What a tree holds, by way of one descriptor; None where there is none."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        found: Tree = {}
        _look(fd, "", found)
        return found
    finally:
        os.close(fd)


def _look(directory: int, prefix: str, found: Tree) -> None:
    for name in os.listdir(directory):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            found[prefix + name] = None
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
            try:
                _look(inner, f"{prefix}{name}/", found)
            finally:
                os.close(inner)
        elif stat.S_ISLNK(status.st_mode):
            found[prefix + name] = os.readlink(name, dir_fd=directory)
        elif stat.S_ISREG(status.st_mode):
            fd = os.open(name, os.O_RDONLY, dir_fd=directory)
            with open(fd, "rb") as file:
                found[prefix + name] = file.read()


class Way(NamedTuple):
    """One way to save a directory, and what it meets."""

    name: str
    old: bool = False
    keeps: bool = False
    options: dict[str, Any] = {}  # noqa: RUF012 # a field of a tuple

    def prepare(self, path: Path) -> Tree | None:
        """An empty directory but for an old tree, if there is to be one."""
        for entry in os.scandir(path.parent):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry)
            else:
                os.unlink(entry)
        if not self.old:
            return None
        if self.links:
            self._save(path, LITTLE_OLD, fallback="symlink", durability="none")
        else:
            path.mkdir()
            grow(path, LITTLE_OLD)
        return LITTLE_OLD

    @property
    def links(self) -> bool:
        return "fallback" in self.options

    @property
    def copies(self) -> bool:
        return "start_from" in self.options

    @property
    def new(self) -> Tree:
        return {**LITTLE_OLD, **LITTLE_NEW} if self.copies and self.old else LITTLE_NEW

    def save(self, path: Path, **options: Any) -> Receipt:
        """Save the new tree there."""
        kept = {"keep_old": path.with_name("kept")} if self.keeps else {}
        return self._save(path, LITTLE_NEW, **self.options, **kept, **options)

    def _save(self, path: Path, tree: Tree, **options: Any) -> Receipt:
        staged = durably.staged_directory(path, **options)
        with staged as directory:
            for name in tree:
                there = directory / name
                if self.copies and there.exists():
                    shutil.rmtree(there) if there.is_dir() else there.unlink()
            grow(directory, tree if not self.copies else {**self._gone(directory), **tree})
        assert staged.receipt is not None
        return staged.receipt

    def _gone(self, directory: Path) -> Tree:
        """What was removed of the copy, as the new tree holds it as well."""
        return {name: LITTLE_OLD[name] for name in LITTLE_OLD if self.old and not (directory / name).exists()}

    def beside(self, path: Path) -> set[str]:
        """What lies beside the target and the version that it leads to."""
        expected = {path.name}
        if path.is_symlink():
            expected.add(os.readlink(path).partition("/")[0])
        return set(os.listdir(path.parent)) - expected


WAYS = (
    Way("new"),
    Way("created", options={"overwrite": False}),
    Way("replaced", old=True),
    Way("kept", old=True, keeps=True),
    Way("nothing to keep", keeps=True),
    Way("copied", old=True, options={"start_from": "copy"}),
    Way("nothing to copy", options={"start_from": "copy"}),
    Way("linked", options={"fallback": "symlink"}),
    Way("linked create", options={"fallback": "symlink", "overwrite": False}),
    Way("linked replaced", old=True, options={"fallback": "symlink"}),
    Way("linked kept", old=True, keeps=True, options={"fallback": "symlink"}),
)


def shown(value: Any) -> str | None:
    """How a parameter of a test is shown."""
    return value.name.replace(" ", "-") if isinstance(value, Way) else None
