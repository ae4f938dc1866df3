"""`durably.testing`: what a library author records and makes fail."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

import durably
from capabilities import needs_linux, needs_posix
from disk import NEW, OLD, names
from durably import NotDurableError, _commit, testing
from durably.testing import Call, FailingSyscalls, RecordingSyscalls, Syscalls, every_failure, use

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


def test_what_is_public() -> None:
    assert all(hasattr(testing, name) for name in testing.__all__)
    assert set(testing.__all__) >= {"RecordingSyscalls", "FailingSyscalls", "every_failure", "use"}


# Recording.


@needs_linux
def test_a_recording_is_the_course_of_a_save(target: Path) -> None:
    table = RecordingSyscalls()
    with use(table):
        durably.write_bytes(target, NEW)
    assert target.read_bytes() == NEW
    order = ["open", "write", "fsync", "replace", "fsync", "close"]
    rest = iter(table.names)
    assert all(name in rest for name in order), table.names
    written = next(call for call in table.record if call.name == "write")
    assert (written.arguments[1], written.keywords) == (NEW, {})


def test_a_call_reads_like_one() -> None:
    assert str(Call("open", ("a", 2), {"dir_fd": 3})) == "open('a', 2, dir_fd=3)"
    assert str(Call("close", (3,), {})) == "close(3)"


def test_nothing_is_recorded_after_the_block(target: Path) -> None:
    table = RecordingSyscalls()
    with use(table):
        pass
    durably.write_bytes(target, NEW)
    assert table.record == []


def test_sleeping_and_the_clock_are_not_recorded() -> None:
    table = RecordingSyscalls()
    table.sleep(0)
    table.clock()
    assert table.names == []


def test_a_table_over_another_calls_that_one(target: Path) -> None:
    class Counts(Syscalls):
        def __init__(self) -> None:
            super().__init__()
            self.flushes = 0
            self.fsync = self._fsync

        def _fsync(self, fd: int) -> None:
            self.flushes += 1

    base = Counts()
    table = RecordingSyscalls(base)
    with use(table):
        durably.write_bytes(target, NEW, durability="consistent")
    assert base.flushes == table.names.count("fsync") > 0


def test_every_thread_is_recorded(target: Path) -> None:
    table = RecordingSyscalls()
    with use(table):
        thread = threading.Thread(target=durably.write_bytes, args=(target, NEW))
        thread.start()
        thread.join()
    assert "write" in table.names


# The block.


def test_the_table_before_is_put_back_whatever_happens() -> None:
    durably.probe(".")
    before = _commit.routine()
    with pytest.raises(KeyError), use(RecordingSyscalls()):
        raise KeyError
    assert _commit.routine() is before


def test_blocks_nest(target: Path) -> None:
    outer, inner = RecordingSyscalls(), RecordingSyscalls()
    with use(outer):
        with use(inner):
            durably.write_bytes(target, NEW)
        assert outer.names == []
        durably.write_bytes(target, NEW)
    assert inner.names == outer.names


def test_a_block_before_the_first_save_of_a_process(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    monkeypatch.setattr(_commit, "_active", None)
    with use(RecordingSyscalls()):
        pass
    assert _commit._active is None or _commit._active.calls.__class__ is Syscalls
    durably.write_bytes(target, NEW)
    assert target.read_bytes() == NEW


@needs_posix
def test_another_systems_routine_can_be_used(target: Path) -> None:
    with use(RecordingSyscalls(), system="freebsd14"):
        receipt = durably.write_bytes(target, NEW)
        assert durably.probe(target).routine == "posix"
    assert target.read_bytes() == NEW
    assert receipt.durability == "none"


# Failing.


@needs_posix
def test_the_chosen_call_fails(target: Path) -> None:
    plain = FailingSyscalls()
    with use(plain):
        durably.write_bytes(target, OLD)
    assert plain.failed is None
    at = plain.names.index("write") + 1
    table = FailingSyscalls(at, errno.ENOSPC)
    with use(table), pytest.raises(OSError, match="injected") as caught:
        durably.write_bytes(target, NEW)
    assert caught.value.errno == errno.ENOSPC
    assert table.failed is not None
    assert table.failed.name == "write"
    assert len(table.names) >= at
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["file"]


def test_once_or_for_ever(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    for forever in (False, True):
        table = FailingSyscalls(2, errno.EIO, forever=forever)
        table.stat(tmp_path)
        with pytest.raises(OSError, match="injected"):
            table.stat(tmp_path)
        if forever:
            with pytest.raises(OSError, match="injected"):
                table.stat(tmp_path)
        else:
            table.stat(tmp_path)
        assert table.listdir(str(tmp_path)) == ["a"]
        assert table.failed == Call("stat", (tmp_path,), {})


def test_a_failing_close_has_closed(target: Path) -> None:
    descriptor = os.open(target, os.O_RDONLY)
    with pytest.raises(OSError, match="injected"):
        FailingSyscalls(1).close(descriptor)
    with pytest.raises(OSError) as caught:  # noqa: PT011 # Windows says it in other words
        os.fstat(descriptor)
    assert caught.value.errno == errno.EBADF


# Every failure.


@needs_posix
def test_every_call_is_made_to_fail(target: Path) -> None:
    turns: list[FailingSyscalls] = []
    seen = set()
    for table in every_failure():
        turns.append(table)
        target.write_bytes(OLD)
        try:
            durably.write_bytes(target, NEW, durability="none")
        except NotDurableError:
            assert target.read_bytes() == NEW
        except OSError:
            assert target.read_bytes() in (OLD, NEW), table.failed
        else:
            assert target.read_bytes() == NEW, table.failed
        for entry in set(names(target.parent)) - {"file"}:
            os.unlink(target.parent / entry)
        if table.failed is not None:
            seen.add(table.failed.name)
    assert turns[0].failed is None
    assert all(turn.failed is not None for turn in turns[1:])
    assert seen == set(turns[0].names)
    expected = sum(2 * len(testing.ERRORS.get(name, (0, 0))) for name in turns[0].names)
    assert len(turns) == 1 + expected


def test_the_errors_can_be_chosen(target: Path) -> None:
    chosen = {"write": (errno.EIO,)}
    failed = []
    for table in every_failure(chosen):
        try:
            durably.write_bytes(target, NEW, durability="none")
        except OSError:
            failed.append((table.error, table.forever))
    assert (errno.EIO, False) in failed
    assert set(failed) <= {(errno.EIO, False), (errno.EIO, True), (errno.EACCES, False), (errno.EACCES, True)}


def test_leaving_the_loop_early_puts_the_table_back(target: Path) -> None:
    before = _commit.routine()
    failures = every_failure()
    next(failures)
    assert _commit.routine() is not before
    failures.close()  # type: ignore[attr-defined]
    assert _commit.routine() is before


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    def save_settings(path: Path) -> None:
        with durably.open(path) as file:
            file.write("new")

    count = 0
    for table in every_failure():
        count += 1
        path = tmp_path / "settings.json"
        path.write_text("old")
        try:
            save_settings(path)
        except OSError:
            pass
        assert path.read_text() in ("old", "new"), table.failed
        for entry in os.scandir(tmp_path):
            os.unlink(entry)
    assert count > 10
