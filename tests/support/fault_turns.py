"""One turn of a test in which every call fails: what is there before, and what must be there after."""

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import TYPE_CHECKING

import entry_points
from durably import NotDurableError, Receipt, UnsupportedError
from entry_points import EntryPoint, Way, prepare, read

if TYPE_CHECKING:
    from pathlib import Path

    from durably.testing import Call, FailingSyscalls

ACL = "system.posix_acl_access"


NO_ID = 0xFFFFFFFF


def acl(*, group: int) -> bytes:
    """user::rw- user:1234:rw- mask::rw- other::---, and the owning group; the mode shows the mask."""
    entries = [(1, 6, NO_ID), (2, 6, 1234), (4, group, NO_ID), (16, 6, NO_ID), (32, 0, NO_ID)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACL_VALUE = acl(group=4)


ACL_WITHOUT_GROUP = acl(group=0)


_CHANGES = ("write", "ftruncate", "fchmod", "fchown", "setxattr", "removexattr")


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
        self,
        entry_point: EntryPoint,
        path: Path,
        old: bytes | None,
        table: FailingSyscalls,
        level: str,
        way: Way,
    ) -> None:
        self.path = path
        self.table = table
        self.level = level
        self.way = way
        self.carries = True
        self.old = old
        self.new = entry_point.content(old)
        self.together = entry_point.together
        self.flushes_names = level == "durable" or (entry_point.together and level == "consistent")
        self.before = path.stat() if old is not None else None
        self.attributes = _attributes(path) if old is not None else {}
        self.open = entry_points.descriptors()

    def check(self, receipt: Receipt | None, error: Exception | None) -> None:
        told = f"{self.table.failed} with {errno.errorcode[self.table.error]}: {error!r}, {receipt}"
        content = read(self.path)
        assert content in (self.old, self.new), told
        left, named = entry_points.beside(self.path), entry_points.named_leftovers(error, receipt)
        # Where nothing can be opened any more, a transaction names what it could not look for.
        assert left == named or (self.together and self.table.forever and left <= named), told
        assert entry_points.descriptors() == self.open, told
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
