"""What a transaction of the file system removes and moves: at once, and back if it comes to nothing."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import signal
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

import durably
import entry_points
from capabilities import needs_linux, needs_posix
from durably._system import temp_names
from durably._transaction import moves
from durably.filesystem import DurableFileSystem
from durably.testing import RecordingSyscalls, Syscalls, every_failure, use
from entry_points import LINUX, POSIX, Way, in_child
from kills import Killing, killed
from transactions import MACOS, NO_LINKS, WINDOWS, held, ours, sweep_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Tree = dict[str, bytes]

pytestmark = needs_posix  # the journal's names are joined with slashes here


class BrokenError(Exception):
    pass


class Scenario(NamedTuple):
    """What the block of a transaction does, and the files before and after."""

    name: str
    act: Callable[[Any, Path], None]
    after: Tree

    def lay(self, root: Path) -> None:
        if root.exists():
            shutil.rmtree(root)
        for name, content in BEFORE.items():
            (root / name).parent.mkdir(exist_ok=True, parents=True)
            (root / name).write_bytes(content)

    def run(self, root: Path, level: str = "durable") -> None:
        fs = DurableFileSystem(durability=level, skip_instance_cache=True)
        with fs.transaction:
            self.act(fs, root)


BEFORE = {
    "a": b"old a",
    "b": b"old b",
    "c": b"old c",
    "sub/x": b"old x",
    "sub/deep/y": b"old y",
    "data/p1": b"part 1",
    "data/p2": b"part 2",
}


def _everything(fs: Any, root: Path) -> None:
    fs.rm(root / "sub" / "deep" / "y")  # the root is there at first, and moves up
    fs.pipe(str(root / "c"), b"new c")
    fs.mv(root / "b", root / "sub" / "x")  # over another
    fs.rm(root / "data", recursive=True)
    with fs.open(root / "data" / "p3", "wb") as file:  # as dask overwrites
        file.write(b"part 3")
    fs.mv(root / "sub", root / "moved")
    fs.rm(root / "a")
    fs.pipe(str(root / "a"), b"new a")


def _removing(fs: Any, root: Path) -> None:
    fs.rm(root / "sub" / "x")
    fs.rm(root / "sub", recursive=True)
    fs.rm([str(root / "a"), str(root / "data" / "p1")])


def _moving(fs: Any, root: Path) -> None:
    fs.mv(root / "a", root / "sub" / "t")
    fs.mv(root / "b", root / "a")
    fs.mv(root / "sub" / "t", root / "b")
    fs.mv(root / "data" / "p1", root / "data" / "p2")


def _without(*names: str) -> Tree:
    return {name: content for name, content in BEFORE.items() if not name.startswith(names)}


EVERYTHING = Scenario(
    "everything",
    _everything,
    {"a": b"new a", "c": b"new c", "moved/x": b"old b", "data/p3": b"part 3"},
)
REMOVING = Scenario("removing", _removing, _without("sub", "a", "data/p1"))
MOVING = Scenario(
    "moving", _moving, {**_without("data/p1"), "a": b"old b", "b": b"old a", "data/p2": b"part 1"}
)
ONE = Scenario("one removed", lambda fs, root: fs.rm(root / "a"), _without("a"))
ONE_MOVED = Scenario(
    "one moved", lambda fs, root: fs.mv(root / "a", root / "sub" / "a"), {**_without("a"), "sub/a": b"old a"}
)
ONE_OF_EACH = Scenario(
    "one removed, one written",
    lambda fs, root: (fs.rm(root / "sub", recursive=True), fs.pipe(str(root / "a"), b"new a")),  # type: ignore[arg-type]
    {**_without("sub"), "a": b"new a"},
)
SCENARIOS = (EVERYTHING, REMOVING, MOVING, ONE, ONE_MOVED, ONE_OF_EACH)


@pytest.fixture
def root() -> Iterator[Path]:
    with entry_points.folder() as directory:
        yield directory / "root"


@pytest.fixture
def fs() -> Any:
    return DurableFileSystem(durability="none", skip_instance_cache=True)


def named(value: Any) -> str | None:
    return getattr(value, "name", None)


def recover(root: Path, way: Way = LINUX) -> durably._transaction.recover.Recovered:  # type: ignore[name-defined]
    with use(way.base(), way.system):
        return DurableFileSystem(skip_instance_cache=True).recover(root)


def is_all(scenario: Scenario, root: Path, told: object) -> bool:
    """All or none, and nothing is left once it was swept. Whether it is all."""
    found = held(root)
    assert found in (BEFORE, scenario.after), (told, found)
    sweep_all(root)
    assert not ours(root), (told, ours(root))
    return found == scenario.after


@pytest.mark.parametrize("way", [LINUX, POSIX, MACOS, WINDOWS], ids=named)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=named)
def test_all_or_none(scenario: Scenario, way: Way, root: Path) -> None:
    with use(way.base(), way.system):
        scenario.lay(root)
        scenario.run(root)
        assert held(root) == scenario.after
        assert not ours(root)
        scenario.lay(root)
        fs = DurableFileSystem(skip_instance_cache=True)
        with pytest.raises(BrokenError) as raised, fs.transaction:
            scenario.act(fs, root)
            raise BrokenError
        assert not getattr(raised.value, "__notes__", ())
        assert held(root) == BEFORE
        assert not ours(root)


class Ordered(RecordingSyscalls):
    """Notes each rename that is made while the log, or its name, is not yet on the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: set[int] = set()
        """The inodes of what is still to be flushed."""
        self.renamed = 0
        self.early: list[str] = []

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name == "open" and arguments[1] & os.O_CREAT:
            self.waiting.add(os.fstat(keywords["dir_fd"]).st_ino)
        elif name == "write":
            self.waiting.add(os.fstat(arguments[0]).st_ino)
        elif name == "fsync":
            self.waiting.discard(os.fstat(arguments[0]).st_ino)
        elif name == "renameat2":
            self.renamed += 1
            self.early += [str(self.record[-1])] * bool(self.waiting)


@needs_linux
@pytest.mark.parametrize("scenario", [REMOVING, MOVING], ids=named)
def test_the_log_is_on_the_disk_before_the_move_is_made(scenario: Scenario, root: Path) -> None:
    scenario.lay(root)
    with use(table := Ordered()):
        scenario.run(root)
    assert table.renamed
    assert table.early == []
    assert held(root) == scenario.after


def kill_run(scenario: Scenario, way: Way, root: Path, at: int) -> bool:
    scenario.lay(root)

    def body() -> None:
        with use(Killing(at, way.base()), way.system):
            scenario.run(root)

    return killed(body)


def kill_recovery(scenario: Scenario, way: Way, root: Path, at: int) -> int:
    """Kill the recovery at each of its calls; after each, another one ends it."""
    for count in itertools.count(1):

        def body(number: int = count) -> None:
            with use(Killing(number, way.base()), way.system):
                DurableFileSystem(skip_instance_cache=True).recover(root)

        assert kill_run(scenario, way, root, at)
        if not killed(body):
            break
        recover(root, way)
        is_all(scenario, root, f"{scenario.name}, {way.name}, killed at {at} and at {count} again")
    return count - 1


def kill_everywhere(scenario: Scenario, way: Way, root: Path, *, every: int, again_every: int) -> None:
    """Kill a transaction at each call, its block's and its commit's, and recover."""
    outcomes: set[bool] = set()
    turns = again = 0
    for at in itertools.count(1, every):
        if not kill_run(scenario, way, root, at):
            assert held(root) == scenario.after
            break
        turns += 1
        told = f"{scenario.name}, {way.name}, killed before call {at}"
        before = held(root)
        sweep_all(root)  # what a recovery needs must survive it
        assert held(root) == before, told
        if turns % again_every == 0:
            again += kill_recovery(scenario, way, root, at)
            kill_run(scenario, way, root, at)
        recover(root, way)
        outcomes.add(is_all(scenario, root, told))
        assert recover(root, way).outcome == "nothing", told
    assert outcomes == {False, True}
    print(f"{scenario.name}, {way.name}: killed at {turns} calls, recoveries at {again}: all or none")


KILLS = [
    *((scenario, LINUX, 1, 1000) for scenario in (REMOVING, MOVING, ONE, ONE_MOVED)),
    (EVERYTHING, LINUX, 5, 45),
    (ONE_OF_EACH, LINUX, 1, 60),
    (EVERYTHING, POSIX, 17, 25),
    (EVERYTHING, MACOS, 17, 25),
    (EVERYTHING, NO_LINKS, 17, 25),
]


@needs_linux
@pytest.mark.parametrize(("scenario", "way", "every", "again_every"), KILLS, ids=named)
def test_killed_at_many_calls(scenario: Scenario, way: Way, every: int, again_every: int, root: Path) -> None:
    in_child(lambda: kill_everywhere(scenario, way, root, every=every, again_every=again_every))


@needs_linux
@pytest.mark.skipif("DURABLY_ALL_KILLS" not in os.environ, reason="takes minutes: set DURABLY_ALL_KILLS")
@pytest.mark.parametrize("way", [LINUX, POSIX, MACOS, NO_LINKS], ids=named)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=named)
def test_killed_at_every_call(scenario: Scenario, way: Way, root: Path) -> None:
    in_child(lambda: kill_everywhere(scenario, way, root, every=1, again_every=1))


@needs_linux
@pytest.mark.parametrize("way", [LINUX, POSIX, MACOS, WINDOWS], ids=named)
@pytest.mark.parametrize("scenario", [EVERYTHING, REMOVING, MOVING], ids=named)
def test_whatever_call_fails(scenario: Scenario, way: Way, root: Path) -> None:
    """All or none, at once or after a recovery; what is left then has a name that is swept."""
    turns: Any = every_failure(
        dict.fromkeys(vars(Syscalls()), (errno.EIO,)), system=way.system, base=way.base()
    )
    count = 0
    outcomes: set[bool] = set()
    for table in turns:
        with use(Syscalls()):
            scenario.lay(root)
        before = entry_points.descriptors()
        error: BaseException | None = None
        try:
            scenario.run(root)
        except (OSError, ValueError) as raised:
            error = raised
            error.__traceback__ = None
        told = (table.failed, table.error, repr(error), getattr(error, "__notes__", ()))
        assert entry_points.descriptors() == before, told
        found = held(root)
        if error is None:
            assert found == scenario.after, told
        if found not in (BEFORE, scenario.after):
            notes = " ".join(getattr(error, "__notes__", ()))
            assert isinstance(error, durably.RecoveryNeededError) or "recover" in notes, told
        try:
            recover(root, way)
        except durably.RecoveryConflictError:
            # A directory made in the place of another has a temporary left that could not be removed.
            assert all(map(entry_points.is_temporary, os.listdir(root / "data"))), told
            shutil.rmtree(root / "data")
            recover(root, way)
        found = held(root)
        assert found in (BEFORE, scenario.after), (told, found)
        outcomes.add(found == scenario.after)
        assert {name for name in ours(root) if temp_names.parse(os.path.basename(name)) is None} <= {
            temp_names.LOCK
        }, told
        count += 1
    assert outcomes == {False, True}
    assert count > 20


# What a recovery meets.


def interrupted(root: Path, act: Callable[[Any, Path], None], level: str = "none") -> Path:
    """A block that is killed before its end. Returns its log."""

    def body() -> None:
        fs = DurableFileSystem(durability=level, skip_instance_cache=True)
        with fs.transaction:
            act(fs, root)
            os.kill(os.getpid(), signal.SIGKILL)

    EVERYTHING.lay(root)
    assert killed(body)
    (log,) = [path for path in root.rglob(".durably-u-*") if path.is_file()]
    return log


def _removing_a(fs: Any, root: Path) -> None:
    fs.rm(root / "a")


def test_a_recovery_from_above_finds_it(root: Path, fs: Any) -> None:
    log = interrupted(root, lambda fs, root: fs.rm(root / "sub" / "deep" / "y"))
    assert log.parent == root / "sub" / "deep"
    found = fs.recover(root)
    assert (found.root, found.outcome, found.files) == (str(root), "undone", ("sub/deep/y",))
    assert held(root) == BEFORE
    assert not ours(root)
    assert fs.recover(f"durable://{root}") == durably._transaction.recover.Recovered(str(root), "nothing", ())  # type: ignore[attr-defined]
    interrupted(root, _removing_a)
    assert durably.recover(root).files == ("a",)
    assert held(root) == BEFORE


def test_a_committed_transaction_below_is_finished(root: Path, fs: Any) -> None:
    """Killed when the journal stands, and everything is in place."""
    outcomes = set()
    for at in itertools.count(1):
        if not kill_run(ONE_OF_EACH, LINUX, root, at):
            break
        if (root / temp_names.JOURNAL).exists():
            found = fs.recover(root.parent)
            outcomes.add(found.outcome)
            assert held(root) == (ONE_OF_EACH.after if found.outcome == "finished" else BEFORE)
            assert found.outcome != "finished" or not list(root.rglob(".durably-u-*"))
    assert outcomes == {"finished"}


def test_a_sweep_leaves_the_log_and_what_was_taken_away(root: Path, fs: Any) -> None:
    interrupted(root, lambda fs, root: fs.rm([str(root / "a"), str(root / "sub" / "x")]))
    for where in (root, root / "sub"):
        for one in durably.sweep(where, older_than=0):
            assert not one.removed
            assert "recover" in one.reason
    fs.recover(root)
    assert held(root) == BEFORE


def test_what_somebody_else_has_made_is_not_replaced(root: Path, fs: Any) -> None:
    log = interrupted(root, _removing_a)
    (root / "a").write_bytes(b"another")
    with pytest.raises(durably.RecoveryConflictError, match="somebody else") as raised:
        fs.recover(root)
    assert raised.value.conflicts == ("a",)
    assert (root / "a").read_bytes() == b"another"
    (root / "a").rename(root / "b")
    fs.recover(root)
    assert held(root) == {**BEFORE, "b": b"another"}
    assert not log.exists()


def test_a_directory_that_holds_others_files_is_not_removed(root: Path, fs: Any) -> None:
    interrupted(root, lambda fs, root: fs.rm(root / "sub", recursive=True))
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "deep" / "theirs").write_bytes(b"theirs")
    with pytest.raises(durably.RecoveryConflictError):
        fs.recover(root)
    (root / "sub" / "deep" / "theirs").unlink()
    fs.recover(root)
    assert held(root) == BEFORE


def test_a_directory_that_is_gone_is_told(root: Path, fs: Any) -> None:
    interrupted(root, lambda fs, root: fs.mv(root / "sub" / "x", root / "x"))
    shutil.rmtree(root / "sub")
    with pytest.raises(durably.RecoveryConflictError, match="no directory"):
        fs.recover(root)
    assert (root / "x").read_bytes() == BEFORE["sub/x"]
    (root / "sub").mkdir()
    fs.recover(root)
    assert (root / "sub" / "x").read_bytes() == BEFORE["sub/x"]


def test_a_moved_file_that_was_changed_since_is_left(root: Path, fs: Any) -> None:
    interrupted(root, lambda fs, root: fs.mv(root / "a", root / "moved"))
    (root / "moved").write_bytes(b"something else")
    with pytest.raises(durably.RecoveryConflictError, match="is gone"):
        fs.recover(root)
    assert (root / "moved").read_bytes() == b"something else"


def test_a_living_transaction_is_left_alone(root: Path, fs: Any) -> None:
    EVERYTHING.lay(root)
    with fs.transaction:
        fs.rm(root / "a")
        fs.mv(root / "b", root / "moved")
        assert in_child(lambda: fs.recover(root).outcome) == "nothing"
        assert fs.recover(root).outcome == "nothing"
    assert held(root) == {**_without("a", "b"), "moved": b"old b"}
    assert not ours(root)


def test_a_forked_child_lets_go_of_the_log(root: Path, fs: Any) -> None:
    EVERYTHING.lay(root)
    reader, writer = os.pipe()
    heard, told = os.pipe()
    fs.start_transaction()
    fs.rm(root / "a")
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.write(told, b"!")
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    os.read(heard, 1)  # the child has begun, and closed what it must
    fs.transaction.core._staging.log.close()  # as its death would
    assert fs.recover(root).outcome == "undone"
    assert held(root) == BEFORE
    for fd in (writer, heard, told):
        os.close(fd)
    os.waitpid(child, 0)
    fs.transaction.complete(commit=False)


def logged(number: int, *values: object) -> bytes:
    """A log of these lines, with checksums."""
    lines = [
        json.dumps(each, separators=(",", ":")).encode()
        for each in (["durably-moves", 1, number, 0], *values)
    ]
    return b"".join(b"%08x %s\n" % (zlib.crc32(each), each) for each in lines)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([[["a"], ["..", "b"], 1, 2, 3]], "no path below the root"),
        ([[["a"], [], 1, 2, 3]], "no path below the root"),
        ([[["a/b"], ["c"], 1, 2, 3]], "no path below the root"),
    ],
)
def test_a_log_that_leads_elsewhere(values: list[object], reason: str, root: Path, fs: Any) -> None:
    log = interrupted(root, _removing_a)
    log.write_bytes(logged(root.stat().st_ino, *values))
    with pytest.raises(durably.RecoveryNeededError, match=reason):
        fs.recover(root)


def test_logs_that_cannot_be_acted_on(root: Path, fs: Any) -> None:
    log = interrupted(root, _removing_a)
    good = log.read_bytes()
    newer = json.dumps(["durably-moves", 2, 1, 0], separators=(",", ":")).encode()
    for bad, reason in (
        (good.replace(b"durably-moves", b"durably-m0ves"), "checksum"),
        (b"%08x %s\n" % (zlib.crc32(newer), newer), "begins with"),
        (logged(root.stat().st_ino + 1), "another directory"),
    ):
        log.write_bytes(bad)
        with pytest.raises(durably.RecoveryNeededError, match=reason):
            fs.recover(root)
        assert not (root / "a").exists()
    log.write_bytes(good)
    log.chmod(0o666)
    with pytest.raises(durably.RecoveryNeededError, match="others may write"):
        fs.recover(root)
    log.chmod(0o600)
    fs.recover(root)
    assert held(root) == BEFORE


def test_a_log_is_torn_at_its_end_alone(root: Path, fs: Any) -> None:
    """The move whose record was being written was not made."""
    log = interrupted(root, lambda fs, root: fs.rm([str(root / "a"), str(root / "b")]))
    whole = log.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for cut in range(1, last):
        EVERYTHING.lay(root)
        log = interrupted(root, _removing_a)
        log.write_bytes(log.read_bytes() + whole[-last:-cut])
        fs.recover(root)
        assert held(root) == BEFORE
        assert not ours(root)


def test_a_log_that_takes_anothers_place_counts_when_it_is_whole(root: Path) -> None:
    EVERYTHING.lay(root)
    fs = DurableFileSystem(durability="none", skip_instance_cache=True)
    with fs.transaction:
        fs.rm(root / "sub" / "x")
        fs.rm(root / "a")
        (log,) = root.glob(".durably-u-*")
        lines = log.read_bytes().splitlines(keepends=True)
    assert moves.decode(b"".join(lines)) is not None
    assert moves.decode(lines[0]) is None
    assert moves.decode(b"") is None


def test_a_log_that_is_over_has_nothing_put_back(root: Path, fs: Any) -> None:
    log = interrupted(root, _removing_a)
    log.write_bytes(log.read_bytes() + moves.line(moves.OVER))
    assert fs.recover(root).outcome == "nothing"
    assert not log.exists()
    assert held(root) == _without("a")
    sweep_all(root)
    assert not ours(root)


class Meddling(RecordingSyscalls):
    """Something happens before the N-th call of a name."""

    def __init__(self, name: str, at: int, deed: Callable[[], object]) -> None:
        super().__init__()
        self.wanted, self.at, self.deed = name, at, deed

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name == self.wanted and self.names.count(name) == self.at:
            self.deed()


@needs_linux
def test_a_recovery_that_is_faster_than_the_lock(root: Path, fs: Any) -> None:
    """It takes the new log, which has nothing in it yet, for one that was left."""
    for call in ("flock", "fstat"):
        EVERYTHING.lay(root)
        done: list[str] = []

        def deed(done: list[str] = done) -> None:
            if not done:
                done.append("")
                for each in root.glob(".durably-u-*"):
                    each.unlink()
                    done.append(each.name)

        with pytest.raises(BrokenError):
            for at in range(1, 30):
                with use(Meddling(call, at, deed)), fs.transaction:
                    fs.rm(root / "a")
                    assert not (root / "a").exists()
                    raise BrokenError
        assert held(root) == BEFORE
        assert not ours(root)


@needs_linux
def test_a_claimed_log_is_made_again(root: Path, fs: Any) -> None:
    import fcntl

    EVERYTHING.lay(root)
    held_open: list[int] = []

    def claim() -> None:
        for each in root.glob(".durably-u-*"):
            held_open.append(os.open(each, os.O_RDONLY))
            fcntl.flock(held_open[-1], fcntl.LOCK_EX)

    with use(Meddling("flock", 1, claim)), fs.transaction:
        fs.rm(root / "a")
        assert len(list(root.glob(".durably-u-*"))) == 2
    (fd,) = held_open
    os.close(fd)
    assert fs.recover(root).outcome == "nothing"
    assert held(root) == _without("a")
    assert not ours(root)


@needs_linux
def test_without_locks_nothing_is_moved(root: Path, fs: Any) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    EVERYTHING.lay(root)
    with pytest.raises(durably.UnsupportedError, match="locked"):
        with use(Meddling("flock", 1, refuse)), fs.transaction:
            fs.rm(root / "a")
    assert held(root) == BEFORE
    assert not ours(root)


def test_where_others_may_write_nothing_is_moved(root: Path, fs: Any) -> None:
    EVERYTHING.lay(root)
    root.chmod(0o777)
    with pytest.raises(durably.UnsupportedError, match="trusted"), fs.transaction:
        fs.rm(root / "a")
    assert held(root) == BEFORE


def test_what_is_staged_in_a_directory_moves_with_it(root: Path, fs: Any) -> None:
    EVERYTHING.lay(root)
    with fs.transaction:
        fs.pipe(str(root / "sub" / "new"), b"1")
        with fs.open(root / "sub" / "deep" / "y", "wb") as file:
            file.write(b"2")
            fs.rm(root / "a")
        fs.mv(root / "sub", root / "moved")
    assert held(root) == {
        **_without("sub", "a"),
        "moved/x": b"old x",
        "moved/new": b"1",
        "moved/deep/y": b"2",
    }
    assert not ours(root)


def test_a_move_that_fails_leaves_what_it_was_to_replace(root: Path, fs: Any) -> None:
    EVERYTHING.lay(root)
    with fs.transaction:
        with pytest.raises(FileNotFoundError):
            fs.mv(root / "missing", root / "a")
        with pytest.raises(OSError, match="argument"):
            fs.mv(root / "sub", root / "sub" / "deep" / "sub")
        assert held(root) == BEFORE
    assert held(root) == BEFORE
    assert not ours(root)


@needs_linux
@pytest.mark.parametrize("refused", [(2,), (2, 3)], ids=["once", "twice"])
def test_what_was_put_aside_for_a_failing_move_is_back(refused: tuple[int, ...], root: Path, fs: Any) -> None:
    """At once, or where that fails with the whole transaction."""

    class Table(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "renameat2" and self.names.count(name) in refused:
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    EVERYTHING.lay(root)
    for fails in (True, False):
        with contextlib.suppress(BrokenError), use(Table()), fs.transaction:
            with pytest.raises(PermissionError) as raised:
                fs.mv(root / "a", root / "b")
            assert held(root) == (BEFORE if refused == (2,) else _without("b"))
            assert bool(getattr(raised.value, "__notes__", ())) == (refused != (2,))
            if fails:
                raise BrokenError
        assert held(root) == (BEFORE if fails or refused == (2,) else _without("b"))
        assert not ours(root)


def test_a_directory_that_moves_while_a_file_in_it_is_written(root: Path, fs: Any) -> None:
    EVERYTHING.lay(root)
    with fs.transaction:
        with fs.open(root / "sub" / "x", "ab") as file, fs.open(root / "a", "ab") as other:
            fs.mv(root / "sub", root / "moved")
            file.write(b" and more")
            other.write(b" too")
    assert held(root) == {
        **_without("sub", "a"),
        "a": b"old a too",
        "moved/x": b"old x and more",
        "moved/deep/y": b"old y",
    }
    assert not ours(root)


def test_a_directory_made_anew_has_what_a_dead_process_staged(root: Path, fs: Any) -> None:
    """It does not keep the old one from coming back."""

    def act(fs: Any, root: Path) -> None:
        fs.rm(root / "sub", recursive=True)
        fs.pipe(str(root / "sub" / "deep" / "y"), b"new y")
        assert ours(root / "sub")

    interrupted(root, act)
    fs.recover(root)
    assert held(root) == BEFORE
    assert not ours(root)


def test_what_was_moved_into_a_directory_that_is_gone(root: Path, fs: Any) -> None:
    interrupted(root, lambda fs, root: fs.mv(root / "a", root / "sub" / "deep" / "a"))
    shutil.rmtree(root / "sub" / "deep")
    with pytest.raises(durably.RecoveryConflictError, match="is gone"):
        fs.recover(root)


def test_a_log_that_goes_while_it_is_looked_for(root: Path, fs: Any) -> None:
    log = interrupted(root, _removing_a)

    class Table(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "open" and arguments[0] == log.name:
                log.unlink(missing_ok=True)

    with use(Table()):
        assert fs.recover(root).outcome == "nothing"


def test_a_last_line_that_is_damaged_was_being_written(root: Path, fs: Any) -> None:
    log = interrupted(root, _removing_a)
    log.write_bytes(log.read_bytes() + b"00000000 \0\0\0\n")
    fs.recover(root)
    assert held(root) == BEFORE


def test_a_log_that_somebody_has_removed(root: Path, fs: Any) -> None:
    """By hand, as a message says: then nothing is left to remove."""
    EVERYTHING.lay(root)
    with fs.transaction:
        fs.rm(root / "a")
        for log in root.glob(".durably-u-*"):
            log.unlink()
    assert held(root) == _without("a")
    assert not ours(root)


def test_an_interrupt_when_the_log_is_removed(root: Path, fs: Any) -> None:
    EVERYTHING.lay(root)

    class Table(RecordingSyscalls):
        done = False

        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "unlink" and arguments[0].startswith(".durably-u-") and not self.done:
                self.done = True
                os.unlink(*arguments, **keywords)
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), use(Table()):
        ONE_OF_EACH.run(root)
    assert held(root) == ONE_OF_EACH.after
    assert not (root / temp_names.JOURNAL).exists()
    assert fs.recover(root).outcome == "nothing"
    assert held(root) == ONE_OF_EACH.after


@needs_linux
def test_a_recovery_that_is_broken_off_is_to_be_repeated(root: Path, fs: Any) -> None:
    for table in every_failure({"renameat2": (errno.EIO,), "listdir": (errno.EIO,), "unlink": (errno.EIO,)}):
        with use(Syscalls()):
            interrupted(root, lambda fs, root: fs.rm([str(root / "a"), str(root / "b")]))
        try:
            fs.recover(root)
        except durably.RecoveryNeededError:
            assert table.failed is not None
        except OSError:
            assert table.failed is not None
            assert held(root) in (_without("a", "b"), BEFORE)
        else:
            assert held(root) == BEFORE
        with use(Syscalls()):
            fs.recover(root)
            assert held(root) == BEFORE
            assert not ours(root)


def test_after_a_line_that_could_not_be_written_all_is_put_back(root: Path, fs: Any) -> None:
    EVERYTHING.lay(root)

    class Table(RecordingSyscalls):
        failed = False

        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "write" and self.failed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    table = Table()
    with (
        pytest.raises(OSError, match="could not be written; no file was changed"),
        use(table),
        fs.transaction,
    ):
        fs.rm(root / "a")
        table.failed = True
        with pytest.raises(OSError, match="No space"):
            fs.rm(root / "b")
        table.failed = False
        with pytest.raises(OSError, match="it was not moved"):
            fs.rm(root / "c")
        assert held(root) == _without("a")
    assert held(root) == BEFORE
    assert not ours(root)


@needs_linux
@pytest.mark.parametrize("scenario", [EVERYTHING, MOVING, ONE_OF_EACH], ids=named)
def test_interrupted_at_each_call(scenario: Scenario, root: Path) -> None:
    """All or none, at once or after a recovery, and no descriptor stays open."""

    class Table(RecordingSyscalls):
        at = 0

        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if len(self.record) == self.at:
                raise KeyboardInterrupt

    outcomes: set[bool] = set()
    for at in itertools.count(1):
        scenario.lay(root)
        table = Table()
        table.at = at
        before = entry_points.descriptors()
        try:
            with use(table):
                scenario.run(root)
        except KeyboardInterrupt:
            pass
        else:
            break
        told = (at, table.record[at - 1])
        # What an interrupt keeps from being closed is closed by nobody else.
        assert len(entry_points.descriptors() - before) <= 2 * (table.names[at - 1] in ("close", "open")), (
            told
        )
        for fd in entry_points.descriptors() - before:
            os.close(fd)
        try:
            recover(root)
        except durably.RecoveryConflictError:
            # A directory made in the place of another has a temporary left that could not be removed.
            assert all(map(entry_points.is_temporary, os.listdir(root / "data"))), told
            shutil.rmtree(root / "data")
            recover(root)
        found = held(root)
        assert found in (BEFORE, scenario.after), (told, found)
        outcomes.add(found == scenario.after)
    assert outcomes == {False, True}
