"""Transaction: all or none, whatever fails; its own writes are read; others are met with a clear error."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import shutil
import stat
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import durably
import entry_points
import transactions
from capabilities import (
    NOBODY,
    needs_file_system,
    needs_linux,
    needs_mount,
    needs_posix,
    needs_unprivileged_user,
)
from durably.testing import FailingSyscalls, RecordingSyscalls, use
from entry_points import LINUX, POSIX, Way, in_child, shown
from interrupting import Interrupting
from mounts import bound, mounted
from transactions import (
    BEFORE,
    EVERYTHING,
    JOURNAL,
    MACOS,
    NO_LINKS,
    ONE,
    ONE_REMOVED,
    ONE_TREE,
    REPLACING,
    SCENARIOS,
    STAGED,
    SWAPPING,
    WAYS,
    WINDOWS,
    Scenario,
    directories,
    held,
    ours,
    recover,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [needs_posix, needs_linux]

LEVELS = ("durable", "consistent", "none")
LINKLESS = (NO_LINKS, (REPLACING, STAGED, ONE, ONE_REMOVED, ONE_TREE))


def _named(value: object) -> str | None:
    return getattr(value, "name", None)


@pytest.fixture
def root() -> Iterator[Path]:
    with entry_points.folder() as directory:
        (directory / "root").mkdir(mode=0o755)
        yield directory / "root"


def _saved(root: Path, **files: bytes) -> None:
    for name, content in files.items():
        (root / name).write_bytes(content)


# What it does.


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=_named)
@pytest.mark.parametrize("way", WAYS, ids=shown)
def test_it_does_everything(scenario: Scenario, way: Way, level: str, root: Path) -> None:
    scenario.lay(root)
    before = entry_points.descriptors()
    with use(way.base(), way.system):
        done = scenario.run(root, durability=level).receipt
    assert held(root) == scenario.after
    assert ours(root) == []
    assert entry_points.descriptors() == before
    assert done is not None
    changed = {name for name in {*BEFORE, *scenario.after} if BEFORE.get(name) != scenario.after.get(name)}
    assert {*done.written, *done.removed} == changed
    assert ("journal" in done.steps) == (len(changed) > 1)
    assert scenario is not EVERYTHING or any("sync" in step.lower() for step in done.steps) == (
        level != "none"
    )


@pytest.mark.parametrize("scenario", LINKLESS[1], ids=_named)
def test_without_hard_links_files_change_places(scenario: Scenario, root: Path) -> None:
    scenario.lay(root)
    with use(NO_LINKS.base(), NO_LINKS.system):
        scenario.run(root)
    assert held(root) == scenario.after
    assert ours(root) == []


def test_without_links_and_exchange_nothing_is_changed(root: Path) -> None:
    table = RecordingSyscalls(NO_LINKS.base())
    REPLACING.lay(root)
    with use(table, POSIX.system), pytest.raises(durably.UnsupportedError):
        REPLACING.run(root)
    assert held(root) == REPLACING.before
    assert ours(root) == []
    with use(table, POSIX.system), pytest.raises(durably.UnsupportedError):
        SWAPPING.run(root)


def test_an_exception_throws_everything_away(root: Path) -> None:
    EVERYTHING.lay(root)
    with pytest.raises(KeyError):
        with durably.Transaction(root) as txn:
            EVERYTHING.act(txn)
            raise KeyError
    assert held(root) == BEFORE
    assert directories(root) == {"sub"}
    assert ours(root) == []


def test_a_rename_to_the_same_name_is_nothing(root: Path) -> None:
    _saved(root, a=b"old")
    before = (root / "a").stat()
    transaction = durably.Transaction(root)
    with transaction as txn:
        txn.rename("a", "a")
    assert transaction.receipt is not None
    assert transaction.receipt.written == ()
    assert (root / "a").stat() == before


def test_nothing_done_is_nothing(root: Path) -> None:
    transaction = durably.Transaction(root)
    with transaction:
        pass
    assert transaction.receipt is not None
    assert transaction.receipt.written == ()
    assert os.listdir(root) == []


def test_one_change_needs_no_journal_and_no_lock(root: Path) -> None:
    for scenario in (ONE, ONE_REMOVED, ONE_TREE):
        scenario.lay(root)
        table = RecordingSyscalls()
        with use(table):
            scenario.run(root)
        assert "flock" not in table.names
        assert not any(JOURNAL in call.arguments for call in table.record if call.name != "stat")


def _reads(txn: durably.Transaction) -> None:
    txn.write_bytes("a", txn.read_bytes("a") + b"!")


def _looks(txn: durably.Transaction) -> None:
    if not txn.exists("b"):
        txn.write_bytes("b", b"first")


def _expects(txn: durably.Transaction) -> None:
    txn.write_bytes("a", b"next", expect=b"old")


def _expects_to_remove(txn: durably.Transaction) -> None:
    txn.remove("a", expect=b"old")


def _appends(txn: durably.Transaction) -> None:
    with txn.open("a", "ab") as file:
        file.write(b"!")


@pytest.mark.parametrize("act", [_reads, _looks, _expects, _expects_to_remove, _appends])
def test_one_change_that_rests_on_what_was_found_excludes_others(
    root: Path, act: Callable[[durably.Transaction], None]
) -> None:
    """Another that has found the same cannot come between the last look and the change."""
    import fcntl

    _saved(root, a=b"old")
    held_there: list[str] = []

    class Locked(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            changes = name in ("replace", "renameat2", "unlink") and {"a", "b"} & set(arguments)
            if changes:
                fd = os.open(root, os.O_RDONLY)
                try:
                    with pytest.raises(BlockingIOError):
                        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    held_there.append(name)
                finally:
                    os.close(fd)

    table = Locked()
    with use(table), durably.Transaction(root) as txn:
        act(txn)
    assert held_there
    assert not any(JOURNAL in call.arguments for call in table.record if call.name != "stat")
    assert ours(root) == []


def test_it_reads_its_own_writes(root: Path) -> None:
    _saved(root, old=b"old", other=b"other")
    with durably.Transaction(root) as txn:
        assert txn.read_bytes("old") == b"old"
        txn.write_text("old", "a\r\nb", newline="")
        assert txn.read_text("old") == "a\nb"
        assert txn.read_bytes(root / "old") == b"a\r\nb"
        with txn.open("old", "a") as file:
            file.write("!")
        with txn.open("old", "r+") as file:
            assert file.read(1) == "a"
        assert txn.read_bytes("old") == b"a\r\nb!"
        txn.write_bytes("old", b"again")
        txn.remove("other")
        assert not txn.exists("other")
        with pytest.raises(FileNotFoundError):
            txn.read_bytes("other")
        with pytest.raises(FileNotFoundError):
            txn.remove("other")
        txn.write_bytes("deep/er/file", b"deep")
        assert txn.exists("deep")
        assert txn.exists("deep/er/file")
        assert txn.read_bytes("deep/er/file") == b"deep"
        txn.rename("deep/er/file", "deep/est")
        assert not txn.exists("deep/er/file")
        assert not txn.exists("nowhere/at/all")
        assert held(root) == {"old": b"old", "other": b"other"}
    assert held(root) == {"old": b"again", "deep/est": b"deep"}


def test_a_failed_write_leaves_the_earlier_one(root: Path) -> None:
    with durably.Transaction(root) as txn:
        txn.write_bytes("a", b"first")
        with pytest.raises(KeyError), txn.open("a", "wb") as file:
            file.write(b"second")
            raise KeyError
        with pytest.raises(KeyError), txn.staged_path("a") as path:
            path.write_bytes(b"third")
            raise KeyError
        with pytest.raises(FileNotFoundError), txn.staged_path("b"):
            pass
        with pytest.raises(KeyError), txn.open("never/there", "wb"):
            raise KeyError
        writer = txn.open("a", "wb")
        writer.file.write(b"fourth")
        writer.discard()
        writer.discard()
        with pytest.raises(ValueError, match="thrown away"):
            writer.add()
    assert held(root) == {"a": b"first"}
    assert directories(root) == set()
    assert ours(root) == []


def test_metadata_is_carried(root: Path) -> None:
    _saved(root, a=b"old", b=b"old")
    (root / "a").chmod(0o640)
    with durably.Transaction(root) as txn:
        txn.write_bytes("a", b"new")
        txn.write_bytes("a", b"newer")
        with txn.staged_path("b") as path:
            path.write_bytes(b"new")
            path.chmod(0o777)
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o640
    assert stat.S_IMODE((root / "b").stat().st_mode) == 0o644
    with durably.Transaction(root, permissions=0o604) as txn:
        txn.write_bytes("a", b"new")
        txn.write_bytes("new/c", b"new")
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o604
    assert stat.S_IMODE((root / "new/c").stat().st_mode) == 0o604


def test_create_only(root: Path) -> None:
    _saved(root, a=b"old")
    with durably.Transaction(root, overwrite=False) as txn:
        with pytest.raises(FileExistsError):
            txn.write_bytes("a", b"new")
        txn.write_bytes("b", b"new")
        with pytest.raises(FileExistsError):
            txn.write_bytes("b", b"newer")
        with pytest.raises(FileExistsError):
            txn.open("a", "x")
    assert held(root) == {"a": b"old", "b": b"new"}


# Arguments.


@pytest.mark.parametrize("path", ["../a", "a/../../b", "/elsewhere/a", "sub/..", JOURNAL, f"sub/{JOURNAL}"])
def test_paths_outside_are_refused(path: str, root: Path) -> None:
    with durably.Transaction(root) as txn:
        for act in (
            lambda: txn.write_bytes(path, b""),
            lambda: txn.open(path),
            lambda: txn.remove(path),
            lambda: txn.rename(path, "a"),
            lambda: txn.rename("a", path),
            lambda: txn.exists(path),
        ):
            with pytest.raises(ValueError, match=r"root|keeps"):
                act()
    assert os.listdir(root) == []


@pytest.mark.parametrize("path", [".", "sub/", "sub", ""])
def test_directories_are_refused(path: str, root: Path) -> None:
    (root / "sub").mkdir()
    with durably.Transaction(root) as txn:
        with pytest.raises((IsADirectoryError, FileNotFoundError)):
            txn.write_bytes(path, b"")
        with pytest.raises((IsADirectoryError, FileNotFoundError)):
            txn.remove(path)
    assert os.listdir(root) == ["sub"]


def test_files_and_directories_do_not_mix(root: Path) -> None:
    _saved(root, a=b"old")
    with durably.Transaction(root) as txn:
        txn.write_bytes("n/x", b"")
        for path in ("n/x/y", "a/y"):
            with pytest.raises(NotADirectoryError):
                txn.write_bytes(path, b"")
        with pytest.raises(IsADirectoryError):
            txn.write_bytes("n", b"")


def test_bad_arguments(root: Path) -> None:
    with pytest.raises(ValueError, match="allow_in_place"):
        durably.Transaction(root, allow_in_place=True)
    with pytest.raises(ValueError, match="durability"):
        durably.Transaction(root, durability="much")  # type: ignore[arg-type]
    transaction = durably.Transaction(root)
    with pytest.raises(ValueError, match="with block"):
        transaction.write_bytes("a", b"")
    with transaction as txn:
        with pytest.raises(TypeError, match="expect"):
            txn.write_bytes("a", b"", expect="text")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            txn.write_bytes("a", "text")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="once"), transaction:
            pass
        for act in (copy.copy, pickle.dumps):
            with pytest.raises(TypeError):
                act(txn)
    with pytest.raises(ValueError, match="with block"):
        transaction.exists("a")
    with pytest.raises(FileNotFoundError), durably.Transaction(root / "none"):
        pass
    with pytest.raises(FileNotFoundError), durably.Transaction(root, make_parents=False) as txn:
        txn.write_bytes("n/x", b"")
    assert os.listdir(root) == []


def test_a_relative_root_is_resolved_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    transaction = durably.Transaction("root")
    monkeypatch.chdir("/")
    with transaction as txn:
        txn.write_bytes("a", b"new")
        txn.write_bytes("b", b"new")
    assert held(root) == {"a": b"new", "b": b"new"}


def test_links_are_not_followed(root: Path, tmp_path: Path) -> None:
    _saved(root, file=b"old")
    _saved(tmp_path, victim=b"victim")
    (root / "link").symlink_to(tmp_path / "victim")
    (root / "down").symlink_to(tmp_path)
    with durably.Transaction(root) as txn:
        with pytest.raises(OSError, match="Errno") as caught:
            txn.write_bytes("link", b"new")
        assert caught.value.errno == errno.ELOOP
        with pytest.raises(OSError, match="Errno"):
            txn.write_bytes("down/victim", b"new")
        with pytest.raises(OSError, match="Errno"):
            txn.read_bytes("link")
    with durably.Transaction(root, symlinks="replace") as txn:
        txn.write_bytes("link", b"new")
        txn.write_bytes("file", b"new")
    assert not (root / "link").is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"victim"


# Others.


def test_a_lost_race_is_told(root: Path) -> None:
    acts: tuple[Callable[[durably.Transaction], object], ...] = (
        lambda txn: txn.write_bytes("a", b"mine"),
        lambda txn: txn.remove("a"),
        lambda txn: txn.rename("a", "z"),
        lambda txn: txn.write_bytes("a", txn.read_bytes("a") + b" and more"),
    )
    for number, act in enumerate(acts):
        for more in (False, True):
            _saved(root, a=b"old", b=b"old")
            with pytest.raises(OSError, match="Errno") as caught:
                with durably.Transaction(root) as txn:
                    act(txn)
                    if more:
                        txn.write_bytes("b", b"mine")
                    durably.write_bytes(root / "a", b"theirs")
            assert caught.value.errno == errno.ESTALE, number
            assert held(root) == {"a": b"theirs", "b": b"old"}
            assert ours(root) == []


@pytest.mark.parametrize("more", [False, True])
def test_one_that_appears_meanwhile_is_not_replaced(root: Path, more: bool) -> None:
    with pytest.raises(OSError, match="Errno") as caught:
        with durably.Transaction(root) as txn:
            txn.write_bytes("a", b"mine")
            txn.write_bytes("n/x", b"mine")
            if not more:
                txn.remove("n/x")
            durably.write_bytes(root / "a", b"theirs")
    assert caught.value.errno == errno.ESTALE
    assert held(root) == {"a": b"theirs"}


def test_expect(root: Path) -> None:
    _saved(root, a=b"1", b=b"1")
    with durably.Transaction(root) as txn:
        txn.write_bytes("a", b"2", expect=b"1")
        txn.write_bytes("new", b"1", expect=None)
        txn.write_bytes("a", b"3", expect=b"2")
        for act in (
            lambda: txn.write_bytes("b", b"2", expect=b"0"),
            lambda: txn.write_bytes("b", b"2", expect=None),
            lambda: txn.write_bytes("none", b"2", expect=b"1"),
            lambda: txn.write_text("new", "2", expect=None),
            lambda: txn.open("b", "wb", expect=b"0"),
            lambda: txn.remove("b", expect=b"0"),
            lambda: txn.staged_path("b", expect=b"0").__enter__(),
        ):
            with pytest.raises(OSError, match="Errno") as caught:
                act()
            assert caught.value.errno == errno.ESTALE
        txn.remove("b", expect=b"1")
    assert held(root) == {"a": b"3", "new": b"1"}


def test_expect_holds_until_the_commit(root: Path) -> None:
    _saved(root, a=b"1", b=b"1")
    times = (root / "a").stat()
    with pytest.raises(OSError, match="Errno") as caught:
        with durably.Transaction(root) as txn:
            txn.write_bytes("a", b"2", expect=b"1")
            txn.write_bytes("b", b"2")
            (root / "a").write_bytes(b"9")  # in place, of the same size, and as old as before
            os.utime(root / "a", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert caught.value.errno == errno.ESTALE
    assert held(root) == {"a": b"9", "b": b"1"}


def test_one_file_is_written_once_at_a_time(root: Path) -> None:
    with durably.Transaction(root) as txn:
        with txn.open("a", "wb"):
            for act in (
                lambda: txn.write_bytes("a", b""),
                lambda: txn.open("a"),
                lambda: txn.rename("a", "b"),
                lambda: txn.staged_path("a").__enter__(),
            ):
                with pytest.raises(OSError, match="Errno") as caught:
                    act()
                assert caught.value.errno == errno.EBUSY
    with pytest.raises(ValueError, match="still being written"):
        with durably.Transaction(root) as txn:
            txn.write_bytes("b", b"")
            writer = txn.open("c", "wb")
    writer.discard()
    assert held(root) == {"a": b""}
    assert ours(root) == []


def test_threads_share_one(root: Path) -> None:
    with durably.Transaction(root) as txn:

        def write(number: int) -> None:
            for each in range(20):
                txn.write_bytes(f"d{number % 3}/{number}-{each}", b"%d" % each)
                with txn.open(f"{number}-{each}", "wb") as file:
                    file.write(b"%d" % each)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(held(root)) == 160
    assert ours(root) == []


def _count(root: Path, turns: int) -> int:
    """Add one to two counters, again where another was faster. How often that was."""
    conflicts = 0
    done = 0
    while done < turns:
        try:
            with durably.Transaction(root, durability="none") as txn:
                value = int(txn.read_text("one")) + 1
                txn.write_text("one", str(value))
                txn.write_text("two", str(value))
        except OSError as error:
            assert error.errno == errno.ESTALE, error
            conflicts += 1
        else:
            done += 1
    return conflicts


def test_processes_exclude_each_other(root: Path) -> None:
    _saved(root, one=b"0", two=b"0")
    entry_points.at_once([lambda: _count(root, 20)] * 3)
    assert held(root) == {"one": b"60", "two": b"60"}
    assert ours(root) == []


def test_a_shared_lock_gives_a_consistent_view(root: Path) -> None:
    import fcntl

    _saved(root, one=b"0", two=b"0")

    def look() -> int:
        seen = 0
        fd = os.open(root, os.O_RDONLY)
        try:
            while seen < 200:
                fcntl.flock(fd, fcntl.LOCK_SH)
                assert (root / "one").read_bytes() == (root / "two").read_bytes()
                fcntl.flock(fd, fcntl.LOCK_UN)
                seen += 1
        finally:
            os.close(fd)
        return seen

    entry_points.at_once([lambda: _count(root, 40), look])


def test_nested_roots(root: Path) -> None:
    """They do not exclude each other, and what one changes is a conflict in the other."""
    (root / "sub").mkdir()
    with pytest.raises(OSError, match="Errno") as caught:
        with durably.Transaction(root) as outer:
            outer.write_bytes("a", b"outer")
            outer.write_bytes("sub/b", b"outer")
            with durably.Transaction(root / "sub") as inner:
                inner.write_bytes("b", b"inner")
                inner.write_bytes("c", b"inner")
    assert caught.value.errno == errno.ESTALE
    assert held(root) == {"sub/b": b"inner", "sub/c": b"inner"}


# Forks and dropping.


def test_a_forked_child_has_no_part_in_it(root: Path) -> None:
    def child(txn: durably.Transaction) -> list[str]:
        told = []
        acts: list[Callable[[], object]] = [
            lambda: txn.write_bytes("c", b""),
            lambda: txn.__exit__(None, None, None),
        ]
        for act in acts:
            try:
                act()
            except RuntimeError as error:
                told.append(str(error))
        return told

    with durably.Transaction(root) as txn:
        txn.write_bytes("a", b"new")
        txn.write_bytes("n/b", b"new")
        with txn.open("d", "wb") as file:
            file.write(b"new")
            assert len(in_child(lambda: child(txn))) == 2
    assert held(root) == {"a": b"new", "n/b": b"new", "d": b"new"}


def test_a_forked_child_does_not_unlock(root: Path) -> None:
    """It is forked in the middle of a commit, and lives on: the lock is its parent's alone."""
    go_on, stop = os.pipe()

    class Forking(RecordingSyscalls):
        child = 0

        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "renameat2" and not self.child:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self.child = os.fork()
                if self.child == 0:
                    os.close(stop)
                    os.read(go_on, 1)
                    os._exit(0)

    def body() -> bool:
        table = Forking()
        with use(table):
            EVERYTHING.run(root)
        # The child still lives; the next one does not wait for it.
        with durably.Transaction(root) as txn:
            txn.write_bytes("p", b"")
            txn.write_bytes("q", b"")
        os.write(stop, b"!")
        os.waitpid(table.child, 0)
        return True

    EVERYTHING.lay(root)
    assert in_child(body)
    os.close(go_on)
    os.close(stop)
    assert held(root) == {**EVERYTHING.after, "p": b"", "q": b""}


def test_a_dropped_one_throws_everything_away(root: Path) -> None:
    transaction = durably.Transaction(root)
    transaction.__enter__()
    transaction.write_bytes("a", b"")
    with pytest.warns(ResourceWarning, match="transaction"):
        del transaction
    assert os.listdir(root) == []
    with durably.Transaction(root) as txn:
        writer = txn.open("a", "wb")
        with pytest.warns(ResourceWarning, match="file of a transaction"):
            del writer
    assert os.listdir(root) == []


# Whatever fails.


def _check_outcome(scenario: Scenario, root: Path, error: BaseException | None, told: object) -> bool:
    """What an error says is so. Whether a journal stands."""
    standing = (root / JOURNAL).exists()
    found = held(root)
    if error is None or isinstance(error, durably.NotDurableError):
        assert found == scenario.after, (told, found)
    elif isinstance(error, durably.RecoveryNeededError):
        assert standing, told
        assert str(error.path) == str(root), told
    else:
        assert found == scenario.before, (told, found)
        assert directories(root) == {"sub"}, told
        left = {os.path.basename(path) for path in getattr(error, "leftovers", ())}
        assert {os.path.basename(path) for path in ours(root)} <= left | {""} or _are_in_one(root, left), told
    assert standing == isinstance(error, durably.RecoveryNeededError), told
    return standing


def _are_in_one(root: Path, left: set[str]) -> bool:
    """Whether everything that is left lies in something that is named."""
    return all(left & set(path.split("/")) for path in ours(root))


FAULTS = [
    *(
        (scenario, way)
        for way in (LINUX, WINDOWS)
        for scenario in (EVERYTHING, STAGED, ONE, ONE_REMOVED, ONE_TREE)
    ),
    (SWAPPING, LINUX),
    (EVERYTHING, POSIX),
    (REPLACING, MACOS),
    (REPLACING, NO_LINKS),
]
_SELECTION = int(os.environ.get("DURABLY_FAULTS_EACH", "4"))


@pytest.mark.parametrize(("scenario", "way"), FAULTS, ids=_named)
def test_each_call_fails(scenario: Scenario, way: Way, root: Path) -> None:
    """A selection of the calls, or with DURABLY_FAULTS_EACH=1 every one."""
    standing = count = 0
    base = way.base()
    scenario.lay(root)
    table = FailingSyscalls(base=base)
    with use(table, way.system):
        scenario.run(root)
    number = 0
    for at, name in enumerate(table.names, 1):
        for error in durably.testing.ERRORS.get(name, (errno.EIO, errno.EACCES)):
            for forever in (False, True):
                number += 1
                if number % _SELECTION:
                    continue
                scenario.lay(root)
                failing = FailingSyscalls(at, error, forever=forever, base=base)
                with use(failing, way.system):
                    _, failure = entry_points.attempt(lambda: scenario.run(root))  # type: ignore[arg-type, return-value]
                told = f"{failing.failed}, {os.strerror(error)}, for ever: {forever}: {failure!r}"
                if _check_outcome(scenario, root, failure, told):
                    standing += 1
                    recover(root, way, base)
                    assert held(root) in (scenario.before, scenario.after), told
                    assert forever or ours(root) == [], told
                count += 1
    print(f"{scenario.name}, {way.name}: {count} failures, {standing} recovered: 0 violations")
    assert count > 5


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("scenario", "way"),
    [(EVERYTHING, LINUX), (STAGED, LINUX), (ONE, LINUX), (REPLACING, NO_LINKS)],
    ids=_named,
)
def test_interrupted_at_calls(scenario: Scenario, way: Way, after: bool, root: Path) -> None:
    """All old, all new, or a journal that recover finishes; and no lock is left."""
    number = 1
    outcomes = set()
    while True:
        scenario.lay(root)
        before = entry_points.descriptors()
        table = Interrupting(number, way.base(), after=after)
        try:
            with use(table, way.system):
                scenario.run(root)
        except KeyboardInterrupt:
            told = f"{'after' if after else 'before'} {table.record[number - 1]}"
        else:
            break
        if (root / JOURNAL).exists():
            outcomes.add(recover(root, way).outcome)
        assert held(root) in (scenario.before, scenario.after), told
        for fd in entry_points.descriptors() - before:
            os.close(fd)  # at most the one that was opened by the call that was interrupted
        transactions.sweep_all(root)
        number += 1 if scenario is ONE else 3
    assert number > 5


# The model.

NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "n/a", "n/m/a"])
STEP = st.one_of(
    st.tuples(st.just("write"), NAMES, st.binary(max_size=3)),
    st.tuples(st.just("append"), NAMES, st.binary(max_size=3)),
    st.tuples(st.just("stage"), NAMES, st.binary(max_size=3)),
    st.tuples(st.just("remove"), NAMES, st.none()),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("fail"), NAMES, st.none()),
)


def _step(txn: durably.Transaction, model: dict[str, bytes], what: str, name: str, value: Any) -> None:
    if what == "write":
        txn.write_bytes(name, value)
        model[name] = value
    elif what == "append":
        with txn.open(name, "ab") as file:
            file.write(value)
        model[name] = model.get(name, b"") + value
    elif what == "stage":
        with txn.staged_path(name) as path:
            path.write_bytes(value)
        model[name] = value
    elif what == "fail":
        with pytest.raises(KeyError), txn.open(name, "wb"):
            raise KeyError
    elif name not in model:
        with pytest.raises(FileNotFoundError):
            txn.remove(name) if what == "remove" else txn.rename(name, value)
    elif what == "remove":
        txn.remove(name)
        del model[name]
    else:
        txn.rename(name, value)
        model[value] = model.pop(name)


@settings(max_examples=60, deadline=None)
@given(rounds=st.lists(st.tuples(st.lists(STEP, max_size=8), st.booleans()), max_size=4))
def test_it_is_a_dict_with_all_or_none(rounds: list[tuple[list[Any], bool]]) -> None:
    with entry_points.folder() as directory:
        root = directory / "root"
        (root / "d").mkdir(parents=True)
        root.chmod(0o755)
        model: dict[str, bytes] = {}
        for steps, commits in rounds:
            inside = dict(model)
            try:
                with durably.Transaction(root, durability="none") as txn:
                    for step in steps:
                        _step(txn, inside, *step)
                        assert {name for name in inside if txn.exists(name)} == set(inside)
                    assert {name: txn.read_bytes(name) for name in inside} == inside
                    assert held(root) == model
                    if not commits:
                        raise InterruptedError
            except InterruptedError:
                inside = model
            model = inside
            assert held(root) == model
            assert ours(root) == []


# Places.


@needs_unprivileged_user
def test_another_users_file_is_replaced_where_it_cannot_be_linked(root: Path) -> None:
    """protected_hardlinks, proc(5): they change places instead."""
    _saved(root, a=b"theirs", b=b"theirs")
    os.chown(root, NOBODY, NOBODY)
    root.parent.chmod(0o755)

    def body() -> None:
        with durably.Transaction(root) as txn:
            txn.write_bytes("a", b"mine")
            txn.write_bytes("b", b"mine")

    in_child(body, user=NOBODY)
    assert held(root) == {"a": b"mine", "b": b"mine"}
    assert ours(root) == []


def test_a_root_that_others_may_write_in_is_refused(root: Path) -> None:
    for mode in (0o775, 0o757, 0o1777):
        root.chmod(mode)
        with pytest.raises(durably.UnsupportedError, match="trusted"), durably.Transaction(root):
            pass
    assert os.listdir(root) == []


@needs_unprivileged_user
def test_a_root_that_may_not_be_written(root: Path) -> None:
    _saved(root, a=b"old", b=b"old")
    root.parent.chmod(0o755)

    def body() -> None:
        with pytest.raises(PermissionError), durably.Transaction(root) as txn:
            txn.remove("a")
            txn.write_bytes("b", b"new")

    in_child(body, user=NOBODY)
    assert held(root) == {"a": b"old", "b": b"old"}


@needs_mount
def test_a_mount_below_is_refused(root: Path) -> None:
    (root / "mounted").mkdir()
    (root / "aside").mkdir()
    with mounted("tmpfs", root / "mounted"), bound(root / "aside", root / "aside"):
        for below in ("mounted", "aside"):
            with pytest.raises(durably.UnsupportedError), durably.Transaction(root) as txn:
                txn.write_bytes("a", b"")
                txn.write_bytes(f"{below}/b", b"")
    assert held(root) == {}


@needs_mount
def test_a_full_disk(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "small", options="size=64k,mode=755") as root:
        _saved(root, a=b"old", b=b"old")
        with pytest.raises(OSError, match="Errno") as caught:
            with durably.Transaction(root) as txn:
                txn.write_bytes("a", b"new")
                txn.write_bytes("n/c", b"new")
                txn.write_bytes("b", bytes(70000))
        assert caught.value.errno == errno.ENOSPC
        assert held(root) == {"a": b"old", "b": b"old"}
        assert ours(root) == []
        with pytest.raises(OSError, match="Errno") as caught:  # the journal has no room any more
            with durably.Transaction(root) as txn:
                txn.write_bytes("a", b"new")
                txn.write_bytes("b", bytes((64 << 10) - 4096 * 3))
        assert caught.value.errno == errno.ENOSPC
        assert held(root) == {"a": b"old", "b": b"old"}
        assert ours(root) == []


@needs_file_system("vfat")
def test_files_without_lasting_numbers_are_refused(tmp_path: Path) -> None:
    with mounted("vfat", tmp_path / "fat") as root:
        with pytest.raises(durably.UnsupportedError, match="numbers"), durably.Transaction(root):
            pass


@needs_file_system("ext4")
def test_many_files_are_flushed_together(tmp_path: Path) -> None:
    with mounted("ext4", tmp_path / "disk", options="") as mount:
        root = mount / "root"
        root.mkdir(mode=0o755)
        table = RecordingSyscalls()
        with use(table):
            transaction = durably.Transaction(root)
            with transaction as txn:
                for number in range(200):
                    txn.write_bytes(f"{number}", b"%d" % number)
        assert len(held(root)) == 200
        assert transaction.receipt is not None
        if "syncfs" in transaction.receipt.steps:
            assert table.names.count("syncfs") == 1
            assert table.names.count("fsync") < 140  # none each, but while others keep the disk busy


def test_the_parts_of_a_tree_appear_at_once(root: Path) -> None:
    """Its one rename, seen from after each call."""
    seen = []

    class Looking(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            seen.append(held(root))

    with use(Looking()):
        with durably.Transaction(root) as txn:
            txn.write_bytes("n/x", b"x")
            txn.write_bytes("n/m/y", b"y")
    assert {len(each) for each in seen} == {0, 2}


def test_a_copied_tree_is_no_hidden_place(root: Path) -> None:
    """A root that was copied with its journal is not recovered by it: the files are others."""
    EVERYTHING.lay(root)
    shutil.copytree(root, root.parent / "copy")
    assert held(root.parent / "copy") == BEFORE
