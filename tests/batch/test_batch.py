"""Batch: many files, each atomic by itself, that become durable together."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import stat
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import durably
import entry_points
from capabilities import (
    needs_file_system,
    needs_linux,
    needs_mount,
    needs_posix,
    needs_proc,
    needs_unprivileged_user,
)
from disk import Refusing, as_nobody, mode, names, run, untouched
from durably import Batch, BatchError, NotDurableError
from durably._system.syscalls import Syscalls
from durably.testing import RecordingSyscalls, every_failure, use
from entry_points import (
    LEVELS,
    LINUX,
    NEW,
    OLD,
    WAYS,
    EntryPoint,
    Way,
    attempt,
    in_child,
    prepare,
    read,
    shown,
)
from fakes import FakeMacOS, FakeWindows
from fault_turns import Turn, dressed
from interrupting import Interrupting, _lost
from kill_states import STRANGERS, _check_left, _prepared
from kills import Killing, killed
from mounts import mounted

if TYPE_CHECKING:
    from pathlib import Path

resource = pytest.importorskip("resource", reason="needs a POSIX system")
pytestmark = [needs_posix, needs_linux, needs_proc]

MANY = 40


ONE = entry_points.BATCHED
CASES = [(entry_point, state) for entry_point in ONE for state in entry_point.states]


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have few files flushed together, also in memory."""
    monkeypatch.setattr("durably._batch.staging.OPEN_FILES", 3)
    monkeypatch.setattr("durably._batch.flush_group._WORTHWHILE", 1)
    monkeypatch.setattr("durably._commit.linux.strategy.Linux.common_flush", lambda self, directory: "8:1")
    monkeypatch.setattr("durably._commit.linux.strategy.Linux.is_quiet", lambda self, files, size: True)


class Plain(Syscalls):
    """Flushes that work, for the tests that look at names only."""

    def __init__(self) -> None:
        super().__init__()
        self.syncfs = self.fsync = lambda fd: None


# What it does.


def test_new_and_replaced_files(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(OLD)
    (tmp_path / "old").chmod(0o640)
    with Batch() as batch:
        batch.write_bytes(tmp_path / "old", NEW)
        batch.write_text(tmp_path / "text", "grüße\n", encoding="latin-1")
        with batch.open(tmp_path / "stream", "w") as file:
            file.write("a")
            file.write("b")
        with batch.open(tmp_path / "old2", "xb") as binary:
            binary.write(memoryview(b"123"))
        assert {name for name in names(tmp_path) if not entry_points.is_temporary(name)} == {"old"}
        assert (tmp_path / "old").read_bytes() == OLD
    assert names(tmp_path) == ["old", "old2", "stream", "text"]
    assert (tmp_path / "old").read_bytes() == NEW
    assert mode(tmp_path / "old") == 0o640
    assert (tmp_path / "text").read_bytes() == "grüße\n".encode("latin-1")
    assert (tmp_path / "stream").read_text() == "ab"
    assert batch.receipt is not None
    assert {os.path.basename(each.path): (each.size, each.replaced) for each in batch.receipt.saved} == {
        "old": (len(NEW), True),
        "text": (6, False),
        "stream": (2, False),
        "old2": (3, False),
    }
    assert not batch.receipt.failed
    assert not batch.receipt.unsaved


def test_nothing_at_all() -> None:
    with use(table := RecordingSyscalls()), Batch() as batch:
        pass
    assert table.names == []
    assert batch.receipt is not None
    assert list(batch.receipt.saved) == []


def test_an_exception_throws_all_away(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(OLD)
    with pytest.raises(ZeroDivisionError), Batch(make_parents=True) as batch:
        batch.write_bytes(tmp_path / "old", NEW)
        batch.write_bytes(tmp_path / "a" / "b" / "new", NEW)
        with batch.open(tmp_path / "stream", "w") as file:
            file.write("x")
            raise ZeroDivisionError
    assert names(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == OLD
    assert batch.receipt is not None
    assert not batch.receipt.saved
    assert set(batch.receipt.unsaved) == {str(tmp_path / "old"), str(tmp_path / "a" / "b" / "new")}


def test_an_exception_in_a_files_own_block_throws_that_one_away(tmp_path: Path) -> None:
    with Batch() as batch:
        batch.write_bytes(tmp_path / "one", NEW)
        with pytest.raises(ZeroDivisionError), batch.open(tmp_path / "two", "w"):
            raise ZeroDivisionError
        writer = batch.open(tmp_path / "three", "w")
        writer.file.write("x")
        writer.discard()
        writer.discard()
        with batch.open(tmp_path / "two", "w") as file:
            file.write("again")
    assert names(tmp_path) == ["one", "two"]
    assert (tmp_path / "two").read_text() == "again"


def test_appending_and_updating(tmp_path: Path) -> None:
    for name in ("a", "r"):
        (tmp_path / name).write_bytes(b"0123")
    with Batch() as batch:
        with batch.open(tmp_path / "a", "a") as file:
            file.write("45")
        with batch.open(tmp_path / "r", "r+b") as file:
            file.write(b"xx")
        with pytest.raises(FileNotFoundError):
            batch.open(tmp_path / "none", "r+")
        batch._group.failed.clear()
    assert (tmp_path / "a").read_bytes() == b"012345"
    assert (tmp_path / "r").read_bytes() == b"xx23"


def test_two_paths_to_one_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "target").write_bytes(OLD)
    with Batch() as batch:
        batch.write_bytes(tmp_path / "link", NEW)
        for again in ("target", "link", f"../{tmp_path.name}/target"):
            with pytest.raises(ValueError, match="already"):
                batch.write_bytes(tmp_path / again, b"again")
            with pytest.raises(ValueError, match="already"):
                batch.open(tmp_path / again, "w")
    assert names(tmp_path) == ["link", "target"]
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == NEW


def test_relative_paths_are_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with Batch() as batch:
        for directory in ("one", "two", "one"):
            monkeypatch.chdir(tmp_path / directory)
            batch.write_bytes(f"./{len(batch._group.places.all)}", directory.encode())
            batch.write_bytes(f"plain{len(os.listdir())}", directory.encode())
        monkeypatch.chdir("/")
    assert {path.read_text() for path in (tmp_path / "one").iterdir()} == {"one"}
    assert {path.read_text() for path in (tmp_path / "two").iterdir()} == {"two"}
    assert not any(map(entry_points.is_temporary, names(tmp_path / "one") + names(tmp_path / "two")))


def test_a_directory_that_is_replaced_meanwhile(tmp_path: Path) -> None:
    """What was staged goes where it was staged; what comes later, to where the path leads now."""
    place = tmp_path / "place"
    place.mkdir()
    with Batch() as batch:
        batch.write_bytes(place / "before", NEW)
        place.rename(tmp_path / "moved")
        place.mkdir()
        batch.write_bytes(place / "after", NEW)
    assert names(tmp_path / "moved") == ["before"]
    assert names(place) == ["after"]


def test_options_of_the_batch_and_of_a_file(tmp_path: Path) -> None:
    with Batch(permissions=0o604, durability="none") as batch:
        batch.write_bytes(tmp_path / "a", NEW)
        batch.write_bytes(tmp_path / "b", NEW, permissions=0o640, durability="durable")
    assert (mode(tmp_path / "a"), mode(tmp_path / "b")) == (0o604, 0o640)
    assert batch.receipt is not None
    a, b = batch.receipt.saved
    assert a.steps == ("create", "write", "rename")
    assert b.steps == ("create", "write", "fsync", "rename", "fsync directory")


@pytest.mark.parametrize("level", LEVELS)
def test_the_flushes(level: Any, tmp_path: Path, shared: None) -> None:
    with use(table := RecordingSyscalls(Plain())), Batch(durability=level) as batch:
        for number in range(5):
            batch.write_bytes(tmp_path / str(number), NEW)
    done = Counter(table.names)
    assert (done["syncfs"], done["fsync"]) == {"none": (0, 0), "consistent": (1, 0), "durable": (1, 1)}[level]
    assert done["replace"] == 5
    calls = table.names
    if level != "none":
        assert len(calls) - calls[::-1].index("write") < calls.index("syncfs") < calls.index("replace")
    if level == "durable":
        assert calls.index("fsync") > len(calls) - 1 - calls[::-1].index("replace")
    assert batch.receipt is not None
    flushes = {"none": (), "consistent": ("syncfs",), "durable": ("syncfs",)}[level]
    settled = ("fsync directory",) if level == "durable" else ()
    assert {receipt.steps for receipt in batch.receipt.saved} == {
        ("create", "write", *flushes, "rename", *settled)
    }


@pytest.mark.parametrize("place", ["few", "busy", "unknown"])
def test_each_file_is_flushed_where_one_flush_is_no_proof_or_slower(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from durably._commit.linux.strategy import Linux

    monkeypatch.setattr(Linux, "common_flush", lambda self, directory: "" if place == "unknown" else "8:1")
    monkeypatch.setattr(Linux, "is_quiet", lambda self, files, size: place != "busy")
    count = 15 if place == "few" else 100
    with use(table := RecordingSyscalls(Plain())), Batch() as batch:
        for number in range(count):
            batch.write_bytes(tmp_path / str(number), NEW)
    done = Counter(table.names)
    assert (done["syncfs"], done["fsync"]) == (0, count + 1)
    assert "fsync" in table.names[: table.names.index("replace")]
    assert batch.receipt is not None
    assert not any("syncfs" in receipt.steps for receipt in batch.receipt.saved)


@pytest.mark.parametrize(
    ("dirty", "files", "size", "quiet"),
    [
        (0, 16, 0, True),
        (60, 100, 0, True),
        (70, 100, 0, False),
        (70, 200, 0, True),
        (70, 100, 10 << 20, True),
    ],
)
def test_whether_others_have_much_to_write(
    dirty: int, files: int, size: int, quiet: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from durably._commit.linux import strategy

    memory = tmp_path / "meminfo"
    memory.write_text(f"MemTotal: 24000000 kB\nDirty:  {dirty << 10} kB\nWriteback: 0 kB\n")
    monkeypatch.setattr(strategy, "_MEMORY", str(memory))
    assert strategy.Linux(Syscalls()).is_quiet(files, size) is quiet


def test_a_flush_is_by_the_descriptor_that_wrote_or_by_one_from_before(tmp_path: Path) -> None:
    """fsync of a file that was closed and opened again reports nothing that was lost."""
    wrote: dict[int, tuple[int, int]] = {}

    class Watching(Syscalls):
        def __init__(self) -> None:
            super().__init__()
            self.write = self._write
            self.close = self._close
            self.fsync = self._fsync

        def _write(self, fd: int, data: Any) -> int:
            found = os.fstat(fd)
            wrote[fd] = found.st_dev, found.st_ino
            return os.write(fd, data)

        def _close(self, fd: int) -> None:
            wrote.pop(fd, None)
            os.close(fd)

        def _fsync(self, fd: int) -> None:
            found = os.fstat(fd)
            assert stat.S_ISDIR(found.st_mode) or wrote[fd] == (found.st_dev, found.st_ino)
            os.fsync(fd)

    with use(Watching()), Batch() as batch:
        for number in range(100):
            batch.write_bytes(tmp_path / str(number), NEW)
    assert len(names(tmp_path)) == 100


# Arguments.


def test_bad_arguments_touch_nothing(tmp_path: Path) -> None:
    path = tmp_path / "target"
    with untouched(tmp_path):
        with pytest.raises(ValueError, match="on_error"):
            Batch(on_error="ignore")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="allow_in_place"):
            Batch(allow_in_place=True)
        with pytest.raises(ValueError, match="durability"):
            Batch(durability="very")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="with block"):
            Batch().write_bytes(path, b"")
        with pytest.raises(TypeError, match="copied or pickled"):
            pickle.dumps(Batch())
        with Batch() as batch:
            with pytest.raises(TypeError):
                batch.write_bytes(path, "text")  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                batch.write_text(path, b"bytes")  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="allow_in_place"):
                batch.write_bytes(path, b"", allow_in_place=True)
            with pytest.raises(ValueError, match="invalid mode"):
                batch.open(path, "q")
            with pytest.raises(ValueError, match="only reads"):
                batch.open(path, "r")
            with pytest.raises(ValueError, match="once"):
                batch.__enter__()
        with pytest.raises(ValueError, match="with block"):
            batch.write_bytes(path, b"")


# Failures.


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_a_file_that_cannot_be_staged(on_error: Any, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(BatchError) as caught, Batch(on_error=on_error) as batch:
        batch.write_bytes(tmp_path / "one", NEW)
        if on_error == "abort":
            with pytest.raises(IsADirectoryError):
                batch.write_bytes(tmp_path / "directory", NEW)
        else:
            batch.write_bytes(tmp_path / "directory", NEW)
            batch.write_bytes(tmp_path / "two", NEW)
    error = pickle.loads(pickle.dumps(caught.value))
    for told in (caught.value, error):
        assert told.receipt is not None
        assert (told.path, told.errno) == (str(tmp_path / "directory"), errno.EISDIR)
        assert list(told.receipt.failed) == [told.path]
        assert len(told.receipt.saved) == (0 if on_error == "abort" else 2)
        assert told.receipt.unsaved == ((str(tmp_path / "one"),) if on_error == "abort" else ())
    assert names(tmp_path) == (["directory"] if on_error == "abort" else ["directory", "one", "two"])


def test_after_a_failure_no_more_is_taken(tmp_path: Path) -> None:
    with pytest.raises(BatchError), Batch() as batch:
        with pytest.raises(FileNotFoundError):
            batch.write_bytes(tmp_path / "none" / "target", NEW)
        batch.write_bytes(tmp_path / "target", NEW)
    assert names(tmp_path) == []


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_what_is_still_open_at_the_end_has_failed(on_error: Any, tmp_path: Path) -> None:
    before = entry_points.descriptors()
    with pytest.raises(BatchError) as caught, Batch(on_error=on_error) as batch:
        batch.write_bytes(tmp_path / "one", NEW)
        writer = batch.open(tmp_path / "two", "w")
    assert caught.value.errno == errno.EBUSY
    assert names(tmp_path) == (["one"] if on_error == "continue" else [])
    with pytest.raises(ValueError, match="late"):
        writer.add()
    writer.discard()
    assert names(tmp_path) == (["one"] if on_error == "continue" else [])
    assert entry_points.descriptors() == before


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_a_file_that_is_written_in_pieces_and_cannot_be_added(tmp_path: Path, on_error: Any) -> None:
    calls = Syscalls()
    fstat = calls.fstat

    def refuse(fd: int) -> os.stat_result:
        calls.fstat = fstat
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="error") as caught, use(calls), Batch(on_error=on_error) as batch:
        batch.write_bytes(tmp_path / "one", b"one")
        writer = batch.open(tmp_path / "two", "wb")
        writer.file.write(b"two")
        calls.fstat = refuse
        writer.add()
        assert on_error == "continue"
    assert isinstance(caught.value, BatchError) is (on_error == "continue")
    assert names(tmp_path) == (["one"] if on_error == "continue" else [])


def test_a_file_and_a_batch_that_are_dropped(tmp_path: Path) -> None:
    before = entry_points.descriptors()
    with Batch() as batch:
        with pytest.warns(ResourceWarning, match="unfinished file"):
            writer = batch.open(tmp_path / "one", "w")
            writer.file.write("x")
            del writer
            _collect()
        batch.write_bytes(tmp_path / "two", NEW)
    assert names(tmp_path) == ["two"]
    batch = Batch()
    batch.__enter__()
    batch.write_bytes(tmp_path / "three", NEW)
    with pytest.warns(ResourceWarning, match="unfinished batch"):
        del batch
        _collect()
    assert names(tmp_path) == ["two"]
    assert entry_points.descriptors() == before


def _collect() -> None:
    import gc

    gc.collect()


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_a_flush_of_all_that_fails(on_error: Any, tmp_path: Path, shared: None) -> None:
    (tmp_path / "0").write_bytes(OLD)
    table = Refusing(syncfs=errno.EIO)
    with use(table), pytest.raises(BatchError, match="whole file system") as caught:
        with Batch(on_error=on_error) as batch:
            for number in range(5):
                batch.write_bytes(tmp_path / str(number), NEW)
    assert names(tmp_path) == ["0"]
    assert read(tmp_path / "0") == OLD
    assert table.names.count("syncfs") == 1
    assert "replace" not in table.names
    assert caught.value.receipt is not None
    assert set(caught.value.receipt.failed) == {str(tmp_path / str(number)) for number in range(5)}


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_a_rename_that_fails_in_the_middle(on_error: Any, tmp_path: Path) -> None:
    class Stubborn(Syscalls):
        def __init__(self) -> None:
            super().__init__()
            self.replace = self._replace

        @staticmethod
        def _replace(old: str, new: str, **where: Any) -> None:
            if new == "2":
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            os.replace(old, new, **where)

    with use(Stubborn()), pytest.raises(BatchError) as caught, Batch(on_error=on_error) as batch:
        for number in range(5):
            batch.write_bytes(tmp_path / str(number), NEW)
    receipt = caught.value.receipt
    assert receipt is not None
    saved = ["0", "1"] if on_error == "abort" else ["0", "1", "3", "4"]
    assert names(tmp_path) == saved
    assert [os.path.basename(each.path) for each in receipt.saved] == saved
    assert all("fsync directory" in each.steps for each in receipt.saved)
    assert list(receipt.failed) == [str(tmp_path / "2")]
    assert [os.path.basename(path) for path in receipt.unsaved] == (["3", "4"] if on_error == "abort" else [])


def test_a_directory_that_cannot_be_flushed(tmp_path: Path) -> None:
    class Lame(Syscalls):
        def __init__(self) -> None:
            super().__init__()
            self.fsync = self._fsync

        @staticmethod
        def _fsync(fd: int) -> None:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            os.fsync(fd)

    with use(Lame()), pytest.raises(BatchError) as caught, Batch() as batch:
        batch.write_bytes(tmp_path / "durable", NEW)
        batch.write_bytes(tmp_path / "consistent", NEW, durability="consistent")
    assert names(tmp_path) == ["consistent", "durable"]
    receipt = caught.value.receipt
    assert receipt is not None
    (error,) = receipt.failed.values()
    assert isinstance(error, NotDurableError)
    assert error.receipt is not None
    assert error.path == error.receipt.path == str(tmp_path / "durable")
    assert error.receipt.durability != "durable"
    assert [os.path.basename(each.path) for each in receipt.saved] == ["consistent"]


@pytest.mark.parametrize(("entry_point", "state"), CASES, ids=shown)
@pytest.mark.parametrize("way", WAYS, ids=shown)
@pytest.mark.parametrize("level", LEVELS)
def test_one_call_fails(entry_point: EntryPoint, state: str, way: Way, level: str, path: Path) -> None:
    """By the rules of every other entry point."""
    for table in every_failure(system=way.system, base=way.base()):
        old = dressed(path, state)
        turn = Turn(entry_point, path, old, table, level, way)
        turn.check(*attempt(entry_point.save, path, NEW, durability=level))


@pytest.mark.parametrize("on_error", ["abort", "continue"])
@pytest.mark.parametrize("way", [LINUX, WAYS[-1]], ids=shown)
@pytest.mark.parametrize("several", [False, True], ids=["one-place", "places"])
def test_one_call_of_many_files_fails(
    on_error: Any, way: Way, several: bool, path: Path, shared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durably._batch.directories._PINNED", 1)
    targets = [path.parent / (f"{number % 2}" if several else "") / str(number) for number in range(5)]
    for table in every_failure(system=way.system, base=way.base()):
        prepare(path, "new")
        for target in targets[::2]:
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(OLD)
        before = entry_points.descriptors()
        batch = Batch(on_error=on_error, make_parents=True)
        error = None
        try:
            with batch:
                for target in targets:
                    batch.write_bytes(target, NEW)
        except OSError as failure:
            error = failure
        told = f"{table.failed} with {errno.errorcode[table.error]}: {error!r}, {batch.receipt}"
        _check_many(batch, targets, error, told)
        assert entry_points.descriptors() == before, told
        if on_error == "abort" and isinstance(error, OSError) and "replace" not in table.names:
            assert all(read(target) in (None, OLD) for target in targets), told


def _check_many(batch: Batch, targets: list[Path], error: OSError | None, told: str) -> None:
    receipt = batch.receipt
    assert receipt is not None, told
    saved = {each.path for each in receipt.saved}
    published = {path for path, own in receipt.failed.items() if isinstance(own, NotDurableError)}
    given = [*saved, *receipt.failed, *receipt.unsaved]
    assert len(given) == len(set(given)), told
    for target in targets:
        new = str(target) in saved | published
        assert read(target) == (NEW if new else OLD if int(target.name) % 2 == 0 else None), told
    assert (error is None) == (len(saved) == len(targets)), told
    errors = [*receipt.failed.values(), *([error] if error else [])]
    named = {os.path.basename(left) for each in errors for left in getattr(each, "leftovers", ())}
    for each in receipt.saved:
        named |= entry_points.named_leftovers(None, each)
    found = {
        name
        for directory in {target.parent for target in targets}
        if directory.exists()
        for name in names(directory)
        if entry_points.is_temporary(name)
    }
    assert found == set(filter(entry_points.is_temporary, named)), told
    for directory in {target.parent for target in targets}:
        # Of the directories that were made none is empty, unless that is told.
        kept = not directory.exists() or names(directory) or directory.name == "0"
        assert kept or directory.name in named, told


# Kills and interrupts.


def _kill_at_each_call(entry_point: EntryPoint, state: str, way: Way, path: Path) -> None:
    table = RecordingSyscalls(way.base())
    _prepared(path, state)
    with use(table, way.system):
        entry_point.save(path, NEW)
    found = set()
    for number in range(1, len(table.names) + 1):
        killing = Killing(number, way.base())
        old = _prepared(path, state)

        def save(killing: Syscalls = killing) -> None:
            with use(killing, way.system):
                entry_point.save(path, NEW)

        assert killed(save), (number, table.names)
        content = read(path)
        _check_left(entry_point, path, old, table.names[number - 1])
        found.add(content == NEW)
    assert found == {False, True}


@pytest.mark.parametrize(("entry_point", "state"), CASES, ids=shown)
@pytest.mark.parametrize("way", [LINUX, WAYS[-1]], ids=shown)
def test_killed_at_each_call(entry_point: EntryPoint, state: str, way: Way, path: Path) -> None:
    in_child(lambda: _kill_at_each_call(entry_point, state, way, path))


def _kill_many(directory: Path) -> set[int]:
    def save() -> None:
        with Batch() as batch:
            for number in range(5):
                batch.write_bytes(directory / str(number), NEW)

    (directory / "0").write_bytes(OLD)
    with use(table := RecordingSyscalls()):
        save()
    seen = set()
    calls = len(table.names)
    for number in range(1, calls + 1):
        for entry in directory.iterdir():
            entry.unlink()
        (directory / "0").write_bytes(OLD)

        def doomed(number: int = number) -> None:
            with use(Killing(number, Syscalls())):
                save()

        assert killed(doomed)
        durably.sweep(directory, older_than=0)
        assert not any(map(entry_points.is_temporary, names(directory)))
        assert all(read(directory / name) in (NEW, OLD if name == "0" else NEW) for name in names(directory))
        seen.add(sum(read(entry) == NEW for entry in directory.iterdir()))
    return seen


def test_killed_with_many_files(path: Path, shared: None) -> None:
    assert in_child(lambda: _kill_many(path.parent)) == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("entry_point", "state"), CASES, ids=shown)
@pytest.mark.parametrize("way", [LINUX, WAYS[-1]], ids=shown)
def test_interrupted_at_each_call(
    entry_point: EntryPoint, state: str, way: Way, after: bool, path: Path
) -> None:
    number = 0
    while True:
        number += 1
        old = prepare(path, state)
        before = entry_points.descriptors()
        table = Interrupting(number, way.base(), after=after)
        try:
            with use(table, way.system):
                entry_point.save(path, NEW)
        except KeyboardInterrupt as interrupt:
            told = f"{'after' if after else 'before'} {table.record[number - 1]}"
            assert not hasattr(interrupt, "leftovers"), told
        else:
            assert len(table.record) < number, "swallowed"
            break
        assert read(path) in (old, NEW), told
        assert not entry_points.beside(path), told
        lost = entry_points.descriptors() - before
        assert lost <= _lost(table), told
        for fd in lost:
            os.close(fd)
    assert number > 5


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_interrupt_that_is_caught_in_the_block_loses_nothing_in_silence(
    number: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It breaks off the flushes of files that were added before."""
    monkeypatch.setattr("durably._batch.staging.OPEN_FILES", 5)  # the first has its own directory

    class Once(Syscalls):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0
            self.fsync = self._fsync

        def _fsync(self, fd: int) -> None:
            self.count += 1
            if self.count == number:
                raise KeyboardInterrupt
            os.fsync(fd)

    with use(Once()), Batch() as batch:
        for name in range(3):
            batch.write_bytes(path.with_name(str(name)), NEW)
        with pytest.raises(KeyboardInterrupt):
            batch.write_bytes(path.with_name("3"), NEW)
    assert names(path.parent) == ["0", "1", "2"]
    assert batch.receipt is not None
    assert len(batch.receipt.saved) == 3
    assert all("fsync" in each.steps for each in batch.receipt.saved)


def test_an_interrupt_after_a_rename_is_told_by_the_receipt(path: Path) -> None:
    for target in (path, path.with_name("other")):
        target.write_bytes(OLD)
    with use(table := RecordingSyscalls()), Batch() as batch:
        batch.write_bytes(path, NEW)
        batch.write_bytes(path.with_name("other"), NEW)
    renamed = table.names.index("replace") + 1
    for target in (path, path.with_name("other")):
        target.write_bytes(OLD)
    table = Interrupting(renamed, Syscalls(), after=True)
    with use(table):
        batch = Batch()
        with pytest.raises(KeyboardInterrupt), batch:
            batch.write_bytes(path, NEW)
            batch.write_bytes(path.with_name("other"), NEW)
    assert batch.receipt is not None
    (receipt,) = batch.receipt.saved
    assert receipt.path == str(path)
    assert receipt.steps[-1] == "fsync directory"
    assert table.names[renamed:].count("fsync") == 1
    assert batch.receipt.unsaved == (str(path.with_name("other")),)
    assert (read(path), read(path.with_name("other"))) == (NEW, OLD)
    assert len(names(path.parent)) == 2


# Threads, limits, places.


def test_threads_add_at_the_same_time(path: Path, shared: None) -> None:
    problems: list[BaseException] = []

    def add(worker: int) -> None:
        try:
            for number in range(50):
                batch.write_bytes(path.parent / f"{worker}-{number}", f"{worker} {number}".encode())
                with batch.open(path.parent / f"s{worker}-{number}", "w") as file:
                    file.write(f"{worker} {number}")
        except BaseException as error:  # noqa: BLE001 # told below
            problems.append(error)

    before = entry_points.descriptors()
    with use(Plain()), Batch() as batch:
        threads = [threading.Thread(target=add, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not problems
    assert len(names(path.parent)) == 400
    for worker in range(4):
        for number in range(50):
            for prefix in ("", "s"):
                assert (path.parent / f"{prefix}{worker}-{number}").read_text() == f"{worker} {number}"
    assert entry_points.descriptors() == before
    assert batch.receipt is not None
    assert len(batch.receipt.saved) == 400


def test_a_thread_that_comes_too_late(path: Path) -> None:
    """It is told so, leaves nothing, and writes to no directory but the one it was given."""
    staged, over = threading.Event(), threading.Event()
    problems: list[BaseException] = []

    class Slow(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.write = self._write

        @staticmethod
        def _write(fd: int, data: Any) -> int:
            if threading.current_thread() is late:
                staged.set()
                over.wait()
            return os.write(fd, data)

    def add() -> None:
        try:
            batch.write_bytes(path.parent / "late", NEW)
        except ValueError as error:
            problems.append(error)

    late = threading.Thread(target=add)
    before = entry_points.descriptors()
    with use(Slow()):
        with Batch() as batch:
            batch.write_bytes(path.parent / "early", NEW)
            late.start()
            staged.wait()
        over.set()
        late.join()
    assert len(problems) == 1
    assert names(path.parent) == ["early"]
    assert entry_points.descriptors() == before


def _with_few_descriptors(directory: Path, places: int) -> int:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    with use(Plain()), Batch(make_parents=True) as batch:
        for number in range(3000):
            batch.write_bytes(directory / str(number % places) / str(number), str(number).encode())
    assert batch.receipt is not None
    return len(batch.receipt.saved)


@pytest.mark.parametrize("places", [1, 300])
def test_thousands_of_files_and_256_descriptors(places: int, path: Path) -> None:
    assert in_child(lambda: _with_few_descriptors(path.parent, places)) == 3000
    for number in range(3000):
        assert (path.parent / str(number % places) / str(number)).read_bytes() == str(number).encode()
    assert sum(len(names(path.parent / str(place))) for place in range(places)) == 3000


@pytest.mark.parametrize("places", [1, 300])
def test_few_descriptors_are_open_at_a_time(places: int, path: Path) -> None:
    most = 0

    class Counting(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            nonlocal most
            if name == "open":
                most = max(most, len(entry_points.descriptors()))

    before = len(entry_points.descriptors())
    with use(Counting(Plain())), Batch(make_parents=True) as batch:
        for number in range(2 * places + 200):
            batch.write_bytes(path.parent / str(number % places) / str(number), NEW)
    assert most - before < (140 if places > 1 else 80)


@pytest.mark.parametrize("places", [1, 40])
def test_one_directory_flush_for_each_directory(places: int, path: Path) -> None:
    with use(table := RecordingSyscalls(Plain())), Batch(make_parents=True) as batch:
        for number in range(80):
            batch.write_bytes(path.parent / "a" / str(number % places) / str(number), NEW)
    last = max(at for at, name in enumerate(table.names) if name in ("replace", "fsync"))
    assert table.names[last] == "fsync"
    files = 80
    assert table.names.count("fsync") == files + places + 2  # and of the two that directories were made in
    assert batch.receipt is not None
    assert len(batch.receipt.saved) == 80


def test_a_directory_that_was_closed_and_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the directories that stay open can be moved about."""
    monkeypatch.setattr("durably._batch.directories._PINNED", 1)
    (path.parent / "a").mkdir()
    (path.parent / "b").mkdir()
    with pytest.raises(BatchError) as caught, Batch(on_error="continue") as batch:
        batch.write_bytes(path.parent / "a" / "1", NEW)
        batch.write_bytes(path.parent / "b" / "2", NEW)
        (path.parent / "b").rename(path.parent / "c")
        (path.parent / "b").mkdir()
    receipt = caught.value.receipt
    assert receipt is not None
    assert [os.path.basename(each.path) for each in receipt.saved] == ["1"]
    (error,) = receipt.failed.values()
    assert error.errno == errno.ESTALE
    (left,) = error.leftovers  # type: ignore[attr-defined]
    assert names(path.parent / "c") == [os.path.basename(left)]


@needs_mount
def test_several_file_systems(tmp_path: Path) -> None:
    in_child(lambda: _on_several(tmp_path))


def _on_several(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "one"), mounted("tmpfs", tmp_path / "two", options="size=64k"):
        with pytest.raises(BatchError) as caught, Batch(on_error="continue") as batch:
            for number in range(MANY):
                batch.write_bytes(tmp_path / "one" / str(number), NEW)
                batch.write_bytes(tmp_path / "two" / str(number), NEW)
        assert len(names(tmp_path / "one")) == MANY
        receipt = caught.value.receipt
        assert receipt is not None
        assert receipt.failed
        assert {error.errno for error in receipt.failed.values()} == {errno.ENOSPC}
        saved = {each.path for each in receipt.saved}
        assert len(saved) + len(receipt.failed) == 2 * MANY
        assert {str(path) for path in (tmp_path / "two").iterdir()} == {
            path for path in saved if "two" in path
        }
        assert all(path.read_bytes() == NEW for path in (tmp_path / "two").iterdir())


@needs_mount
def test_a_full_disk(tmp_path: Path) -> None:
    in_child(lambda: _on_a_full_disk(tmp_path))


def _on_a_full_disk(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "disk", options="size=128k") as disk:
        (disk / "0").write_bytes(OLD)
        with pytest.raises(OSError, match="No space") as caught, Batch() as batch:
            for number in range(MANY):
                batch.write_bytes(disk / str(number), NEW)
        assert caught.value.errno == errno.ENOSPC
        assert names(disk) == ["0"]
        assert read(disk / "0") == OLD


@needs_file_system("ext4")
def test_on_a_disk_of_its_own_one_flush_does(tmp_path: Path) -> None:
    in_child(lambda: _on_ext4(tmp_path))


def _on_ext4(tmp_path: Path) -> None:
    with mounted("ext4", tmp_path / "disk") as disk, pytest.MonkeyPatch.context() as patch:
        patch.setattr("durably._commit.linux.strategy.Linux.is_quiet", lambda self, files, size: True)
        with use(table := RecordingSyscalls()), Batch() as batch:
            for number in range(MANY):
                batch.write_bytes(disk / str(number), NEW)
        assert table.names.count("syncfs") == 1
        assert table.names.count("fsync") == 1
        assert batch.receipt is not None
        assert {receipt.durability for receipt in batch.receipt.saved} == {"durable"}
        assert all((disk / str(number)).read_bytes() == NEW for number in range(MANY))


@needs_unprivileged_user
def test_a_user_without_rights(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o733)  # may be written, and not read
    (tmp_path / "closed").mkdir(mode=0o755)

    def save() -> None:
        with pytest.raises(BatchError) as caught, Batch(on_error="continue") as batch:
            for number in range(70):
                batch.write_bytes(place / str(number), NEW)
            batch.write_bytes(tmp_path / "closed" / "x", NEW)
        assert caught.value.errno == errno.EACCES
        assert batch.receipt is not None
        assert len(batch.receipt.saved) == 70
        assert all("fsync directory" in each.skipped for each in batch.receipt.saved)

    as_nobody(place, save)
    assert len(names(place)) == 70
    assert all((place / str(number)).read_bytes() == NEW for number in range(70))


# Forks and sweeps.


def test_a_forked_child_neither_saves_nor_cleans(tmp_path: Path) -> None:
    def child() -> list[str]:
        told = []
        for act in (
            lambda: batch.write_bytes(tmp_path / "child", NEW),
            lambda: batch.open(tmp_path / "child", "w"),
            writer.add,
            lambda: batch.__exit__(None, None, None),
        ):
            try:
                act()
            except RuntimeError as error:
                told.append(str(error))
        writer.discard()
        batch.__exit__(ValueError, ValueError(), None)
        for fd in entry_points.descriptors():
            # With a descriptor of the directory the child would hold its parent's lock.
            assert not os.readlink(f"/proc/self/fd/{fd}").startswith(str(tmp_path))
        return told

    with Batch() as batch:
        for number in range(70):
            batch.write_bytes(tmp_path / str(number), NEW)
        writer = batch.open(tmp_path / "stream", "w")
        writer.file.write("parent's")
        assert len(in_child(child)) == 4
        writer.add()
    assert len(names(tmp_path)) == 71
    assert (tmp_path / "stream").read_text() == "parent's"


def test_what_a_living_batch_has_staged_is_not_swept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stranger in STRANGERS:
        (path.parent / stranger).write_bytes(b"")
    with use(Plain()), Batch() as batch:
        for number in range(100):
            batch.write_bytes(path.parent / str(number), NEW)
        staged = entry_points.beside(path)
        for seen in (True, False):
            if not seen:
                # As from another process space, whose numbers say nothing: only the lock tells.
                monkeypatch.setattr("durably._system.temp_names._process_space", lambda: "1")
            swept = in_child(lambda: durably.sweep(path.parent, older_than=0))
            assert len(swept) == 100
            assert not any(each.removed for each in swept)
            assert entry_points.beside(path) == staged
        monkeypatch.undo()
    assert len(names(path.parent)) == 100 + len(STRANGERS)


def test_what_a_killed_batch_has_staged_is_swept_from_another_process_space(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        with Batch() as batch:
            for number in range(100):
                batch.write_bytes(path.parent / str(number), NEW)
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(lambda: killed(die))
    assert len(names(path.parent)) == 100
    monkeypatch.setattr("durably._system.temp_names._process_space", lambda: "1")
    told = durably.sweep(path.parent, older_than=0, dry_run=True)
    assert {each.reason for each in told} == {"its lock is free"}
    assert len(names(path.parent)) == 100
    durably.sweep(path.parent, older_than=0)
    assert names(path.parent) == []


def test_a_directory_that_others_have_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are then of the kind that nobody sweeps whose process cannot be seen."""
    import fcntl

    lock = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with Batch() as batch:
            batch.write_bytes(path, NEW)
            os.close(lock)
            lock = -1
            monkeypatch.setattr("durably._system.temp_names._process_space", lambda: "1")
            (swept,) = in_child(lambda: durably.sweep(path.parent, older_than=0))
            assert not swept.removed
            monkeypatch.undo()
    finally:
        if lock != -1:
            os.close(lock)
    assert read(path) == NEW


_MEMORY = """
import sys, durably
directory = sys.argv[1]
with durably.Batch(durability="none") as batch:
    for number in range(20_000):
        batch.write_bytes(f"{directory}/{number}", b"")
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
"""


def test_memory_is_bounded(path: Path) -> None:
    """Not more than some hundred bytes a file."""
    done = run(_MEMORY, path.parent)
    assert done.returncode == 0, done.stderr
    empty = run(f"import sys, durably\n{_MEMORY[_MEMORY.index('with open') :]}")
    assert int(done.stdout) - int(empty.stdout) < 20_000, (done.stdout, empty.stdout)  # KiB: 1 KiB a file


# Other systems.


@pytest.mark.parametrize("system", ["win32", "darwin"])
@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_on_other_systems_each_file_is_flushed(
    system: str, on_error: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when a call fails, the same holds as here."""
    monkeypatch.setattr("durably._batch.staging.OPEN_FILES", 3)
    targets = [path.parent / str(number) for number in range(5)]
    base = FakeWindows if system == "win32" else FakeMacOS
    for table in every_failure(system=system, base=base()):
        prepare(path, "new")
        for target in targets[::2]:
            target.write_bytes(OLD)
        batch = Batch(on_error=on_error)
        error = None
        try:
            with batch:
                for target in targets:
                    batch.write_bytes(target, NEW)
        except OSError as failure:
            error = failure
        told = f"{table.failed} with {errno.errorcode[table.error]}: {error!r}, {batch.receipt}"
        _check_many(batch, targets, error, told)
        if table.failed is None:
            assert error is None
            flush = "fsync" if system == "win32" else "F_FULLFSYNC"
            assert batch.receipt is not None
            assert all(flush in each.steps for each in batch.receipt.saved)


def test_a_batch_on_windows_is_told_from_a_dead_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a handle on the directory, as a closed file has none of its own."""
    monkeypatch.setattr("durably._batch.staging.OPEN_FILES", 3)
    monkeypatch.setattr("durably._system.temp_names._boot", lambda: "0")
    durably._system.temp_names.forget()
    try:
        fake = FakeWindows()
        with use(fake, "win32"):
            with Batch() as batch:
                for number in range(5):
                    batch.write_bytes(path.parent / str(number), NEW)
                swept = durably.sweep(path.parent, older_than=0)
                assert len(swept) == 5
                assert not any(each.removed for each in swept), swept
            assert names(path.parent) == [str(number) for number in range(5)]
            left = path.with_name(durably._system.temp_names.fresh("b"))
            left.write_bytes(b"")
            (one_left,) = durably.sweep(path.parent, older_than=0)
            assert one_left.removed
            assert not left.exists()
    finally:
        durably._system.temp_names.forget()


@needs_posix
@pytest.mark.parametrize("name", ["", ".", ".."])
def test_what_names_no_file_in_a_directory_that_is_open(tmp_path: Path, name: str) -> None:
    batch = Batch()
    with pytest.raises(IsADirectoryError), batch:
        batch.write_bytes(tmp_path / "a", NEW)
        batch.write_bytes(f"{tmp_path}/{name}", NEW)
    assert names(tmp_path) == []


@needs_posix
def test_a_system_without_one_flush_for_all_flushes_each(tmp_path: Path) -> None:
    table = RecordingSyscalls()
    with use(table, "freebsd14"), Batch() as batch:
        for number in range(20):
            batch.write_bytes(tmp_path / f"{number:02}", NEW)
    assert table.names.count("fsync") == 21
    assert [(tmp_path / name).read_bytes() for name in names(tmp_path)] == [NEW] * 20
