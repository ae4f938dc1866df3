"""`sweep`: what is proven dead goes, everything else stays and says why."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_linux, needs_mount, needs_posix, needs_unprivileged_user, proc
from disk import NEW, OLD, Refusing, Without, as_nobody, names, needs_process_spaces, run
from durably import UnsupportedError, _commit, sweep
from durably._api import sweep as _sweep
from durably._commit.linux.strategy import Linux
from durably._receipts import Swept
from durably._system import temp_names
from durably._system.promises import FileSystem
from durably._system.temp_names import Maker
from durably.testing import RecordingSyscalls, use
from fakes import FakeWindows
from mounts import bound

if TYPE_CHECKING:
    from collections.abc import Iterator

fcntl = pytest.importorskip("fcntl", reason="needs a POSIX system")
pytestmark = pytest.mark.skipif(bool(proc()), reason=proc())

HERE = temp_names.this_process()
RANDOM = "0123456789abcdef"
OTHER_BOOT, OTHER_SPACE = "deadbeef", "1234"


def temporary(kind: str, maker: Maker, random: str = RANDOM) -> str:
    return f".durably-{kind}-{maker}-{random}.tmp"


def maker(**changes: Any) -> Maker:
    """This process, but for what is given."""
    values = {"boot": HERE.boot, "space": HERE.space, "process": HERE.process, "start": HERE.start}
    return Maker(**{**values, **changes})


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def made(directory: Path, kind: str, by: Maker, random: str = RANDOM) -> Path:
    path = directory / temporary(kind, by, random)
    if kind == "d":
        path.mkdir()
    else:
        path.write_bytes(OLD)
    return path


def only(found: list[Swept]) -> Swept:
    (one,) = found
    return one


# Names.


STRANGERS = [
    "file",
    ".durably",
    ".durably-.tmp",
    ".durably-f-.tmp",
    "durably-f-1-1-1-1-0123456789abcdef.tmp",
    f".durably-f-1-1-1-1-{RANDOM}.tmp.bak",
    f".durably-f-1-1-1-1-{RANDOM}",
    f"x.durably-f-1-1-1-1-{RANDOM}.tmp",
    f".durably-x-1-1-1-1-{RANDOM}.tmp",
    f".durably-F-1-1-1-1-{RANDOM}.tmp",
    f".durably-f-1-1-1-{RANDOM}.tmp",
    f".durably-f-1-1-1-1-1-{RANDOM}.tmp",
    f".durably-f-1-1-1-1-{RANDOM}0.tmp",
    ".durably-f-1-1-1-1-0123456789abcde.tmp",
    ".durably-f-1-1-1-1-0123456789abcdeg.tmp",
    ".durably-f-1-1-1-1-0123456789ABCDEF.tmp",
    f".durably-f-1-1-0x1-1-{RANDOM}.tmp",
    f".durably-f-1-1--1-1-{RANDOM}.tmp",
    f".durably-f-1-1-+1-1-{RANDOM}.tmp",
    f".durably-f-1-1-1 -1-{RANDOM}.tmp",
    f".durably-f-1-1-\u0661-1-{RANDOM}.tmp",
    f".durably-f--1-1-1-{RANDOM}.tmp",
]


def test_only_the_exact_pattern_is_looked_at(tmp_path: Path) -> None:
    for name in STRANGERS:
        (tmp_path / name).write_bytes(OLD)
    assert sweep(tmp_path, older_than=0) == []
    assert names(tmp_path) == sorted(STRANGERS)


@pytest.mark.parametrize("kind", ["f", "h", "d"])
def test_a_name_says_who_made_it(kind: Any) -> None:
    fresh = [temp_names.fresh(kind) for _ in range(200)]
    assert len(set(fresh)) == 200
    parsed = temp_names.parse(fresh[0])
    assert parsed is not None
    assert (parsed[0], str(parsed[1])) == (kind, str(HERE))
    assert (HERE.process, HERE.start > 0) == (os.getpid(), True)


def test_a_forked_child_makes_names_of_its_own() -> None:
    temp_names.fresh("f")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, temp_names.fresh("f").encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        parsed = temp_names.parse(pipe.read())
    os.waitpid(child, 0)
    assert parsed is not None
    assert parsed[1].process == child
    mine = temp_names.parse(temp_names.fresh("f"))
    assert mine is not None
    assert mine[1].process == os.getpid()


def test_where_the_system_tells_nothing_the_maker_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", fails)
    monkeypatch.setattr(os, "stat", fails)
    try:
        unknown = temp_names.this_process()
    finally:
        monkeypatch.undo()
    assert str(unknown) == f"0-0-{os.getpid():x}-0"


# By the process.


@pytest.mark.parametrize("kind", ["f", "h", "d"])
def test_what_a_dead_process_left_is_removed(tmp_path: Path, dead: int, kind: str) -> None:
    path = made(tmp_path, kind, maker(process=dead))
    one = only(sweep(tmp_path, older_than=0))
    assert (one.path, one.removed, one.reason) == (str(path), True, f"its process, {dead}, is gone")
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["f", "h", "d"])
def test_what_a_living_process_makes_stays(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path, kind, maker())
    one = only(sweep(tmp_path, older_than=0))
    assert (one.removed, one.reason) == (False, f"its process, {os.getpid()}, still runs")
    assert names(tmp_path) == [path.name]


def test_a_live_writer_is_not_disturbed(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with use(Without("unnamed")), durably.open(target, "wb") as file:
        assert [one.removed for one in sweep(tmp_path, older_than=0)] == [False]
        file.write(NEW)
    with durably.staged_path(target) as temporary_path:
        assert [one.removed for one in sweep(tmp_path, older_than=0)] == [False]
        temporary_path.write_bytes(NEW)
    assert target.read_bytes() == NEW
    assert sweep(tmp_path, older_than=0) == []


@pytest.mark.parametrize("kind", ["f", "h", "d"])
def test_a_number_that_another_process_has_by_now(tmp_path: Path, kind: str) -> None:
    made(tmp_path, kind, maker(start=HERE.start + 1))
    assert only(sweep(tmp_path, older_than=0)).removed
    assert names(tmp_path) == []


def test_a_process_whose_start_is_not_known_counts_as_the_same(tmp_path: Path) -> None:
    made(tmp_path, "f", maker(start=0))
    assert not only(sweep(tmp_path, older_than=0)).removed


def test_a_process_that_is_somebody_elses_still_runs(tmp_path: Path) -> None:
    made(tmp_path, "f", maker(process=1, start=temp_names.process_start(1)))
    assert not only(sweep(tmp_path, older_than=0)).removed


@needs_unprivileged_user
def test_a_process_that_may_not_be_signalled_still_runs(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    made(tmp_path, "f", maker(process=1, start=temp_names.process_start(1)))

    def body() -> None:
        assert not only(sweep(tmp_path, older_than=0)).removed

    as_nobody(tmp_path, body)


@pytest.mark.parametrize("number", [1 << 40, 1 << 70])
def test_a_number_that_no_process_can_have_proves_nothing(tmp_path: Path, number: int) -> None:
    path = made(tmp_path, "f", maker(process=number))
    assert not only(sweep(tmp_path, older_than=0)).removed
    assert path.exists()


KILLED = """
import os, sys, durably
from durably._commit.linux import strategy as linux
linux._descriptors_can_be_linked = False
if sys.argv[2] == "staged":
    staged = durably.staged_path(sys.argv[1])
    staged.__enter__().write_bytes(b"half")
else:
    writer = durably.open(sys.argv[1], "wb")
    writer.file.write(b"half")
    writer.file.flush()
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["staged", "stream"])
def test_what_a_killed_process_really_leaves(tmp_path: Path, how: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    assert run(KILLED, target, how).returncode == -signal.SIGKILL
    left = set(names(tmp_path)) - {"file"}
    assert len(left) == 1
    assert only(sweep(tmp_path)).reason.startswith("changed ")
    assert only(sweep(tmp_path, older_than=0)).removed
    assert names(tmp_path) == ["file"]
    assert target.read_bytes() == OLD


# By the lock, where the process cannot be seen.


@pytest.mark.parametrize("kind", ["h", "d"])
@pytest.mark.parametrize("hidden", [{"space": OTHER_SPACE}, {"boot": "0"}, {"space": "0"}], ids=str)
def test_a_lock_that_is_held_proves_life_and_a_free_one_death(
    tmp_path: Path, kind: str, hidden: dict[str, str]
) -> None:
    path = made(tmp_path, kind, maker(**hidden))
    held = os.open(path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    one = only(sweep(tmp_path, older_than=0))
    assert (one.removed, one.reason) == (False, "it is locked by a process that cannot be seen from here")
    os.close(held)
    one = only(sweep(tmp_path, older_than=0))
    assert (one.removed, one.reason) == (True, "its lock is free")
    assert names(tmp_path) == []


def test_a_file_that_nobody_locks_proves_nothing(tmp_path: Path) -> None:
    made(tmp_path, "f", maker(space=OTHER_SPACE))
    one = only(sweep(tmp_path, older_than=0))
    assert (one.removed, one.reason) == (False, "its process cannot be seen from here")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_a_lock_that_cannot_be_tested_proves_nothing(tmp_path: Path, number: int) -> None:
    path = made(tmp_path, "h", maker(space=OTHER_SPACE))
    with use(Refusing(flock=number)):
        one = only(sweep(tmp_path, older_than=0))
    assert (one.removed, one.reason) == (False, f"its lock cannot be tested: {os.strerror(number)}")
    assert path.exists()


CONTAINED = """
import os, sys, time, durably
from durably._commit.linux import strategy as linux
linux._descriptors_can_be_linked = False
writer = durably.open(sys.argv[1], "wb")
writer.file.write(b"half")
print(os.getpid(), flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9) if os.getpid() != 1 else os._exit(9)
"""


@needs_process_spaces
def test_a_process_in_another_process_space(tmp_path: Path) -> None:
    target = tmp_path / "file"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", CONTAINED, str(target)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"1\n"
        one = only(sweep(tmp_path, older_than=0))
        assert (one.removed, one.reason) == (False, "it is locked by a process that cannot be seen from here")
        process.stdin.close()
        process.wait()
    one = only(sweep(tmp_path, older_than=0))
    assert (one.removed, one.reason) == (True, "its lock is free")
    assert names(tmp_path) == []


# By the boot.


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The next sweep meets a file system of this type."""

    def choose(kind: str) -> None:
        monkeypatch.setattr(Linux, "file_system", lambda _, __: FileSystem(kind))

    return choose  # type: ignore[return-value] # by parameter


@pytest.mark.parametrize("kind", ["f", "h", "d"])
@pytest.mark.parametrize("file_system", ["ext4", "xfs", "btrfs", "tmpfs", "overlay"])
def test_what_is_from_before_the_boot_is_dead_on_a_local_disk(
    tmp_path: Path, on: Any, kind: str, file_system: str
) -> None:
    on(file_system)
    made(tmp_path, kind, maker(boot=OTHER_BOOT))
    one = only(sweep(tmp_path, older_than=0))
    assert (one.removed, one.reason) == (True, "it is from before the last boot")
    assert names(tmp_path) == []


@pytest.mark.parametrize("file_system", ["nfs4", "cifs", "fuse.sshfs", "9p", "ocfs2", "unknown"])
def test_another_hosts_file_stays_on_a_shared_disk(tmp_path: Path, on: Any, file_system: str) -> None:
    on(file_system)
    path = made(tmp_path, "f", maker(boot=OTHER_BOOT))
    one = only(sweep(tmp_path, older_than=0))
    assert (one.removed, one.reason) == (False, "its process cannot be seen from here")
    assert path.exists()


def test_a_maker_that_is_not_known_at_all(tmp_path: Path) -> None:
    path = made(tmp_path, "f", Maker("0", "0", 0, 0))
    assert not only(sweep(tmp_path, older_than=0)).removed
    assert path.exists()


# Directories.


def full(directory: Path) -> None:
    (directory / "deep" / "deeper").mkdir(parents=True)
    (directory / "data").write_bytes(NEW)
    (directory / "deep" / "data").write_bytes(NEW)
    (directory / "deep" / "deeper" / "data").write_bytes(NEW)
    os.mkfifo(directory / "deep" / "fifo")


def test_a_directory_goes_with_all_that_is_in_it(tmp_path: Path, dead: int) -> None:
    full(made(tmp_path, "d", maker(process=dead)))
    assert only(sweep(tmp_path, older_than=0)).removed
    assert names(tmp_path) == []


def test_a_link_in_it_is_removed_and_not_followed(tmp_path: Path, dead: int) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    full(precious)
    path = made(tmp_path, "d", maker(process=dead))
    (path / "way").symlink_to(precious, target_is_directory=True)
    (path / "file").symlink_to(precious / "data")
    assert only(sweep(tmp_path, older_than=0)).removed
    assert names(tmp_path) == ["precious"]
    assert (precious / "deep" / "deeper" / "data").read_bytes() == NEW


@pytest.mark.parametrize("kind", ["f", "h", "d"])
def test_a_link_of_such_a_name_is_not_ours(tmp_path: Path, dead: int, kind: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / temporary(kind, maker(process=dead))).symlink_to(precious)
    one = only(sweep(tmp_path, older_than=0))
    assert (one.removed, one.reason) == (False, "not what durably makes under such a name")
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("kind", ["f", "h", "d"])
def test_another_kind_of_thing_is_not_ours(tmp_path: Path, dead: int, kind: str) -> None:
    path = tmp_path / temporary(kind, maker(process=dead))
    path.write_bytes(OLD) if kind == "d" else path.mkdir()
    assert not only(sweep(tmp_path, older_than=0)).removed
    assert path.exists()


def test_a_directory_that_becomes_a_link_meanwhile_is_not_followed(tmp_path: Path, dead: int) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    full(precious)
    before = names(precious)
    path = made(tmp_path, "d", maker(process=dead))
    full(path)

    class Swapping(Without):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "open" and arguments[0] == path.name:
                path.rename(tmp_path / "moved")
                path.symlink_to(precious, target_is_directory=True)

    with use(Swapping()):
        one = only(sweep(tmp_path, older_than=0))
    assert (one.removed, path.is_symlink()) == (False, True)
    assert names(precious) == before


class NotEmptyFirst(Without):
    """Says of a directory that something is mounted on that it is not empty."""

    def __init__(self) -> None:
        super().__init__()
        self.rmdir = self._rmdir

    def _rmdir(self, name: str, *, dir_fd: int) -> None:
        try:
            os.rmdir(name, dir_fd=dir_fd)
        except OSError as error:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY)) from error


@needs_mount
@pytest.mark.parametrize("where", [".", "inner"])
@pytest.mark.parametrize("table", [Without(), NotEmptyFirst()], ids=["busy", "not empty"])
def test_a_mount_in_it_is_not_crossed(tmp_path: Path, dead: int, where: str, table: Without) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(OLD)
    path = made(tmp_path, "d", maker(process=dead))
    (path / "inner").mkdir()
    with bound(precious, path / where), use(table):
        one = only(sweep(tmp_path, older_than=0))
    why = f"another file system is mounted in it, at {path / where}"
    if where == "." and not isinstance(table, NotEmptyFirst):
        why = os.strerror(errno.EBUSY)
    assert (one.removed, one.reason) == (False, f"could not be removed: {why}")
    assert (precious / "file").read_bytes() == OLD
    assert only(sweep(tmp_path, older_than=0)).removed


# Options.


def test_young_ones_stay(tmp_path: Path, dead: int) -> None:
    path = made(tmp_path, "f", maker(process=dead))
    os.utime(path, (1, 1))  # the change time stays: moving a file in makes it young
    assert only(sweep(tmp_path)).reason.endswith("seconds ago")
    assert not only(sweep(tmp_path, older_than=60)).removed
    os.utime(path, (time.time() + 1000, time.time() + 1000))
    assert not only(sweep(tmp_path, older_than=0)).removed
    os.utime(path, (1, 1))
    assert only(sweep(tmp_path, older_than=0)).removed


def test_a_trial_removes_nothing(tmp_path: Path, dead: int) -> None:
    full(made(tmp_path, "d", maker(process=dead)))
    made(tmp_path, "f", maker(process=dead))
    made(tmp_path, "h", maker())
    before = names(tmp_path)
    told = [(one.path, one.removed, one.reason) for one in sweep(tmp_path, older_than=0, dry_run=True)]
    assert names(tmp_path) == before
    done = [(one.path, one.removed, one.reason) for one in sweep(tmp_path, older_than=0)]
    assert told == done
    assert [removed for _, removed, _ in done] == [True, True, False]
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize("seconds", [-1, float("nan"), -0.001])
def test_an_age_below_zero_is_refused(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(ValueError, match="older_than must be"):
        sweep(tmp_path, older_than=seconds)


@pytest.mark.parametrize("dry_run", [None, 0, "no"])
def test_a_trial_is_asked_for_by_true_or_false(tmp_path: Path, dead: int, dry_run: Any) -> None:
    left = made(tmp_path, "f", maker(process=dead))
    with pytest.raises(TypeError, match="dry_run must be True or False"):
        sweep(tmp_path, older_than=0, dry_run=dry_run)
    assert names(tmp_path) == [left.name]


@pytest.mark.parametrize("way", [str, os.fsencode, Path])
def test_the_directory_may_be_named_in_every_way(tmp_path: Path, dead: int, way: Any) -> None:
    path = made(tmp_path, "f", maker(process=dead))
    assert only(sweep(way(tmp_path), older_than=0)) == Swept(str(path), True, f"its process, {dead}, is gone")


def test_a_relative_directory(tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, "f", maker(process=dead))
    monkeypatch.chdir(tmp_path)
    assert only(sweep(".", older_than=0)).path == os.path.join(".", path.name)


def test_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(FileNotFoundError):
        sweep(tmp_path / "missing")
    with pytest.raises(NotADirectoryError):
        sweep(tmp_path / "file")
    with pytest.raises(UnsupportedError):
        sweep("http://host/prefix")
    with pytest.raises(TypeError):
        sweep(3)  # type: ignore[arg-type]


def test_below_the_directory_nothing_is_visited(tmp_path: Path, dead: int) -> None:
    (tmp_path / "inner").mkdir()
    path = made(tmp_path / "inner", "f", maker(process=dead))
    assert sweep(tmp_path, older_than=0) == []
    assert path.exists()


# What goes wrong.


@pytest.mark.parametrize(("kind", "call"), [("f", "unlink"), ("d", "rmdir")])
def test_what_cannot_be_removed_is_reported(tmp_path: Path, dead: int, kind: str, call: str) -> None:
    path = made(tmp_path, kind, maker(process=dead))
    other = made(tmp_path, "h", maker(space=OTHER_SPACE), RANDOM[::-1])
    with use(Refusing(**{call: errno.EACCES})):
        found = sweep(tmp_path, older_than=0)
    assert Swept(str(path), False, f"could not be removed: {os.strerror(errno.EACCES)}") in found
    assert len(found) == 2
    assert path.exists()
    assert other.exists() == (call == "unlink")


def test_what_vanishes_meanwhile_is_gone(tmp_path: Path, dead: int) -> None:
    made(tmp_path, "f", maker(process=dead))

    class Vanishing(Without):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "stat":
                raise FileNotFoundError(errno.ENOENT, "gone")

    with use(Vanishing()):
        assert only(sweep(tmp_path, older_than=0)).reason == "gone by itself"


def test_what_vanishes_before_it_is_removed_is_gone(tmp_path: Path, dead: int) -> None:
    path = made(tmp_path, "f", maker(process=dead))

    class Vanishing(Without):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "stat" and self.names.count("stat") == 2:
                path.unlink()

    with use(Vanishing()):
        assert only(sweep(tmp_path, older_than=0)).removed
    assert names(tmp_path) == []


def test_what_vanishes_before_it_is_locked_is_gone(tmp_path: Path) -> None:
    path = made(tmp_path, "h", maker(space=OTHER_SPACE))

    class Vanishing(Without):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "open" and arguments[0] == path.name:
                path.unlink()

    with use(Vanishing()):
        one = only(sweep(tmp_path, older_than=0))
    assert (one.removed, one.reason) == (True, "gone by itself")


@pytest.mark.parametrize("kind", ["h", "d"])
def test_a_trial_lets_go_of_the_lock(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path, kind, maker(space=OTHER_SPACE))
    for _ in range(2):
        one = only(sweep(tmp_path, older_than=0, dry_run=True))
        assert (one.removed, one.reason) == (True, "its lock is free")
    assert path.exists()


def test_a_record_reads_well(tmp_path: Path) -> None:
    one = Swept("p", True, "why")
    assert repr(one) == "Swept(path='p', removed=True, reason='why')"
    assert one == Swept("p", True, "why")
    assert one != Swept("p", False, "why")


def test_descriptors_are_closed(tmp_path: Path, dead: int) -> None:
    for kind in ("f", "h", "d"):
        made(tmp_path, kind, maker(process=dead), RANDOM)
        made(tmp_path, kind, maker(space=OTHER_SPACE), RANDOM[::-1])
    before = names(Path("/proc/self/fd"))
    sweep(tmp_path, older_than=0)
    assert names(Path("/proc/self/fd")) == before


def test_what_cannot_be_told_of_a_claimed_directory_leaves_it_unlocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock was free, but whether it is to be kept cannot be read: it stays, and is unlocked."""
    left = made(tmp_path, "d", maker(space=OTHER_SPACE))

    def unreadable(*_: object) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = set(os.listdir("/dev/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(Linux, "retention_reason", unreadable)
        found = only(sweep(tmp_path, older_than=0))
    assert not found.removed
    assert os.strerror(errno.EIO) in found.reason
    assert set(os.listdir("/dev/fd")) == before
    assert left.is_dir()
    assert only(sweep(tmp_path, older_than=0)).removed


@needs_mount
def test_a_journal_on_another_mount_does_not_count(tmp_path: Path, dead: int) -> None:
    """A transaction keeps to one mount, so what lies at the top of one belongs to no journal above."""
    top = tmp_path / "top"
    source = tmp_path / "source"
    top.mkdir()
    source.mkdir()
    (tmp_path / temp_names.JOURNAL).write_bytes(b"")
    with bound(source, top):
        left = made(top, "t", maker(process=dead))
        assert only(sweep(top, older_than=0)).removed
        assert not left.exists()


def test_a_file_that_vanishes_from_a_directory_that_is_removed(tmp_path: Path, dead: int) -> None:
    class Ghosts(Without):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "unlink" and arguments[0] == "ghost":
                os.unlink(left / "ghost")
            super()._before(name, arguments, keywords, function)

    left = made(tmp_path, "d", maker(process=dead))
    (left / "ghost").write_bytes(b"")
    with use(Ghosts()):
        assert only(sweep(tmp_path, older_than=0)).removed
    assert names(tmp_path) == []


# What a transaction may need.


def test_of_each_dead_process_it_is_asked_once(tmp_path: Path, dead: int) -> None:
    def listed(count: int) -> int:
        for number in range(count):
            made(tmp_path, "t", maker(process=dead), f"{number:016x}")
        with use(table := RecordingSyscalls()):
            assert [one.removed for one in sweep(tmp_path, older_than=0)] == [True] * count
        return table.names.count("listdir")

    assert listed(20) == listed(2)
    assert names(tmp_path) == []


@needs_posix
def test_the_journal_is_looked_for_up_to_the_top() -> None:
    routine = _commit.routine()
    top = os.open("/", os.O_RDONLY)
    try:
        place = SimpleNamespace(routine=routine, directory=top)
        assert not _sweep._is_needed_above(place)  # type: ignore[arg-type] # all of it that is used
    finally:
        os.close(top)


@needs_linux
def test_windows_looks_above_as_well(tmp_path: Path) -> None:
    with use(FakeWindows(), "win32"):
        entries = _commit.routine().directory_operations()
        assert entries.enter(str(tmp_path), ".") == str(tmp_path)
        assert entries.enter(str(tmp_path), "..") == str(tmp_path.parent)
