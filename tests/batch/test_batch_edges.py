"""`Batch` where threads come late, where interrupts and failures meet, and in a forked child."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from capabilities import NOBODY, needs_linux, needs_posix, needs_proc, needs_root
from disk import NEW, OLD, Refusing, names
from durably import Batch, BatchError
from durably._system.syscalls import Syscalls
from durably.testing import RecordingSyscalls, use
from entry_points import descriptors, named_leftovers
from fakes import FakeWindows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [needs_posix, needs_linux, needs_proc]


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have few files flushed together, also in memory."""
    monkeypatch.setattr("durably._batch.staging.OPEN_FILES", 3)
    monkeypatch.setattr("durably._batch.flush_group._WORTHWHILE", 1)
    monkeypatch.setattr("durably._commit.linux.strategy.Linux.common_flush", lambda self, directory: "8:1")
    monkeypatch.setattr("durably._commit.linux.strategy.Linux.is_quiet", lambda self, files, size: True)


def failed(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Ending(Syscalls):
    """A table in which the batch is ended, as if by another thread, while this is written."""

    def __init__(self, late: bytes, flush: int = 0) -> None:
        super().__init__()
        self.late = late
        self.flush = flush
        self.end: Callable[[], None] = lambda: None
        self.write = self._write
        self.syncfs = self._syncfs

    def _write(self, fd: int, data: Any) -> int:
        if bytes(data) == self.late:
            self.end()
        return os.write(fd, data)

    def _syncfs(self, fd: int) -> None:
        if self.flush:
            raise failed(self.flush)


def end(batch: Batch, caught: list[BatchError]) -> None:
    try:
        batch.__exit__(None, None, None)
    except BatchError as error:
        caught.append(error)


def test_a_directory_that_was_replaced_while_a_file_is_on_its_way(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durably._batch.directories._PINNED", 1)
    for name in "ab":
        path.with_name(name).mkdir()
    caught: list[BatchError] = []
    table = Ending(b"late")
    before = descriptors()

    def replace_and_end() -> None:
        path.with_name("b").rename(path.with_name("c"))
        path.with_name("b").mkdir()
        end(batch, caught)

    table.end = replace_and_end
    with use(table):
        batch = Batch(on_error="continue").__enter__()
        batch.write_bytes(path.with_name("a") / "1", NEW)
        batch.write_bytes(path.with_name("b") / "2", NEW)
        with pytest.raises(ValueError, match="too late"):
            batch.write_bytes(path.with_name("b") / "3", b"late")
    (error,) = caught
    assert error.receipt is not None
    assert list(error.receipt.failed) == [str(path.with_name("b") / "2")]
    assert error.receipt.failed[error.path].errno == errno.ESTALE
    assert names(path.with_name("a")) == ["1"]
    assert names(path.with_name("b")) == []
    assert descriptors() == before


def test_a_flush_of_all_that_fails_while_a_file_is_on_its_way(path: Path, shared: None) -> None:
    caught: list[BatchError] = []
    table = Ending(b"late", flush=errno.EIO)
    before = descriptors()
    with use(table):
        batch = Batch().__enter__()
        table.end = lambda: end(batch, caught)
        for name in "abc":
            batch.write_bytes(path.with_name(name), NEW)
        with pytest.raises(ValueError, match="too late"):
            batch.write_bytes(path.with_name("d"), b"late")
    (error,) = caught
    assert error.receipt is not None
    assert set(error.receipt.failed) == {str(path.with_name(name)) for name in "abc"}
    assert names(path.parent) == []
    assert descriptors() == before


def test_an_exception_throws_away_what_is_still_written(path: Path) -> None:
    before = descriptors()
    with pytest.raises(KeyError), Batch() as batch:
        writer = batch.open(path, "w")
        writer.file.write("text")
        raise KeyError
    assert names(path.parent) == []
    assert descriptors() == before
    with pytest.raises(ValueError, match="too late"):
        writer.add()
    writer.discard()
    assert names(path.parent) == []


def test_a_level_that_is_kept_gives_no_reason(path: Path) -> None:
    with use(FakeWindows(), "win32"), Batch(durability="consistent") as batch:
        batch.write_bytes(path, NEW)
    assert batch.receipt is not None
    (receipt,) = batch.receipt.saved
    assert (receipt.durability, receipt.skipped) == ("consistent", {})
    assert path.read_bytes() == NEW


# Interrupts.


class Blind(Syscalls):
    """A table in which the rename is interrupted before it is made, and nothing can be looked at then."""

    def __init__(self) -> None:
        super().__init__()
        self.replace = self._replace

    def _replace(self, *arguments: Any, **keywords: Any) -> None:
        self.stat = self._stat
        raise KeyboardInterrupt

    @staticmethod
    def _stat(*arguments: Any, **keywords: Any) -> os.stat_result:
        raise failed(errno.ESTALE)


def test_an_interrupt_whose_outcome_cannot_be_looked_at_is_not_said_to_be_saved(path: Path) -> None:
    path.write_bytes(OLD)
    before = descriptors()
    with use(Blind()):
        batch = Batch()
        with pytest.raises(KeyboardInterrupt), batch:
            batch.write_bytes(path, NEW)
    assert batch.receipt is not None
    assert (len(batch.receipt.saved), batch.receipt.unsaved) == (0, (str(path),))
    assert path.read_bytes() == OLD
    assert descriptors() == before


class Linked(Syscalls):
    """A table in which the name is made by a link, and the temporary's own cannot be removed then."""

    def __init__(self) -> None:
        super().__init__()
        self.met = 0
        self.renameat2 = self._refuse
        self.unlink = self._unlink

    @staticmethod
    def _refuse(*arguments: Any) -> None:
        raise failed(errno.EINVAL)

    def _unlink(self, *arguments: Any, **keywords: Any) -> None:
        self.met += 1
        if self.met == 1:
            raise KeyboardInterrupt
        raise failed(errno.EIO)


def test_an_interrupt_after_a_link_names_the_temporary_that_stays(path: Path) -> None:
    before = descriptors()
    with use(Linked()):
        batch = Batch(overwrite=False)
        with pytest.raises(KeyboardInterrupt) as caught, batch:
            batch.write_bytes(path, NEW)
    assert path.read_bytes() == NEW
    assert batch.receipt is not None
    assert [each.path for each in batch.receipt.saved] == [str(path)]
    left = set(names(path.parent)) - {path.name}
    assert len(left) == 1
    assert named_leftovers(caught.value, None) == left
    assert descriptors() == before


def test_an_interrupt_after_a_file_was_taken_gives_it_up(path: Path) -> None:
    class Once(RecordingSyscalls):
        """An interrupt at the first directory that is closed from some moment on."""

        met = True

        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "close" and not self.met and stat.S_ISDIR(os.fstat(arguments[0]).st_mode):
                self.met = True
                function(*arguments)
                raise KeyboardInterrupt

    table = Once()
    before = descriptors()
    with use(table), Batch(durability="none") as batch:
        batch.write_bytes(path.with_name("first"), NEW)
        table.met = False
        (path.with_name("deep")).mkdir()
        with pytest.raises(KeyboardInterrupt):
            batch.write_bytes(path.with_name("deep") / "second", NEW)
    assert batch.receipt is not None
    assert [os.path.basename(each.path) for each in batch.receipt.saved] == ["first"]
    assert names(path.parent) == ["deep", "first"]
    assert names(path.with_name("deep")) == []
    assert descriptors() == before


# Big files, and a child.


def test_a_big_file_is_written_out_while_others_are_staged(path: Path, shared: None) -> None:
    big = b"x" * (300 << 10)
    table = RecordingSyscalls()
    with use(table), Batch() as batch:
        for name in "abc":
            batch.write_bytes(path.with_name(name), big)
            batch.write_bytes(path.with_name(f"little {name}"), NEW)
        assert table.names.count("sync_file_range") == 3
    assert all(path.with_name(name).read_bytes() == big for name in "abc")


def test_an_exception_leaves_a_childs_batch_to_its_parent(path: Path, as_child: Callable[[], None]) -> None:
    batch = Batch()
    with pytest.raises(KeyError), batch:
        batch.write_bytes(path, NEW)
        as_child()
        raise KeyError
    assert not hasattr(batch, "receipt") or batch.receipt is None
    assert not path.exists()


def test_a_dropped_file_that_cannot_be_removed_is_named(path: Path) -> None:
    class Stuck(Syscalls):
        def __init__(self) -> None:
            super().__init__()
            self.unlink = self._unlink

        @staticmethod
        def _unlink(*_: object, **__: object) -> None:
            raise failed(errno.EIO)

    with use(Stuck()), Batch() as batch:
        writer: Any = batch.open(path, "wb", durability="none")
        temporary = writer._save.temporary
        with pytest.warns(ResourceWarning, match=f"unfinished file of a batch.*{temporary}"):
            del writer
    assert names(path.parent) == [temporary]


def test_receipts_are_a_sequence(path: Path) -> None:
    with Batch() as batch:
        for name in "abc":
            batch.write_bytes(path.with_name(name), NEW)
    assert batch.receipt is not None
    saved: Any = batch.receipt.saved
    assert [os.path.basename(each.path) for each in saved] == ["a", "b", "c"]
    assert saved[1] == list(saved)[1]
    assert list(saved[1:]) == list(saved)[1:]
    assert saved == tuple(saved)
    assert saved == list(saved)
    assert saved != "abc"


def test_a_childs_batch_is_closed_and_its_parents(path: Path, as_child: Callable[[], None]) -> None:
    before = descriptors()
    with use(table := RecordingSyscalls()):
        with pytest.raises(RuntimeError, match="forked child cannot save"), Batch() as batch:
            batch.write_bytes(path.with_name("little"), NEW)
            batch.write_bytes(path.with_name("other"), NEW, durability="none")
            as_child()
            assert descriptors() == before
            changes = [name for name in table.names if name in ("unlink", "replace", "renameat2")]
    assert [name for name in table.names if name in ("unlink", "replace", "renameat2")] == changes
    assert "little" not in names(path.parent)


@needs_root
@pytest.mark.parametrize("order", [("given", "own"), ("own", "given")])
def test_what_one_file_loses_is_not_told_of_another(tmp_path: Path, order: tuple[str, str]) -> None:
    """What many files have in common is kept once; what was lost of one is not in common."""
    for name in order:
        (tmp_path / name).write_bytes(b"old")
    os.chown(tmp_path / "given", NOBODY, NOBODY)
    with use(Refusing(fchown=errno.EPERM)), Batch() as batch:
        for name in order:
            batch.write_bytes(tmp_path / name, b"new")
    assert batch.receipt is not None
    lost = {os.path.basename(each.path): each.lost for each in batch.receipt.saved}
    assert lost == {"given": ("owner", "group"), "own": ()}
