"""Every call of every save fails once, and for ever, with each errno that it can give.

Whatever fails: the target is whole, nothing lies beside it that is not named, no descriptor stays
open, and the error or the receipt says what the target holds.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest

import doors
import durably
import trees
from capabilities import needs_linux, needs_proc
from doors import (
    CASES,
    LEVELS,
    LINUX,
    MAIN,
    MAIN_CASES,
    NEW,
    RENAMED,
    TRANSACTED_CASES,
    WAYS,
    Door,
    Way,
    attempt,
    prepare,
    read,
    shown,
)
from durably import NotDurableError, OutcomeUnknownError, Receipt, TornError, UnsupportedError
from durably._receipts import Record
from durably._system.syscalls import Syscalls
from durably.testing import ERRORS, Call, FailingSyscalls, every_failure, use

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [needs_linux, needs_proc]

ACL = "system.posix_acl_access"
NO_ID = 0xFFFFFFFF


def acl(*, group: int) -> bytes:
    """user::rw- user:1234:rw- mask::rw- other::---, and the owning group; the mode shows the mask."""
    entries = [(1, 6, NO_ID), (2, 6, 1234), (4, group, NO_ID), (16, 6, NO_ID), (32, 0, NO_ID)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACL_VALUE = acl(group=4)
ACL_WITHOUT_GROUP = acl(group=0)
_CHANGES = ("write", "ftruncate", "fchmod", "fchown", "setxattr", "removexattr")


class NoRoom(Syscalls):
    """A directory that may not be written."""

    def __init__(self) -> None:
        super().__init__()
        self.open = self._open

    @staticmethod
    def _open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        creates = flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE
        if creates and dir_fd is not None and os.readlink(f"/proc/self/fd/{dir_fd}") != doors.SPARE:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return os.open(path, flags, mode, dir_fd=dir_fd)


COVERING = [
    (door, state, way, LEVELS[(number + shift) % 3])
    for number, (door, state) in enumerate(CASES)
    for shift, way in enumerate(WAYS)
]
THOROUGH = [(door, state, LINUX, level) for door in MAIN for state in door.states for level in LEVELS] + [
    (door, state, LINUX, LEVELS[number % 3]) for number, (door, state) in enumerate(TRANSACTED_CASES)
]


def dressed(path: Path, state: str, *, with_acl: bool = False) -> bytes | None:
    """What `prepare` makes, with metadata that a new file does not have by itself."""
    old = prepare(path, state)
    if old is not None:
        os.setxattr(path, "user.note", b"kept")
        if os.geteuid() == 0:
            os.chown(path, 1234, 5678)
        path.chmod(0o640)
        if with_acl:
            os.setxattr(path, ACL, ACL_VALUE)
    return old


class Turn:
    """What was on disk before one attempt, and the rules for what is there afterwards."""

    def __init__(
        self, door: Door, path: Path, old: bytes | None, table: FailingSyscalls, level: str, way: Way
    ) -> None:
        self.path = path
        self.table = table
        self.level = level
        self.way = way
        self.carries = True
        self.old = old
        self.new = door.content(old)
        self.together = door.together
        self.flushes_names = level == "durable" or (door.together and level == "consistent")
        self.before = path.stat() if old is not None else None
        self.attributes = _attributes(path) if old is not None else {}
        self.open = doors.descriptors()

    def check(self, receipt: Receipt | None, error: Exception | None) -> None:
        told = f"{self.table.failed} with {errno.errorcode[self.table.error]}: {error!r}, {receipt}"
        content = read(self.path)
        assert content in (self.old, self.new), told
        left, named = doors.beside(self.path), doors.named_leftovers(error, receipt)
        # Where nothing can be opened any more, a transaction names what it could not look for.
        assert left == named or (self.together and self.table.forever and left <= named), told
        assert doors.descriptors() == self.open, told
        if error is None or isinstance(error, NotDurableError):
            self._check_published(receipt, error, content, told)
        else:
            self._check_unchanged(error, told)

    def _check_unchanged(self, error: Exception, told: str) -> None:
        assert isinstance(error, OSError), told
        if not isinstance(error, UnsupportedError):
            assert type(error).__module__ == "builtins", told
            assert error.errno == self.table.error, told
        assert error.filename == str(self.path) or self.together, told
        if self.before is None:
            assert not self.path.exists(), told
            return
        now = self.path.stat()
        for what in ("st_ino", "st_size", "st_mtime_ns", "st_mode", "st_uid", "st_gid"):
            assert getattr(now, what) == getattr(self.before, what), told
        assert _attributes(self.path) == self.attributes, told

    def _check_published(
        self, receipt: Receipt | None, error: Exception | None, content: bytes | None, told: str
    ) -> None:
        assert content == self.new, told
        if isinstance(error, NotDurableError):
            assert error.errno == self.table.error, told
            assert error.path == str(self.path), told
            assert error.errno != errno.EINVAL, told  # "no flush for directories here" is no failure
            assert self.flushes_names, told
            if self.together and error.receipt is None:
                return
            receipt = error.receipt
        assert receipt is not None, told
        assert (receipt.path, receipt.size) == (str(self.path), len(self.new)), told
        assert receipt.replaced == (self.old is not None), told
        assert not receipt.in_place, told
        self._check_flushes(receipt, error, told)
        if self.before is not None and self.carries:
            self._check_metadata(receipt, told)

    def _check_flushes(self, receipt: Receipt, error: Exception | None, told: str) -> None:
        before, after = self._flushes()
        assert bool(before) == (self.level != "none"), told
        assert bool({"fsync", "syncfs"} & set(receipt.steps)) == (self.level != "none"), told
        if self.flushes_names and error is None:
            assert ("fsync directory" in receipt.steps) == bool(after), told
            assert ("fsync directory" in receipt.skipped) == (not after), told
        else:
            assert not after, told
            assert "fsync directory" not in receipt.steps, told

    def _flushes(self) -> tuple[list[str], list[str]]:
        """The flushes that worked, of the whole content before the target got it, and afterwards."""
        done = _done(self.table)
        moves = [at for at, call in enumerate(done) if _moves_to(call, self.path.name)]
        assert len(moves) == 1, done
        writes = [at for at, call in enumerate(done) if call.name in _CHANGES]
        written = max(writes, default=0)
        flushes = [(at, call.name) for at, call in enumerate(done) if call.name in ("fsync", "syncfs")]
        before = [name for at, name in flushes if written < at < moves[0]]
        return before, [name for at, name in flushes if at > moves[0]]

    def _check_metadata(self, receipt: Receipt, told: str) -> None:
        assert self.before is not None
        now = self.path.stat()
        attributes = _attributes(self.path)
        lost = set(receipt.lost)
        assert ("owner" in lost) == (now.st_uid != self.before.st_uid), told
        assert ("group" in lost) == (now.st_gid != self.before.st_gid), told
        if self.way.system == "linux":
            carried = self.attributes
            if "group" in lost and ACL in carried:
                carried = {**carried, ACL: ACL_WITHOUT_GROUP}
            gone = {_lost_name(key) for key in carried if attributes.get(key) != carried[key]}
            if "xattrs" not in lost:
                assert gone == lost - {"owner", "group"}, told
        mode, old = stat.S_IMODE(now.st_mode), stat.S_IMODE(self.before.st_mode)
        if mode != old and not (ACL in attributes and "acl" not in lost):
            assert {"group", "acl", "xattrs"} & lost, told
            assert mode & 0o707 == old & 0o707, told
            assert mode >> 3 & ~mode & 0o7 == 0, told


def _attributes(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def _lost_name(attribute: str) -> str:
    return "acl" if attribute == ACL else f"xattr:{attribute}"


def _done(table: FailingSyscalls) -> list[Call]:
    """The calls that were not made to fail."""
    failed = table.record[table.at - 1] if table.at else None
    return [
        call
        for number, call in enumerate(table.record, 1)
        if number != table.at
        and not (table.forever and number > table.at and failed is not None and call.name == failed.name)
    ]


def _moves_to(call: Call, name: str) -> bool:
    at = {"replace": 1, "link": 1, "renameat2": 3}.get(call.name)
    return at is not None and call.arguments[at] == name


@pytest.mark.parametrize(("door", "state", "way", "level"), COVERING + THOROUGH, ids=shown)
def test_one_call_fails(door: Door, state: str, way: Way, level: str, path: Path) -> None:
    for table in every_failure(system=way.system, base=way.base()):
        old = dressed(path, state)
        turn = Turn(door, path, old, table, level, way)
        turn.check(*attempt(door.save, path, NEW, durability=level))


@pytest.mark.parametrize("metadata", ["preserve", "strict", "fresh"])
@pytest.mark.parametrize("door", MAIN, ids=shown)
def test_with_an_acl(door: Door, metadata: str, path: Path) -> None:
    for table in every_failure():
        old = dressed(path, "replaced", with_acl=True)
        turn = Turn(door, path, old, table, "durable", LINUX)
        receipt, error = attempt(door.save, path, NEW, metadata=metadata)
        if metadata == "strict" and receipt is not None:
            assert receipt.lost == ()
        turn.carries = metadata != "fresh"
        turn.check(receipt, error)


@pytest.mark.parametrize(("door", "state"), MAIN_CASES, ids=shown)
def test_with_permissions(door: Door, state: str, path: Path) -> None:
    for table in every_failure():
        turn = Turn(door, path, prepare(path, state), table, "durable", LINUX)
        turn.carries = False
        receipt, error = attempt(door.save, path, NEW, permissions=0o2640)
        turn.check(receipt, error)
        if receipt is not None or isinstance(error, NotDurableError):
            assert stat.S_IMODE(path.stat().st_mode) == 0o2640


@pytest.mark.parametrize("door", MAIN, ids=shown)
def test_directories_on_the_way(door: Door, path: Path) -> None:
    """With ``make_parents``: a failed save takes back the directories that it made."""
    # Not EACCES, which is answered by another way to open the directory: that one is not there.
    for table in every_failure({**ERRORS, "open": (errno.ENOSPC, errno.EMFILE, errno.EIO)}):
        prepare(path, "new")
        target = path / "a" / "b" / "target"
        open_before = doors.descriptors()
        receipt, error = attempt(door.save, target, NEW, make_parents=True)
        told = f"{table.failed}: {error!r}, {receipt}"
        left = doors.named_leftovers(error, receipt)
        if isinstance(error, (type(None), NotDurableError)):
            assert read(target) == NEW, told
            assert doors.beside(target) == left, told
        else:
            assert isinstance(error, OSError), told
            assert not target.exists(), told
            assert (error.errno, error.filename) == (table.error, str(target)), told
            if table.failed is None or table.failed.name not in ("rmdir", "unlink", "stat", "listdir"):
                assert left or not path.exists(), told
        assert doors.descriptors() == open_before, told


@pytest.mark.parametrize(("door", "state"), MAIN_CASES, ids=shown)
def test_early_write_out(door: Door, state: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written out early fails, and the old content that is copied does not fit."""
    monkeypatch.setattr("durably._file.stream._EARLY", 4096)
    monkeypatch.setattr("durably._file.content._EARLY", 4096)
    for table in every_failure():
        turn = Turn(door, path, dressed(path, state), table, "durable", LINUX)
        turn.check(*attempt(door.save, path, NEW))


# Each public way to save, and a door of each list that goes through it; what saves whole directories is
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
    known = {door.name for door in (*doors.DOORS, *doors.BATCHED, *doors.TRANSACTED)}
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
@pytest.mark.parametrize(("door", "state"), RENAMED, ids=shown)
def test_the_answer_to_the_rename_is_lost(door: Door, state: str, arrives: bool, path: Path) -> None:
    old = prepare(path, state)
    with use(Lost(arrives=arrives)):
        receipt, error = attempt(door.save, path, NEW)
    assert read(path) == (NEW if arrives else old)
    assert (receipt is not None) == arrives
    assert getattr(error, "errno", None) == (None if arrives else errno.EIO)
    assert not doors.beside(path)


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize(("door", "state"), RENAMED, ids=shown)
def test_and_the_target_cannot_be_looked_at(door: Door, state: str, arrives: bool, path: Path) -> None:
    old = prepare(path, state)
    before = doors.descriptors()
    with use(Lost(arrives=arrives, lookup=errno.ESTALE)):
        _, error = attempt(door.save, path, NEW)
    assert isinstance(error, OutcomeUnknownError), repr(error)
    assert error.path == str(path)
    assert read(path) == (NEW if arrives else old)
    assert doors.beside(path) == doors.named_leftovers(error, None)
    assert doors.descriptors() == before


IN_PLACE = [
    (door, base)
    for door in doors.DOORS
    for base in (doors.NoRename, NoRoom)
    # staged_path needs a private directory, and one cannot be made where nothing can.
    if "replaced" in door.states and not (base is NoRoom and door.name.startswith("staged_path"))
]


@pytest.mark.parametrize(("door", "base"), IN_PLACE, ids=shown)
def test_a_rewrite_in_place(door: Door, base: Callable[[], Syscalls], path: Path) -> None:
    level = LEVELS[doors.DOORS.index(door) % 3]
    for table in every_failure(base=base()):
        old = dressed(path, "replaced")
        inode = path.stat().st_ino
        open_before = doors.descriptors()
        receipt, error = attempt(door.save, path, NEW, durability=level, allow_in_place=True)
        told = f"{table.failed}: {error!r}, {receipt}"
        assert path.stat().st_ino == inode, told
        left = doors.beside(path) | doors.retention_reason()
        assert left == doors.named_leftovers(error, receipt), told
        assert doors.descriptors() == open_before, told
        if error is None:
            assert receipt is not None
            assert read(path) == door.content(old), told
            assert (receipt.in_place, receipt.durability) == (True, "none"), told
        elif isinstance(error, TornError):
            assert error.staged is not None
            assert {*error.staged.split(os.sep)} & left, told
            assert doors.whole(error.staged) == door.content(old), told
        else:
            assert isinstance(error, OSError), told
            assert read(path) == old, told
            assert error.filename == str(path), told
        for entry in doors.retention_reason():
            os.unlink(f"{doors.SPARE}/{entry}")
