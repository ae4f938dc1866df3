"""What a transaction of the file system removes and moves: at once, and put back where it comes to nothing."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import stat
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

import doors
import durably
from capabilities import needs_linux, needs_posix, needs_symlinks
from doors import LINUX, POSIX, Way, in_child
from durably import _names
from durably._txn import _moves
from durably.filesystem import DurableFileSystem
from durably.testing import RecordingSyscalls, Syscalls, every_failure, use
from transactions import MACOS, NO_LINKS, WINDOWS, held, ours, sweep_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Tree = dict[str, bytes]

pytestmark = needs_posix  # the journal's names are joined with slashes here


class BrokenError(Exception):
    pass


class Killing(RecordingSyscalls):
    """A table in which the process dies before its N-th call."""

    def __init__(self, at: int, base: Syscalls) -> None:
        super().__init__(base)
        self.at = at

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if len(self.record) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


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
    lambda fs, root: (fs.rm(root / "sub", recursive=True), fs.pipe(str(root / "a"), b"new a")),  # type: ignore[arg-type,return-value]
    {**_without("sub"), "a": b"new a"},
)
SCENARIOS = (EVERYTHING, REMOVING, MOVING, ONE, ONE_MOVED, ONE_OF_EACH)


@pytest.fixture
def root() -> Iterator[Path]:
    with doors.folder() as directory:
        yield directory / "root"


@pytest.fixture
def fs() -> Any:
    return DurableFileSystem(durability="none", skip_instance_cache=True)


def named(value: Any) -> str | None:
    return getattr(value, "name", None)


def recover(root: Path, way: Way = LINUX) -> durably._recover.Recovered:  # type: ignore[name-defined]
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


def killed(body: Callable[[], object]) -> bool:
    """Run the body in a forked child. Whether the child was killed."""
    child = os.fork()
    if child == 0:
        try:
            body()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 # nothing may leave the child
            os.write(2, repr(error).encode())
        finally:
            os._exit(3)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0


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
        before = doors.descriptors()
        error: BaseException | None = None
        try:
            scenario.run(root)
        except (OSError, ValueError) as raised:
            error = raised
            error.__traceback__ = None
        told = (table.failed, table.error, repr(error), getattr(error, "__notes__", ()))
        assert doors.descriptors() == before, told
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
            assert all(map(doors.is_temporary, os.listdir(root / "data"))), told
            shutil.rmtree(root / "data")
            recover(root, way)
        found = held(root)
        assert found in (BEFORE, scenario.after), (told, found)
        outcomes.add(found == scenario.after)
        assert {name for name in ours(root) if _names.parse(os.path.basename(name)) is None} <= {
            _names.LOCK
        }, told
        count += 1
    assert outcomes == {False, True}
    assert count > 20
