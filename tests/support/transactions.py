"""A transaction that does everything, and what its root may hold after whatever goes wrong."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

import durably
from durably._system import temp_names
from durably.testing import use
from entry_points import LINUX, POSIX, Way
from fakes import FakeMacOS, FakeWindows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from durably._system.syscalls import Syscalls

    Tree = dict[str, bytes]

MACOS = Way("macos", "darwin", FakeMacOS)
WINDOWS = Way("windows", "win32", FakeWindows)
WAYS = (LINUX, POSIX, MACOS, WINDOWS)
JOURNAL = temp_names.JOURNAL


class NoLinks(FakeMacOS):
    """A file system without hard links, where files can change places."""

    def __init__(self) -> None:
        super().__init__()
        self.link = self._no_link

    @staticmethod
    def _no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


NO_LINKS = Way("no links", "darwin", NoLinks)


class Scenario(NamedTuple):
    """What a transaction does, and the root before and after."""

    name: str
    before: Tree
    act: Callable[[durably.Transaction], None]
    after: Tree

    def lay(self, root: Path) -> None:
        """Make the root hold what it is to hold before, and nothing else."""
        if root.exists():
            shutil.rmtree(root)
        root.mkdir(mode=0o755)
        for name, content in self.before.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)

    def run(self, root: Path, **options: object) -> durably.Transaction:
        """Commit it."""
        transaction = durably.Transaction(root, **options)  # type: ignore[arg-type] # of any name
        with transaction as txn:
            self.act(txn)
        return transaction


def _everything(txn: durably.Transaction) -> None:
    txn.write_bytes("a", b"new a")
    txn.write_text("sub/b", "new b")
    with txn.open("c", "wb") as file:
        file.write(b"new c")
    txn.remove("d")
    txn.rename("e", "sub/f")
    txn.write_bytes("new/x/y", b"new y")
    txn.write_bytes("new/z", b"new z")


def _replacing(txn: durably.Transaction) -> None:
    txn.write_bytes("a", b"new a")
    with txn.open("sub/b", "ab") as file:
        file.write(b" and more")
    txn.remove("d")


def _staged(txn: durably.Transaction) -> None:
    with txn.staged_path("sub/b") as path:
        path.write_bytes(b"staged b")
    with txn.staged_path("new/p") as path:
        path.write_bytes(b"staged p")


def _swapping(txn: durably.Transaction) -> None:
    txn.rename("a", "t")
    txn.rename("sub/b", "a")
    txn.rename("t", "sub/b")


BEFORE = {"a": b"old a", "sub/b": b"old b", "d": b"old d", "e": b"old e", "sub/kept": b"kept"}
EVERYTHING = Scenario(
    "everything",
    BEFORE,
    _everything,
    {
        "a": b"new a",
        "c": b"new c",
        "new/x/y": b"new y",
        "new/z": b"new z",
        "sub/b": b"new b",
        "sub/f": b"old e",
        "sub/kept": b"kept",
    },
)
REPLACING = Scenario(
    "replacing",
    BEFORE,
    _replacing,
    {"a": b"new a", "sub/b": b"old b and more", "e": b"old e", "sub/kept": b"kept"},
)
STAGED = Scenario("staged paths", BEFORE, _staged, {**BEFORE, "sub/b": b"staged b", "new/p": b"staged p"})
SWAPPING = Scenario("swapping", BEFORE, _swapping, {**BEFORE, "a": b"old b", "sub/b": b"old a"})
ONE = Scenario("one", BEFORE, lambda txn: txn.write_bytes("a", b"new a"), {**BEFORE, "a": b"new a"})
ONE_REMOVED = Scenario(
    "one removed", BEFORE, lambda txn: txn.remove("d"), {k: v for k, v in BEFORE.items() if k != "d"}
)
ONE_TREE = Scenario(
    "one tree", BEFORE, lambda txn: txn.write_bytes("n/o", b"new o"), {**BEFORE, "n/o": b"new o"}
)
SCENARIOS = (EVERYTHING, REPLACING, STAGED, SWAPPING, ONE, ONE_REMOVED, ONE_TREE)


def held(root: Path) -> Tree:
    """The files below the root but durably's own, by their paths."""
    found = {}
    for above, _, names in os.walk(root):
        for name in names:
            path = os.path.join(above, name)
            relative = os.path.relpath(path, root).replace(os.sep, "/")
            if not any(is_ours(part) for part in relative.split("/")):
                with open(path, "rb") as file:
                    found[relative] = file.read()
    return found


def ours(root: Path) -> list[str]:
    """What durably has left below the root: temporaries, the journal, a lock."""
    return sorted(
        os.path.relpath(os.path.join(above, name), root)
        for above, directories, names in os.walk(root)
        for name in (*directories, *names)
        if is_ours(name)
    )


def is_ours(name: str) -> bool:
    return temp_names.parse(name) is not None or name in (temp_names.JOURNAL, temp_names.LOCK)


def directories(root: Path) -> set[str]:
    """The directories below the root but durably's own."""
    found = {
        os.path.relpath(os.path.join(above, name), root)
        for above, below, _ in os.walk(root)
        for name in below
    }
    return {path for path in found if not any(map(is_ours, path.split(os.sep)))}


def sweep_all(root: Path) -> None:
    """Sweep the root and what is below it."""
    for above, _, _ in os.walk(root):
        durably.sweep(above, older_than=0)


def recover(
    root: Path, way: Way = LINUX, base: Syscalls | None = None
) -> durably._transaction.recover.Recovered:  # type: ignore[name-defined]
    """Recover with a table that does not fail."""
    with use(base or way.base(), way.system):
        return durably.recover(root)
