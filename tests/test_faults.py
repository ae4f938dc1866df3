"""Every call of every save fails once, and for ever, with each errno that it can give.

Whatever fails: the target is whole, nothing lies beside it that is not named, no descriptor stays
open, and the error or the receipt says what the target holds.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import doors
import durably
from capabilities import needs_linux, needs_proc
from doors import CASES, CREATORS, LEVELS, MAIN, NEW, OLD, Door, attempt, folder, prepare, read
from durably import NotDurableError, OutcomeUnknownError, Receipt, TornError, UnsupportedError, _names
from durably._syscalls import Syscalls
from durably.testing import Call, FailingSyscalls, every_failure, use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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
SPARE = "/var/tmp"


class NamedOnly(Syscalls):
    """A file system without O_TMPFILE."""

    def __init__(self) -> None:
        super().__init__()
        self.open = self._open

    @staticmethod
    def _open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return os.open(path, flags, mode, dir_fd=dir_fd)


class NoRename(Syscalls):
    """A target that is a mount point."""

    def __init__(self) -> None:
        super().__init__()
        self.replace = self._replace

    @staticmethod
    def _replace(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


class NoRoom(Syscalls):
    """A directory that may not be written."""

    def __init__(self) -> None:
        super().__init__()
        self.open = self._open

    @staticmethod
    def _open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        creates = flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE
        if creates and dir_fd is not None and os.readlink(f"/proc/self/fd/{dir_fd}") != SPARE:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return os.open(path, flags, mode, dir_fd=dir_fd)


class Way(NamedTuple):
    """A routine, and what the system beneath it is like."""

    name: str
    system: str
    base: Callable[[], Syscalls]


LINUX = Way("linux", "linux", Syscalls)
NAMED = Way("named", "linux", NamedOnly)
POSIX = Way("posix", "freebsd", Syscalls)
WAYS = (LINUX, NAMED, POSIX)
COVERING = [
    (door, state, way, LEVELS[(number + shift) % 3])
    for number, (door, state) in enumerate(CASES)
    for shift, way in enumerate(WAYS)
]
THOROUGH = [(door, state, LINUX, level) for door in MAIN for state in door.states for level in LEVELS]


def shown(value: Any) -> str | None:
    return value.name if isinstance(value, Way) else doors.name(value)


@pytest.fixture
def path() -> Iterator[Path]:
    with folder() as directory:
        yield directory / "target"


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
        self.before = path.stat() if old is not None else None
        self.attributes = _attributes(path) if old is not None else {}
        self.open = doors.descriptors()

    def check(self, receipt: Receipt | None, error: Exception | None) -> None:
        told = f"{self.table.failed} with {errno.errorcode[self.table.error]}: {error!r}, {receipt}"
        content = read(self.path)
        assert content in (self.old, self.new), told
        assert doors.beside(self.path) == doors.named_leftovers(error, receipt), told
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
        assert error.filename == str(self.path), told
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
            assert self.level == "durable", told
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
        if self.level == "durable" and error is None:
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
        writes = [at for at, call in enumerate(done) if call.name in ("write", "ftruncate", "fchmod", "setxattr")]
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
