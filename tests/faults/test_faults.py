"""Every call of every save fails once, and for ever, with each errno that it can give.

Whatever fails: the target is whole, nothing lies beside it that is not named, no descriptor stays
open, and the error or the receipt says what the target holds.
"""

from __future__ import annotations

import errno
import os
import stat
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest

import durably
import entry_points
import trees
from capabilities import needs_linux, needs_proc
from durably import NotDurableError, OutcomeUnknownError, Receipt, TornError
from durably._receipts import Record
from durably._system.syscalls import Syscalls
from durably.testing import ERRORS, every_failure, use
from entry_points import (
    CASES,
    LEVELS,
    LINUX,
    MAIN,
    MAIN_CASES,
    NEW,
    RENAMED,
    TRANSACTED_CASES,
    WAYS,
    EntryPoint,
    Way,
    attempt,
    prepare,
    read,
    shown,
)
from fault_turns import Turn, dressed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [needs_linux, needs_proc]


class NoRoom(Syscalls):
    """A directory that may not be written."""

    def __init__(self) -> None:
        super().__init__()
        self.open = self._open

    @staticmethod
    def _open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        creates = flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE
        if creates and dir_fd is not None and os.readlink(f"/proc/self/fd/{dir_fd}") != entry_points.FALLBACK:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return os.open(path, flags, mode, dir_fd=dir_fd)


COVERING = [
    (entry_point, state, way, LEVELS[(number + shift) % 3])
    for number, (entry_point, state) in enumerate(CASES)
    for shift, way in enumerate(WAYS)
]
THOROUGH = [
    (entry_point, state, LINUX, level)
    for entry_point in MAIN
    for state in entry_point.states
    for level in LEVELS
] + [
    (entry_point, state, LINUX, LEVELS[number % 3])
    for number, (entry_point, state) in enumerate(TRANSACTED_CASES)
]


@pytest.mark.parametrize(("entry_point", "state", "way", "level"), COVERING + THOROUGH, ids=shown)
def test_one_call_fails(entry_point: EntryPoint, state: str, way: Way, level: str, path: Path) -> None:
    for table in every_failure(system=way.system, base=way.base()):
        old = dressed(path, state)
        turn = Turn(entry_point, path, old, table, level, way)
        turn.check(*attempt(entry_point.save, path, NEW, durability=level))


@pytest.mark.parametrize("metadata", ["preserve", "strict", "fresh"])
@pytest.mark.parametrize("entry_point", MAIN, ids=shown)
def test_with_an_acl(entry_point: EntryPoint, metadata: str, path: Path) -> None:
    for table in every_failure():
        old = dressed(path, "replaced", with_acl=True)
        turn = Turn(entry_point, path, old, table, "durable", LINUX)
        receipt, error = attempt(entry_point.save, path, NEW, metadata=metadata)
        if metadata == "strict" and receipt is not None:
            assert receipt.lost == ()
        turn.carries = metadata != "fresh"
        turn.check(receipt, error)


@pytest.mark.parametrize(("entry_point", "state"), MAIN_CASES, ids=shown)
def test_with_permissions(entry_point: EntryPoint, state: str, path: Path) -> None:
    for table in every_failure():
        turn = Turn(entry_point, path, prepare(path, state), table, "durable", LINUX)
        turn.carries = False
        receipt, error = attempt(entry_point.save, path, NEW, permissions=0o2640)
        turn.check(receipt, error)
        if receipt is not None or isinstance(error, NotDurableError):
            assert stat.S_IMODE(path.stat().st_mode) == 0o2640


@pytest.mark.parametrize("entry_point", MAIN, ids=shown)
def test_directories_on_the_way(entry_point: EntryPoint, path: Path) -> None:
    """With ``make_parents``: a failed save takes back the directories that it made."""
    # Not EACCES, which is answered by another way to open the directory: that one is not there.
    for table in every_failure({**ERRORS, "open": (errno.ENOSPC, errno.EMFILE, errno.EIO)}):
        prepare(path, "new")
        target = path / "a" / "b" / "target"
        open_before = entry_points.descriptors()
        receipt, error = attempt(entry_point.save, target, NEW, make_parents=True)
        told = f"{table.failed}: {error!r}, {receipt}"
        left = entry_points.named_leftovers(error, receipt)
        if isinstance(error, (type(None), NotDurableError)):
            assert read(target) == NEW, told
            assert entry_points.beside(target) == left, told
        else:
            assert isinstance(error, OSError), told
            assert not target.exists(), told
            assert (error.errno, error.filename) == (table.error, str(target)), told
            if table.failed is None or table.failed.name not in ("rmdir", "unlink", "stat", "listdir"):
                assert left or not path.exists(), told
        assert entry_points.descriptors() == open_before, told


@pytest.mark.parametrize(("entry_point", "state"), MAIN_CASES, ids=shown)
def test_early_write_out(
    entry_point: EntryPoint, state: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written out early fails, and the old content that is copied does not fit."""
    monkeypatch.setattr("durably._file.stream._EARLY", 4096)
    monkeypatch.setattr("durably._file.content._EARLY", 4096)
    for table in every_failure():
        turn = Turn(entry_point, path, dressed(path, state), table, "durable", LINUX)
        turn.check(*attempt(entry_point.save, path, NEW))


# Each public way to save, and an entry point of each list that goes through it; what saves directories is
# met by the same in test_staged_directory_faults.py, what saves several files in test_batch.py,
# test_transaction.py and test_recover.py, and stores in test_stores_faults.py.
GOES_THROUGH = {
    "AtomicWriter": "commit by hand",
    "Batch.open": "batch open",
    "Batch.write_bytes": "batch",
    "Transaction.open": "transaction open",
    "Transaction.staged_path": "transaction staged",
    "Transaction.write_bytes": "transaction",
    "atomic_write": "atomic_write",
    "open": "open wb",
    "staged_directory": "replaced",
    "staged_path": "staged_path",
    "write_bytes": "write_bytes",
    "write_text": "write_text",
}
# The first two are write_bytes with other arguments; the rest change no content.
_NO_WAYS = {"Batch.write_text", "Transaction.write_text", "probe", "recover", "sweep"}
_NO_SAVERS = (Exception, StrEnum, Receipt, Record)


def test_every_public_way_to_save_goes_through_the_lists() -> None:
    ways = set()
    for name in durably.__all__:
        member = getattr(durably, name)
        if name in ("Batch", "Transaction"):
            methods = {each for each in dir(member) if each.startswith(("open", "write_", "staged_"))}
            ways |= {f"{name}.{each}" for each in methods}
        elif not (isinstance(member, type) and issubclass(member, _NO_SAVERS)):
            ways.add(name)
    assert ways - _NO_WAYS == set(GOES_THROUGH)
    known = {
        entry_point.name
        for entry_point in (*entry_points.ENTRY_POINTS, *entry_points.BATCHED, *entry_points.TRANSACTED)
    }
    assert set(GOES_THROUGH.values()) <= known | {way.name for way in trees.WAYS}


class Lost(Syscalls):
    """A network mount where the answer to the rename is lost, or the request."""

    def __init__(self, *, arrives: bool, lookup: int = 0) -> None:
        super().__init__()
        self.arrives = arrives
        self.lookup = lookup
        self.lost = False
        self.replace = self._lose(os.replace)
        self.renameat2 = self._lose(self.renameat2)
        self.stat = self._stat

    def _lose(self, move: Callable[..., None]) -> Callable[..., None]:
        def moved(*arguments: Any, **keywords: Any) -> None:
            if arguments[-1 if "src_dir_fd" in keywords else 3] == "target":
                self.lost = True
                if self.arrives:
                    move(*arguments, **keywords)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            move(*arguments, **keywords)

        return moved

    def _stat(self, *arguments: Any, **keywords: Any) -> os.stat_result:
        if self.lost and self.lookup:
            raise OSError(self.lookup, os.strerror(self.lookup))
        return os.stat(*arguments, **keywords)


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize(("entry_point", "state"), RENAMED, ids=shown)
def test_the_answer_to_the_rename_is_lost(
    entry_point: EntryPoint, state: str, arrives: bool, path: Path
) -> None:
    old = prepare(path, state)
    with use(Lost(arrives=arrives)):
        receipt, error = attempt(entry_point.save, path, NEW)
    assert read(path) == (NEW if arrives else old)
    assert (receipt is not None) == arrives
    assert getattr(error, "errno", None) == (None if arrives else errno.EIO)
    assert not entry_points.beside(path)


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize(("entry_point", "state"), RENAMED, ids=shown)
def test_and_the_target_cannot_be_looked_at(
    entry_point: EntryPoint, state: str, arrives: bool, path: Path
) -> None:
    old = prepare(path, state)
    before = entry_points.descriptors()
    with use(Lost(arrives=arrives, lookup=errno.ESTALE)):
        _, error = attempt(entry_point.save, path, NEW)
    assert isinstance(error, OutcomeUnknownError), repr(error)
    assert error.path == str(path)
    assert read(path) == (NEW if arrives else old)
    assert entry_points.beside(path) == entry_points.named_leftovers(error, None)
    assert entry_points.descriptors() == before


IN_PLACE = [
    (entry_point, base)
    for entry_point in entry_points.ENTRY_POINTS
    for base in (entry_points.NoRename, NoRoom)
    # staged_path needs a private directory, and one cannot be made where nothing can.
    if "replaced" in entry_point.states
    and not (base is NoRoom and entry_point.name.startswith("staged_path"))
]


@pytest.mark.parametrize(("entry_point", "base"), IN_PLACE, ids=shown)
def test_a_rewrite_in_place(entry_point: EntryPoint, base: Callable[[], Syscalls], path: Path) -> None:
    level = LEVELS[entry_points.ENTRY_POINTS.index(entry_point) % 3]
    for table in every_failure(base=base()):
        old = dressed(path, "replaced")
        inode = path.stat().st_ino
        open_before = entry_points.descriptors()
        receipt, error = attempt(entry_point.save, path, NEW, durability=level, allow_in_place=True)
        told = f"{table.failed}: {error!r}, {receipt}"
        assert path.stat().st_ino == inode, told
        left = entry_points.beside(path) | entry_points.in_fallback_dir()
        assert left == entry_points.named_leftovers(error, receipt), told
        assert entry_points.descriptors() == open_before, told
        if error is None:
            assert receipt is not None
            assert read(path) == entry_point.content(old), told
            assert (receipt.in_place, receipt.durability) == (True, "none"), told
        elif isinstance(error, TornError):
            assert error.staged is not None
            assert {*error.staged.split(os.sep)} & left, told
            assert entry_points.whole(error.staged) == entry_point.content(old), told
        else:
            assert isinstance(error, OSError), told
            assert read(path) == old, told
            assert error.filename == str(path), told
        for entry in entry_points.in_fallback_dir():
            os.unlink(f"{entry_points.FALLBACK}/{entry}")
