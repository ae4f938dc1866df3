"""Transactions at their edges: what was broken off half-way, lost races, forked children, odd names."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
import stat
from typing import TYPE_CHECKING, Any

import pytest

import durably
import entry_points
from capabilities import needs_linux, needs_posix
from durably import _commit
from durably._batch.flush_group import OPEN_FILES
from durably._system import temp_names
from durably._system.native import win32 as win
from durably.testing import RecordingSyscalls, use
from entry_points import LINUX, POSIX, Way
from fakes import FakeWindows, windows_error
from transactions import JOURNAL, MACOS, WINDOWS, held, ours, recover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from durably._system.syscalls import Syscalls

    Hook = Callable[[str, tuple[Any, ...]], object]

pytestmark = [needs_posix, needs_linux]

OLD = {"a": b"old a", "b": b"old b"}
NEW = {"a": b"new a", "b": b"new b"}


@pytest.fixture
def root() -> Iterator[Path]:
    with entry_points.folder() as directory:
        path = directory / "root"
        path.mkdir(mode=0o755)
        for name, content in OLD.items():
            (path / name).write_bytes(content)
        yield path


class Hooked(RecordingSyscalls):
    """A table that tells a test of each call before it is made."""

    def __init__(self, hook: Hook, base: Syscalls | None = None) -> None:
        super().__init__(base)
        self.hook = hook

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        self.hook(name, arguments)


def _error(number: int = errno.EIO) -> OSError:
    return OSError(number, os.strerror(number))


def _is_temporary(name: object) -> bool:
    made = temp_names.parse(os.path.basename(name)) if isinstance(name, str) else None
    return made is not None and made[0] == "t"


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def _write_both(root: Path, hook: Hook) -> None:
    with use(Hooked(hook)), durably.Transaction(root) as txn:
        for name, content in NEW.items():
            txn.write_bytes(name, content)


# A commit that breaks off.


def test_a_file_that_is_removed_by_another_is_a_lost_race(root: Path) -> None:
    with pytest.raises(OSError, match="changed by another") as caught, durably.Transaction(root) as txn:
        for name, content in NEW.items():
            txn.write_bytes(name, content)
        (root / "b").unlink()
    assert caught.value.errno == errno.ESTALE
    assert held(root) == {"a": b"old a"}
    assert ours(root) == []


def _flush_fails_and_the_journal_stays() -> Hook:
    placed: list[bool] = []

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "replace" and arguments[1] == JOURNAL:
            placed.append(True)
        elif placed and (
            (name == "fsync" and _is_directory(arguments[0]))
            or (name == "unlink" and arguments[0] == JOURNAL)
        ):
            raise _error()

    return hook


def test_a_journal_that_can_neither_be_flushed_nor_removed_is_told(root: Path) -> None:
    with pytest.raises(durably.RecoveryNeededError, match="no file was changed yet"):
        _write_both(root, _flush_fails_and_the_journal_stays())
    assert held(root) == OLD
    assert JOURNAL in ours(root)
    assert recover(root).outcome == "finished"
    assert held(root) == NEW
    assert ours(root) == []


def test_a_journal_whose_files_never_came_to_the_disk_is_given_up(root: Path) -> None:
    with pytest.raises(durably.RecoveryNeededError):
        _write_both(root, _flush_fails_and_the_journal_stays())
    for name in filter(_is_temporary, os.listdir(root)):
        if (root / name).read_bytes() in NEW.values():
            (root / name).unlink()
    assert recover(root).outcome == "undone"
    assert held(root) == OLD
    assert ours(root) == []


def test_an_interrupt_whose_clearing_up_fails_leaves_the_journal(root: Path) -> None:
    met: list[bool] = []

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "unlink" and arguments[0] == JOURNAL:
            met.append(True)
            raise KeyboardInterrupt if len(met) == 1 else _error()

    with pytest.raises(KeyboardInterrupt):
        _write_both(root, hook)
    assert held(root) == NEW
    assert JOURNAL in ours(root)
    assert recover(root).outcome == "finished"
    assert held(root) == NEW
    assert ours(root) == []


@pytest.mark.parametrize("stays", [False, True])
def test_an_interrupt_among_the_old_files_removes_the_others(root: Path, *, stays: bool) -> None:
    met: list[str] = []

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "unlink" and (met or arguments[0] == JOURNAL):
            met.append(arguments[0])
            if len(met) == 2:
                raise KeyboardInterrupt
            if stays and len(met) > 2 and arguments[0] == met[1]:
                raise _error()

    with pytest.raises(KeyboardInterrupt) as caught:
        _write_both(root, hook)
    assert held(root) == NEW
    assert ours(root) == ([met[1]] if stays else [])
    assert getattr(caught.value, "leftovers", ()) == ((str(root / met[1]),) if stays else ())


def test_an_interrupt_among_what_is_thrown_away_removes_the_others(root: Path) -> None:
    met: list[str] = []

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "unlink":
            met.append(arguments[0])
            if len(met) == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), use(Hooked(hook)), durably.Transaction(root) as txn:
        for name, content in NEW.items():
            txn.write_bytes(name, content)
        raise ZeroDivisionError
    assert held(root) == OLD
    assert ours(root) == []


def _publishing_fails(also: Hook) -> Hook:
    """The second file cannot be put in place, nor what ``also`` refuses from then on."""
    failed: list[bool] = []

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if failed:
            also(name, arguments)
        elif name == "replace" and arguments[1] == "b":
            failed.append(True)
            raise _error()

    return hook


def test_after_a_rollback_the_unflushed_end_of_the_journal_is_told(root: Path) -> None:
    removed: list[bool] = []

    def also(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "unlink" and arguments[0] == JOURNAL:
            removed.append(True)
        elif removed and name == "fsync":
            raise _error()

    with pytest.raises(OSError, match="Errno") as caught:
        _write_both(root, _publishing_fails(also))
    assert not isinstance(caught.value, durably.RecoveryNeededError)
    assert any("a power cut may bring the journal back" in note for note in caught.value.__notes__)
    assert held(root) == OLD
    assert JOURNAL not in ours(root)


def test_after_a_rollback_what_is_left_over_is_named(root: Path) -> None:
    def also(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "unlink" and _is_temporary(arguments[0]):
            raise _error()

    with pytest.raises(OSError, match="Errno") as caught:
        _write_both(root, _publishing_fails(also))
    assert held(root) == OLD
    left: tuple[str, ...] = caught.value.leftovers  # type: ignore[attr-defined] # documented
    assert {os.path.basename(path) for path in left} == set(ours(root)) != set()


def test_a_rollback_does_not_undo_what_another_has_written(root: Path) -> None:
    def also(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "replace" and arguments[1] == "a":
            raise _error()

    with pytest.raises(durably.RecoveryNeededError, match="some files may be new"):
        _write_both(root, _publishing_fails(also))
    assert held(root) == {"a": b"new a", "b": b"old b"}
    durably.write_bytes(root / "a", b"theirs")
    with pytest.raises(durably.RecoveryConflictError, match="somebody has changed a"):
        recover(root)
    assert held(root) == {"a": b"theirs", "b": b"old b"}
    assert JOURNAL in ours(root)


def test_a_rollback_does_not_remove_a_tree_that_another_uses(root: Path) -> None:
    def also(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "replace" and arguments[0] == "n":
            raise _error()

    with pytest.raises(durably.RecoveryNeededError), use(Hooked(_publishing_fails(also))):
        with durably.Transaction(root) as txn:
            txn.write_bytes("n/x", b"new x")
            txn.write_bytes("b", b"new b")
    (root / "n" / "theirs").write_bytes(b"theirs")
    with pytest.raises(durably.RecoveryConflictError, match="somebody has changed n"):
        recover(root)
    assert held(root) == {**OLD, "n/x": b"new x", "n/theirs": b"theirs"}
    (root / "n" / "theirs").unlink()
    assert recover(root).outcome == "undone"
    assert held(root) == OLD
    assert ours(root) == []


# Where neither a link nor an exchange can keep the old file.


def _refuses(*names: str) -> Callable[[int], Hook]:
    def refusing(number: int) -> Hook:
        def hook(name: str, arguments: tuple[Any, ...]) -> None:
            if name == "link":
                raise _error(errno.EPERM)
            if name in names:
                raise _error(number)

        return hook

    return refusing


@pytest.mark.parametrize("way", [LINUX, MACOS], ids=str)
@pytest.mark.parametrize(("number", "kind"), [(errno.EINVAL, durably.UnsupportedError), (errno.EIO, OSError)])
def test_an_exchange_that_is_refused_changes_nothing(
    root: Path, way: Way, number: int, kind: type[OSError]
) -> None:
    hook = _refuses("renameat2", "renameatx_np")(number)
    with pytest.raises(kind) as caught, use(Hooked(hook, way.base()), way.system):
        with durably.Transaction(root) as txn:
            for name, content in NEW.items():
                txn.write_bytes(name, content)
    assert type(caught.value) is kind
    assert held(root) == OLD
    assert ours(root) == []


@needs_linux
def test_new_files_are_linked_where_a_rename_may_replace_another_hosts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durably._commit.linux.strategy.Linux.excludes", lambda *_: False)
    seen: list[str] = []
    with use(Hooked(lambda name, _: seen.append(name))), durably.Transaction(root) as txn:
        txn.write_bytes("n", b"new n")
        txn.write_bytes("m", b"new m")
    assert "renameat2" not in seen
    assert seen.count("link") == 2
    assert held(root) == {**OLD, "n": b"new n", "m": b"new m"}
    assert ours(root) == []


def test_a_directory_that_another_makes_first_is_not_replaced(root: Path) -> None:
    made: list[bool] = []

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "replace" and arguments[1] == JOURNAL and not made:
            made.append(True)
            (root / "n").mkdir()

    with pytest.raises(durably.RecoveryNeededError, match="changed n") as caught:
        with use(Hooked(hook, POSIX.base()), POSIX.system), durably.Transaction(root) as txn:
            txn.write_bytes("n/x", b"new x")
            txn.write_bytes("a", b"new a")
    assert isinstance(caught.value.__cause__ or caught.value.__context__, OSError)
    assert os.listdir(root / "n") == []
    (root / "n").rmdir()
    assert recover(root).outcome == "undone"
    assert held(root) == OLD
    assert ours(root) == []


@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_system_without_a_rename_that_never_replaces(tmp_path: Path, *, meanwhile: bool) -> None:
    (tmp_path / "one" / "in it").mkdir(parents=True)
    if not meanwhile:
        (tmp_path / "other").mkdir()

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if meanwhile and name == "stat" and arguments[0] == "one":
            (tmp_path / "other").mkdir()

    with use(Hooked(hook, POSIX.base()), POSIX.system):
        routine = _commit.routine()
        directory = os.open(tmp_path, os.O_RDONLY)
        try:
            with pytest.raises(FileExistsError):
                routine.directory_operations().move(directory, "one", directory, "other", replace=False)
        finally:
            os.close(directory)
    assert sorted(os.listdir(tmp_path)) == ["one", "other"]


def test_handles_that_are_closed_by_now_are_forsaken_without_a_word(tmp_path: Path) -> None:
    routine = _commit.routine()
    (tmp_path / "file").touch()
    one, other = (os.open(tmp_path / "file", os.O_RDONLY) for _ in range(2))
    os.close(one)
    routine.directory_operations().close_after_fork([one, other])
    assert other not in entry_points.descriptors()


# What was done all the same, and what cannot be told.


def test_a_rename_that_happened_and_was_reported_as_failed_is_a_success(root: Path) -> None:
    class Repeated(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "replace":
                function(*arguments, **keywords)
                raise _error(errno.ENOENT)

    with use(Repeated()), durably.Transaction(root) as txn:
        txn.write_bytes("a", b"new a")
    assert txn.receipt is not None
    assert txn.receipt.written == ("a",)
    assert held(root) == {**OLD, "a": b"new a"}
    assert ours(root) == []


def test_a_failed_rename_whose_target_cannot_be_looked_at_is_unknown(root: Path) -> None:
    failed: list[bool] = []

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "replace" or (failed and name == "stat" and arguments[0] == "a"):
            failed.append(True)
            raise _error()

    with pytest.raises(durably.OutcomeUnknownError, match="could not be checked"), use(Hooked(hook)):
        with durably.Transaction(root) as txn:
            txn.write_bytes("a", b"new a")
    assert held(root) == OLD
    assert ours(root) == []


@pytest.mark.parametrize("quiet", [True, False])
@pytest.mark.parametrize("place", ["n/", ""])
@pytest.mark.parametrize("files", [20, 70])
def test_many_files_are_flushed_together_where_that_is_quick(
    root: Path, monkeypatch: pytest.MonkeyPatch, place: str, files: int, *, quiet: bool
) -> None:
    """Of 70, some are closed before the commit. A new directory is one change, without a journal."""
    monkeypatch.setattr("durably._commit.linux.strategy.Linux.common_flush", lambda self, directory: "8:1")
    monkeypatch.setattr("durably._commit.linux.strategy.Linux.is_quiet", lambda self, files, size: quiet)
    table = Hooked(lambda name, arguments: None)
    before = entry_points.descriptors()
    with use(table), durably.Transaction(root) as txn:
        for number in range(files):
            txn.write_bytes(f"{place}{number}", b"new")
    assert held(root) == {**OLD, **{f"{place}{number}": b"new" for number in range(files)}}
    assert ours(root) == []
    assert entry_points.descriptors() == before
    assert table.names.count("syncfs") == quiet
    assert (table.names.count("fsync") < files) == quiet


def test_a_large_file_is_on_its_way_to_the_disk_before_the_commit(root: Path) -> None:
    data = bytes(300 << 10)
    table = Hooked(lambda name, arguments: None)
    with use(table), durably.Transaction(root) as txn:
        txn.write_bytes("a", data)
        assert "sync_file_range" in table.names
    assert held(root) == {**OLD, "a": data}


# Staging.


def test_a_file_that_is_renamed_over_its_other_link_is_moved(root: Path) -> None:
    os.link(root / "a", root / "c")
    with durably.Transaction(root) as txn:
        txn.rename("a", "c")
    assert held(root) == {"b": b"old b", "c": b"old a"}
    assert ours(root) == []


def test_a_directory_that_could_not_be_made_is_tried_again(root: Path) -> None:
    failed: list[bool] = []

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "mkdir" and not failed:
            failed.append(True)
            raise _error(errno.ENOSPC)

    with use(Hooked(hook)), durably.Transaction(root) as txn:
        with pytest.raises(OSError, match="No space"):
            txn.write_bytes("n/x", b"new x")
        txn.write_bytes("n/x", b"new x")
    assert held(root) == {**OLD, "n/x": b"new x"}
    assert ours(root) == []


def test_what_is_no_file_is_not_read(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "sub").mkdir()
    with durably.Transaction(root) as txn:
        with pytest.raises(OSError, match="not a regular file"):
            txn.read_bytes("pipe")
        with pytest.raises(IsADirectoryError):
            txn.read_bytes("sub")


def test_a_directory_that_another_removes_takes_what_was_staged_with_it(root: Path) -> None:
    (root / "sub").mkdir()
    with pytest.raises(ZeroDivisionError) as caught, durably.Transaction(root) as txn:
        txn.write_bytes("sub/x", b"new")
        txn.write_bytes("a", b"new")
        shutil.rmtree(root / "sub")
        raise ZeroDivisionError
    assert not hasattr(caught.value, "leftovers")
    assert held(root) == OLD
    assert ours(root) == []


def test_where_files_have_no_lasting_numbers_there_is_no_transaction(root: Path) -> None:
    base = FakeWindows()
    base.volume.information = ("FAT32", 0, 3)
    with (
        use(base, WINDOWS.system),
        pytest.raises(durably.UnsupportedError, match="no lasting numbers on FAT32"),
    ):
        durably.Transaction(root).__enter__()
    assert held(root) == OLD
    assert ours(root) == []


# The writers of one file.


def test_the_life_of_a_writer(root: Path) -> None:
    with durably.Transaction(root) as txn:
        with pytest.raises(FileNotFoundError):
            txn.open("missing", "r+")
        added = txn.open("a", "wb")
        added.file.write(b"new a")
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            pickle.dumps(added)
        added.add()
        with pytest.raises(ValueError, match="before it is decided"), added:
            pass
        writer = txn.open("b", "wb")
        with writer as file:
            file.write(b"new b")
            writer.add()  # the end of the block has nothing to do
    assert held(root) == NEW
    assert ours(root) == []


def test_a_file_that_could_not_be_added_is_no_part_of_the_transaction(root: Path) -> None:
    failed: list[bool] = []

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "replace" and not failed:
            failed.append(True)
            raise _error()

    with use(Hooked(hook)), durably.Transaction(root) as txn:
        txn.write_bytes("a", b"new a")
        writer = txn.open("n/x", "wb")
        with pytest.raises(OSError, match="Errno"):
            writer.add()
        with pytest.raises(ValueError, match="thrown away already"):
            writer.add()
    assert held(root) == {**OLD, "a": b"new a"}
    assert ours(root) == []


def test_a_discarded_file_that_cannot_be_removed_is_named(root: Path) -> None:
    failing = True

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if failing and name == "unlink" and _is_temporary(arguments[0]):
            raise _error()

    with use(Hooked(hook)), durably.Transaction(root) as txn:
        writer = txn.open("a", "wb")
        with pytest.raises(OSError, match="could not be removed") as caught:
            writer.discard()
        failing = False
    left: tuple[str, ...] = caught.value.leftovers  # type: ignore[attr-defined] # documented
    assert [os.path.basename(path) for path in left] == ours(root) != []
    assert held(root) == OLD


def test_a_staged_path_is_entered_once_and_thrown_away_when_it_is_dropped(root: Path) -> None:
    with durably.Transaction(root) as txn:
        staged = txn.staged_path("a")
        staged.__enter__().write_bytes(b"new")
        with pytest.raises(ValueError, match="entered once"):
            staged.__enter__()
        with pytest.warns(ResourceWarning, match="unfinished file of a transaction, 'a'"):
            del staged
        assert ours(root) == []
    assert held(root) == OLD


# A forked child, which this process is made to believe that it is.


@pytest.mark.parametrize("way", [LINUX, WINDOWS], ids=entry_points.shown)
def test_a_child_has_no_part_in_its_parents_transaction(
    way: Way, root: Path, as_child: Callable[[], None]
) -> None:
    before = entry_points.descriptors()
    with use(way.base(), way.system):
        txn = durably.Transaction(root).__enter__()
        txn.write_bytes("b", b"new b")
        added, dropped = txn.open("a", "wb"), txn.open("c", "wb")
        staged, failed = txn.staged_path("d"), txn.staged_path("e")
        staged.__enter__(), failed.__enter__()
        there = ours(root)
        as_child()
        with pytest.raises(RuntimeError, match="cannot add"):
            added.add()
        dropped.discard()
        with pytest.raises(RuntimeError, match="no part"):
            staged.__exit__(None, None, None)
        failed.__exit__(ValueError, ValueError(), None)
        with pytest.raises(RuntimeError, match="no part"):
            txn.write_bytes("a", b"child")
        with pytest.raises(RuntimeError, match="cannot commit"):
            txn.__exit__(None, None, None)
        txn.__exit__(ValueError, ValueError(), None)
    assert held(root) == OLD
    assert ours(root) == there  # they are the parent's
    if way is LINUX:
        assert entry_points.descriptors() == before


# Windows.


def test_windows_follows_no_link(root: Path) -> None:
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "x").write_bytes(b"theirs")
    (root / "link").symlink_to(root.parent / "outside")
    (root / "name").symlink_to(root.parent / "outside" / "x")
    with use(FakeWindows(), WINDOWS.system), durably.Transaction(root) as txn:
        with pytest.raises(OSError, match="is not followed") as caught:
            txn.write_bytes("link/x", b"new")
        assert caught.value.errno == errno.ELOOP
        with pytest.raises(OSError, match="is a link, and is not followed"):
            txn.read_bytes("name")
        with pytest.raises(NotADirectoryError):
            txn.write_bytes("a/x", b"new")
    assert (root.parent / "outside" / "x").read_bytes() == b"theirs"
    assert ours(root) == []


def test_windows_does_not_replace_what_another_has_just_made(root: Path) -> None:
    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "rename_by_handle" and arguments[1].endswith("z"):
            (root / "z").write_bytes(b"theirs")

    with use(Hooked(hook, FakeWindows()), WINDOWS.system), pytest.raises(FileExistsError):
        with durably.Transaction(root) as txn:
            txn.write_bytes("z", b"mine")
    assert held(root) == {**OLD, "z": b"theirs"}
    assert ours(root) == []


@pytest.mark.parametrize("code", [win.ERROR_SHARING_VIOLATION, win.ERROR_ACCESS_DENIED])
@pytest.mark.parametrize("going", [False, True])
def test_windows_waits_for_the_lock_of_another(root: Path, code: int, *, going: bool) -> None:
    """``going``: the lock is on its way out, and cannot be looked at."""
    failed: list[str] = []

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if not str(arguments and arguments[0]).endswith(temp_names.LOCK):
            return
        if name == "create_file" and not failed:
            failed.append(name)
            (root / temp_names.LOCK).touch()
            raise windows_error(code)
        if name == "get_file_attributes" and going:
            raise windows_error(win.ERROR_ACCESS_DENIED)

    base = FakeWindows()
    with use(Hooked(hook, base), WINDOWS.system), durably.Transaction(root) as txn:
        for name, content in NEW.items():
            txn.write_bytes(name, content)
    assert len(base.clocks.pauses) == 1
    assert held(root) == NEW
    assert ours(root) == []


def test_windows_tells_where_no_lock_can_be_made(root: Path) -> None:
    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "create_file" and arguments[0].endswith(temp_names.LOCK):
            raise windows_error(win.ERROR_ACCESS_DENIED)

    with use(Hooked(hook, FakeWindows()), WINDOWS.system), pytest.raises(PermissionError):
        with durably.Transaction(root) as txn:
            for name, content in NEW.items():
                txn.write_bytes(name, content)
    assert held(root) == OLD
    assert ours(root) == []


class FailingOnce(RecordingSyscalls):
    """The first fsync fails; each is noted by its descriptor."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[int] = []

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name == "fsync":
            self.flushed.append(arguments[0])
            if len(self.flushed) == 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))


@needs_posix
def test_a_flush_that_failed_is_not_tried_again(root: Path) -> None:
    """Files are flushed when too many are open; the caller goes on after the error of one."""
    (root / "0").write_bytes(b"old")
    before, there = held(root), set(os.listdir(root))
    table = FailingOnce()
    with (
        use(table, "freebsd"),  # where each file is flushed by itself
        pytest.raises(OSError, match="an earlier flush failed"),
        durably.Transaction(root) as txn,
    ):
        for number in range(OPEN_FILES + 6):
            with contextlib.suppress(OSError):
                txn.write_bytes(str(number), b"new")
    assert table.flushed.count(table.flushed[0]) == 1
    assert held(root) == before
    assert set(os.listdir(root)) == there
