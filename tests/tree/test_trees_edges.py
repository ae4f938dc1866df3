"""`staged_directory` where others come between, where calls lie, and on other systems."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_linux, needs_posix, needs_proc, needs_root
from disk import Refusing, names
from durably import OutcomeUnknownError, UnsupportedError
from durably._commit.linux.strategy import Linux
from durably._commit.windows.handles import TRIES
from durably._system import temp_names
from durably._system.native import win32 as win
from durably._system.native.linux import RENAME_EXCHANGE, RENAME_NOREPLACE
from durably._system.syscalls import Syscalls
from durably.testing import RecordingSyscalls, use
from entry_points import descriptors, named_leftovers
from fakes import FakeWindows, windows_error
from trees import NEW, OLD, grow, seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [needs_posix, needs_linux, needs_proc]


def save(path: Path, **options: Any) -> durably.Receipt:
    staged = durably.staged_directory(path, **options)
    with staged as directory:
        grow(directory, NEW)
    assert staged.receipt is not None
    return staged.receipt


@pytest.fixture
def target(path: Path) -> Path:
    """A directory that is there already."""
    path.mkdir()
    grow(path, OLD)
    return path


# Others, in the last moment.


class Made(RecordingSyscalls):
    """A table in which the target is made right before the rename to it."""

    def __init__(self, target: Path) -> None:
        super().__init__()
        self.target = target

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name == "renameat2" and arguments[3:] == (self.target.name, RENAME_NOREPLACE):
            self.target.mkdir()
            grow(self.target, OLD)


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_directory_that_is_made_right_before_the_rename(path: Path, overwrite: bool) -> None:
    with use(Made(path)):
        if overwrite:
            receipt = save(path)
            assert (receipt.replaced, "exchange" in receipt.steps) == (True, True)
        else:
            with pytest.raises(FileExistsError):
                save(path, overwrite=False)
    assert seen(path) == (NEW if overwrite else OLD)
    assert names(path.parent) == [path.name]


class Filling(RecordingSyscalls):
    """A table in which someone writes into a directory right before it is removed, a number of times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name == "rmdir" and arguments[0] == "part" and self.times:
            self.times -= 1
            with suppress(FileExistsError):
                os.mkdir("part/more", dir_fd=keywords["dir_fd"])


@pytest.mark.parametrize("times", [1, 5])
def test_a_directory_that_fills_while_it_is_removed(target: Path, times: int) -> None:
    table = Filling(times)
    with use(table):
        receipt = save(target)
    assert (table.times, named_leftovers(None, receipt)) == (0, set())
    assert seen(target) == NEW
    assert names(target.parent) == [target.name]


def test_a_directory_that_fills_for_ever_is_left_and_named(target: Path) -> None:
    with use(Filling(-1)):
        receipt = save(target)
    assert seen(target) == NEW
    (left,) = named_leftovers(None, receipt)
    assert set(names(target.parent)) == {left, target.name}


class TakenBack(Syscalls):
    """A table in which the directory is a file at the exchange, and the answer to the second is lost."""

    def __init__(self, target: Path) -> None:
        super().__init__()
        self.target = target
        self.exchanges = 0
        self.renameat2 = self._move

    def _move(self, directory: int, name: str, other: int, other_name: str, flags: int) -> None:
        exchanged = flags == RENAME_EXCHANGE and other_name == self.target.name
        self.exchanges += exchanged
        if exchanged and self.exchanges == 1:
            shutil.rmtree(self.target)
            self.target.write_bytes(b"precious")
        Syscalls().renameat2(directory, name, other, other_name, flags)
        if self.exchanges == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_an_exchange_that_is_taken_back_without_an_answer(target: Path) -> None:
    with use(TakenBack(target)), pytest.raises(NotADirectoryError, match="became something else"):
        save(target)
    assert target.read_bytes() == b"precious"
    assert names(target.parent) == [target.name]


class Interrupted(Syscalls):
    """A table in which the flush above the target is interrupted, and fails from then on."""

    def __init__(self, above: Path) -> None:
        super().__init__()
        self.above = above.stat().st_ino
        self.met = 0
        self.fsync = self._fsync

    def _fsync(self, fd: int) -> None:
        if os.fstat(fd).st_ino != self.above:
            os.fsync(fd)
            return
        self.met += 1
        if self.met == 1:
            raise KeyboardInterrupt
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_an_interrupt_before_a_flush_that_fails_names_the_old_tree(target: Path) -> None:
    before = descriptors()
    with use(Interrupted(target.parent)), pytest.raises(KeyboardInterrupt) as caught:
        save(target)
    assert seen(target) == NEW
    (left,) = set(names(target.parent)) - {target.name}
    assert named_leftovers(caught.value, None) == {left}
    assert seen(target.parent / left / target.name) == OLD
    assert descriptors() == before


# Metadata, and mounts.


@needs_root
def test_the_group_bit_does_not_stay_without_the_group(target: Path) -> None:
    os.chown(target, -1, 4321)
    target.chmod(0o2755)
    with use(Refusing(fchown=errno.EPERM)):
        receipt = save(target)
    found = target.stat()
    assert found.st_gid != 4321
    assert not found.st_mode & stat.S_ISGID
    assert receipt.lost


def test_a_target_that_is_a_mount_of_its_own(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the table of mounts does not tell."""
    monkeypatch.setattr(Linux, "mounts_in", lambda self, parent, name: [])
    table = Syscalls()
    inode = target.stat().st_ino
    table.mount_id = lambda fd: int(os.fstat(fd).st_ino == inode)
    with use(table), pytest.raises(UnsupportedError, match="mounted file system") as caught:
        save(target)
    assert caught.value.errno == errno.EBUSY
    assert seen(target) == OLD
    assert names(target.parent) == [target.name]


def test_a_copy_on_a_system_without_clones(path: Path) -> None:
    with use(Syscalls(), "freebsd"):
        save(path, fallback="symlink")
        with durably.staged_directory(path, fallback="symlink", start_from="copy") as directory:
            assert seen(directory) == NEW
            (directory / "more").write_bytes(b"more")
    assert seen(path) == {**NEW, "more": b"more"}


# What a forked child does, done here as if this were the child.


@pytest.mark.parametrize("error", [KeyError, RuntimeError])
def test_a_childs_directory_is_its_parents(
    target: Path, as_child: Callable[[], None], error: type[Exception]
) -> None:
    with pytest.raises(error), durably.staged_directory(target) as directory:
        grow(directory, NEW)
        as_child()
        if error is KeyError:
            raise KeyError
    assert seen(directory) == NEW
    assert seen(target) == OLD


# Sweeps.


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever process has made a name is gone."""
    monkeypatch.setattr(Linux, "is_running", lambda self, maker: False)


def swept(place: Path) -> dict[str, tuple[bool, str]]:
    return {
        os.path.basename(one.path): (one.removed, one.reason) for one in durably.sweep(place, older_than=0)
    }


@pytest.mark.usefixtures("dead")
def test_an_old_version_that_was_to_be_kept_is_not_swept(path: Path) -> None:
    version, private = path.with_name(temp_names.fresh("v")), path.with_name(temp_names.fresh("d"))
    version.mkdir()
    private.mkdir()
    (private / temp_names.fresh("f")).symlink_to(version.name)
    found = swept(path.parent)
    assert not any(removed for removed, _ in found.values())
    assert "was to be kept: move it away" in found[version.name][1]
    assert "notes which old directory" in found[private.name][1]
    version.rename(path)
    assert [removed for removed, _ in swept(path.parent).values()] == [True]
    assert names(path.parent) == [path.name]


@pytest.mark.usefixtures("dead")
def test_an_old_tree_that_was_to_be_kept_is_not_swept(path: Path) -> None:
    private = path.with_name(temp_names.fresh("d"))
    (private / "target").mkdir(parents=True)
    mark = private / temp_names.fresh("f")
    mark.symlink_to("1")
    ((removed, reason),) = swept(path.parent).values()
    assert not removed
    assert "it holds an old directory" in reason
    mark.unlink()
    mark.symlink_to(str((private / "target").stat().st_ino))  # the tree in it is the new one
    ((removed, _),) = swept(path.parent).values()
    assert removed
    assert names(path.parent) == []


@pytest.mark.usefixtures("dead")
def test_a_private_directory_that_goes_while_a_version_is_swept(path: Path) -> None:
    version, private = path.with_name(temp_names.fresh("v")), path.with_name(temp_names.fresh("d"))
    version.mkdir()
    private.mkdir()

    class Going(RecordingSyscalls):
        met = False

        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            self.met = self.met or arguments[:1] == (version.name,)
            if name == "open" and arguments[0] == private.name and self.met:
                private.rmdir()

    with use(Going()):
        swept_last = durably.sweep(path.parent, older_than=0, dry_run=True)[-1]
    assert (swept_last.removed, "is gone" in swept_last.reason) == (True, True)
    assert names(path.parent) == [version.name]


@pytest.mark.usefixtures("dead")
def test_a_link_that_cannot_be_read_keeps_everything(path: Path) -> None:
    version = path.with_name(temp_names.fresh("v"))
    version.mkdir()
    with use(Refusing(readlink=errno.EIO)):
        ((removed, reason),) = swept(path.parent).values()
    assert (removed, "could not be removed" in reason) == (False, True)
    assert names(path.parent) == [version.name]


# Windows, by a table that acts on this disk.


@pytest.fixture
def fake() -> Iterator[FakeWindows]:
    table = FakeWindows()
    with use(table, "win32"):
        yield table


def test_windows_refuses_a_file(path: Path, fake: FakeWindows) -> None:
    path.write_bytes(b"precious")
    with pytest.raises(NotADirectoryError, match="nothing was changed"):
        save(path)
    assert path.read_bytes() == b"precious"
    assert names(path.parent) == [path.name]


def test_windows_leaves_a_name_that_is_taken(
    path: Path, fake: FakeWindows, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = temp_names.fresh
    taken = fresh("d")
    path.with_name(taken).mkdir()
    given = iter([taken])
    monkeypatch.setattr(temp_names, "fresh", lambda kind: next(given, None) or fresh(kind))
    save(path)
    assert seen(path) == NEW
    assert names(path.parent) == sorted([taken, path.name])


def test_windows_takes_only_a_directory(path: Path, fake: FakeWindows) -> None:
    with pytest.raises(NotADirectoryError, match="not changed"), durably.staged_directory(path) as directory:
        directory.rmdir()
        directory.write_bytes(b"")
    assert names(path.parent) == []


def moving(fake: FakeWindows, before: Callable[[], None], *, moves: bool, code: int) -> None:
    """Have the rename do this before, take place or not, and fail with this."""
    move = fake.move_file

    def moved(old: str, new: str, flags: int) -> None:
        before()
        if moves:
            move(old, new, flags)
        raise windows_error(code, new)

    fake.move_file = moved


@pytest.mark.parametrize("moves", [True, False])
def test_windows_looks_whether_a_rename_that_failed_took_place(
    path: Path, fake: FakeWindows, moves: bool
) -> None:
    moving(fake, lambda: None, moves=moves, code=win.ERROR_INVALID_PARAMETER)
    with use(fake, "win32"):
        if moves:
            assert not save(path).replaced
        else:
            with pytest.raises(OSError, match="Windows error"):
                save(path)
    assert seen(path) == (NEW if moves else None)
    assert names(path.parent) == ([path.name] if moves else [])


@pytest.mark.parametrize("overwrite", [True, False])
def test_windows_does_not_wait_for_a_directory_to_go(path: Path, fake: FakeWindows, overwrite: bool) -> None:
    moving(fake, path.mkdir, moves=False, code=win.ERROR_ACCESS_DENIED)
    error = UnsupportedError if overwrite else FileExistsError
    with use(fake, "win32"), pytest.raises(error):
        save(path, overwrite=overwrite)
    assert seen(path) == {}
    assert names(path.parent) == [path.name]
    assert fake.clocks.pauses == []


def test_windows_waits_for_who_holds_the_staged_directory(path: Path, fake: FakeWindows) -> None:
    fake.volume.plan.fail("move_file", win.ERROR_ACCESS_DENIED, times=2 * TRIES)
    save(path)
    assert seen(path) == NEW
    assert len(fake.clocks.pauses) == 2


@pytest.mark.parametrize("moves", [True, False])
def test_windows_says_that_the_outcome_is_not_known(path: Path, fake: FakeWindows, moves: bool) -> None:
    def deny(*arguments: Any, **keywords: Any) -> os.stat_result:
        raise windows_error(win.ERROR_SHARING_VIOLATION)

    moving(fake, lambda: setattr(fake, "stat", deny), moves=moves, code=win.ERROR_INVALID_PARAMETER)
    with use(fake, "win32"), pytest.raises(OutcomeUnknownError) as caught:
        save(path)
    left = set(names(path.parent)) - {path.name}
    assert named_leftovers(caught.value, None) == left
    assert len(left) == 1
    assert seen(path) == (NEW if moves else None)
