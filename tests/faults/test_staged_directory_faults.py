"""A directory's save meets failing calls, kills and interrupts: a whole old or a whole new tree."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import durably
import entry_points
from capabilities import needs_linux, needs_posix, needs_proc
from durably import NotDurableError, OutcomeUnknownError, UnsupportedError
from durably._system.syscalls import Syscalls
from durably.testing import FailingSyscalls, every_failure, use
from entry_points import LEVELS, attempt, in_child
from interrupting import Interrupting
from interrupting import _lost as lost
from kills import Killing
from trees import LITTLE_OLD, WAYS, Tree, Way, seen, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from durably import Receipt

pytestmark = [needs_linux, needs_posix, needs_proc]

STRANGERS = {".durably-f-1-2-3-4-5.tmp", ".durably-notes.tmp", "data.tmp"}
EACH = [(way, LEVELS[number % 3]) for number, way in enumerate(WAYS)]
THOROUGH = [(way, level) for way in WAYS if way.name == "kept" for level in LEVELS]


# Each call fails.


def _check(way: Way, path: Path, old: Tree | None, level: str, table: FailingSyscalls, outcome: Any) -> None:
    receipt: Receipt | None
    receipt, error = outcome
    told = f"{table.failed} with {errno.errorcode[table.error]}: {error!r}, {receipt}"
    found = seen(path)
    assert found in (old, way.new), told
    if isinstance(error, NotDurableError):
        receipt = error.receipt
    kept = seen(path.with_name("kept"))
    left = way.beside(path) - {"kept"}
    assert left == entry_points.named_leftovers(error, receipt), told
    if error is None or isinstance(error, NotDurableError):
        assert found == way.new, told
        assert receipt is not None
        assert receipt.replaced == (old is not None), told
        assert receipt.size == sum(len(each) for each in way.new.values() if isinstance(each, bytes)), told
        if way.keeps and old is not None and kept is None:
            assert "keep_old" in receipt.skipped or isinstance(error, NotDurableError), told
            assert left, told
        assert kept in (None, old), told
        assert receipt.durability == "none" or error is None, told
        assert error is None or level != "none", told
    else:
        assert isinstance(error, OSError), told
        assert found == old, told
        assert kept is None, told
        assert error.filename == str(path), told
        if not isinstance(error, UnsupportedError):
            assert type(error).__module__ == "builtins", told
            assert error.errno == table.error, told
        assert "the target was not changed" in "".join(error.__notes__), told


@pytest.mark.parametrize(("way", "level"), EACH + THOROUGH, ids=shown)
def test_one_call_fails(way: Way, level: str, path: Path) -> None:
    for table in every_failure():
        with use(Syscalls()):
            old = way.prepare(path)
        before = entry_points.descriptors()
        outcome = attempt(way.save, path, durability=level)
        _check(way, path, old, level, table, outcome)
        assert entry_points.descriptors() == before, table.failed


# Killed at each call.


def _killed(way: Way, path: Path, level: str, at: int, *, after: bool) -> bool:
    child = os.fork()
    if child == 0:
        try:
            with use(Killing(at, Syscalls(), after=after)):
                way.save(path, durability=level)
            os._exit(0)
        finally:
            os._exit(3)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0


def _prepared(way: Way, path: Path) -> Tree | None:
    # In a process that is gone by the time of the sweep: the name of a version tells who made it.
    old = in_child(lambda: way.prepare(path))
    for stranger in STRANGERS:
        (path.parent / stranger).write_bytes(b"")
    return old


def _kill_at_each_call(way: Way, level: str, path: Path) -> None:
    number, found = 0, []
    while True:
        number += 1
        old = _prepared(way, path)
        if not _killed(way, path, level, number, after=False):
            break
        content = seen(path)
        assert content in (old, way.new), number
        found.append(content == way.new)
        _check_swept(way, path, content, number)
    assert found[0] is False
    assert found[-1] is True
    assert sorted(found) == found  # old, and from one call on new


def _check_swept(way: Way, path: Path, content: Tree | None, number: int) -> None:
    left = way.beside(path) - STRANGERS - {"kept"}
    swept = durably.sweep(path.parent, older_than=0)
    stay = {os.path.basename(each.path): each.reason for each in swept if not each.removed}
    if path.is_symlink():
        assert stay.pop(os.readlink(path)) == "a link leads to it", number
    in_use = {os.path.basename(os.path.realpath(path))}
    assert {os.path.basename(each.path) for each in swept} - in_use == left
    kept = seen(path.with_name("kept"))
    assert kept in (None, LITTLE_OLD)
    if stay:
        assert way.keeps
        assert all("was to be kept" in reason for reason in stay.values()), number
        assert kept is None
        assert content == way.new
        places = [path.parent / name for name in stay]
        assert LITTLE_OLD in [seen(each) for place in places for each in (place, place / path.name)], number
    assert kept or stay or not (way.keeps and way.old and content == way.new), number
    assert seen(path) == content, number
    assert way.beside(path) == STRANGERS | set(stay) | ({"kept"} if kept is not None else set()), number


@pytest.mark.parametrize(("way", "level"), EACH, ids=shown)
def test_killed_at_each_call(way: Way, level: str, path: Path) -> None:
    in_child(lambda: _kill_at_each_call(way, level, path))


# Interrupted at each call.


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("way", "level"), EACH, ids=shown)
def test_interrupted_at_each_call(way: Way, level: str, after: bool, path: Path) -> None:
    number, found = 0, set()
    while True:
        number += 1
        old = way.prepare(path)
        before = entry_points.descriptors()
        table = Interrupting(number, Syscalls(), after=after)
        try:
            with use(table):
                way.save(path, durability=level)
        except KeyboardInterrupt as interrupt:
            told = f"{'after' if after else 'before'} {table.record[number - 1]}"
            assert not hasattr(interrupt, "leftovers"), told
        else:
            assert len(table.record) < number, "swallowed"
            break
        content = seen(path)
        assert content in (old, way.new), told
        found.add(content == way.new)
        expected = {"kept"} if way.keeps and old is not None and content == way.new else set()
        assert way.beside(path) == expected, told
        opened = entry_points.descriptors() - before
        assert opened <= lost(table), told
        for fd in opened:
            os.close(fd)
    assert found == {False, True}


# The answer to the exchange is lost.


class Lost(Syscalls):
    """A mount where the answer to the rename of the target is lost, or the request."""

    def __init__(self, *, arrives: bool, lookup: int = 0) -> None:
        super().__init__()
        self.arrives = arrives
        self.lookup = lookup
        self.lost = False
        for name in ("renameat2", "replace"):
            setattr(self, name, self._lose(getattr(self, name)))
        self.stat = self._stat

    def _lose(self, move: Callable[..., None]) -> Callable[..., None]:
        def moved(*arguments: Any, **keywords: Any) -> None:
            if not self.lost and arguments[1 if "src_dir_fd" in keywords else 3] == "target":
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
@pytest.mark.parametrize("way", WAYS, ids=shown)
def test_the_answer_to_the_rename_is_lost(way: Way, arrives: bool, path: Path) -> None:
    old = way.prepare(path)
    with use(Lost(arrives=arrives)):
        receipt, error = attempt(way.save, path)
    assert seen(path) == (way.new if arrives else old)
    assert (receipt is not None) == arrives
    assert getattr(error, "errno", None) == (None if arrives else errno.EIO)
    assert way.beside(path) - {"kept"} == set()


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("way", WAYS, ids=shown)
def test_and_the_target_cannot_be_looked_at(way: Way, arrives: bool, path: Path) -> None:
    old = way.prepare(path)
    before = entry_points.descriptors()
    with use(Lost(arrives=arrives, lookup=errno.ESTALE)):
        _, error = attempt(way.save, path)
    assert isinstance(error, OutcomeUnknownError), repr(error)
    assert error.path == str(path)
    assert seen(path) == (way.new if arrives else old)
    in_use = {os.readlink(path)} if path.is_symlink() else set()
    assert way.beside(path) == entry_points.named_leftovers(error, None) - in_use
    assert entry_points.descriptors() == before
