"""recover: whatever a kill has left is finished or undone; a journal that cannot be trusted is left alone."""

from __future__ import annotations

import errno
import itertools
import json
import os
import pickle
import shutil
import signal
import zlib
from typing import TYPE_CHECKING, Any

import pytest

import durably
import entry_points
from capabilities import NOBODY, needs_linux, needs_posix, needs_unprivileged_user
from durably.testing import FailingSyscalls, RecordingSyscalls, use
from entry_points import LINUX, POSIX, Way, in_child, shown
from interrupted import _interrupted
from kills import Killing, killed
from transactions import (
    EVERYTHING,
    JOURNAL,
    MACOS,
    NO_LINKS,
    ONE,
    REPLACING,
    STAGED,
    SWAPPING,
    WINDOWS,
    Scenario,
    directories,
    held,
    ours,
    recover,
    sweep_all,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


pytestmark = [needs_posix, needs_linux]

RECOVERIES = {"nothing", "finished", "undone"}


@pytest.fixture
def root() -> Iterator[Path]:
    with entry_points.folder() as directory:
        yield directory / "root"


def _kill_run(scenario: Scenario, way: Way, root: Path, at: int) -> bool:
    scenario.lay(root)

    def body() -> None:
        with use(Killing(at, way.base()), way.system):
            scenario.run(root)

    return killed(body)


def _check_recovered(scenario: Scenario, root: Path, told: object) -> bool:
    """All or none, and nothing is left once it was swept. Whether it is all."""
    found = held(root)
    assert found in (scenario.before, scenario.after), (told, found)
    assert not (root / JOURNAL).exists(), told
    sweep_all(root)
    assert not ours(root), (told, ours(root))
    made = directories(root) - {"sub"}
    assert bool(made) == (found == scenario.after and bool(made)), (told, made)
    return found == scenario.after


def _kill_everywhere(
    scenario: Scenario, way: Way, root: Path, *, every: int = 1, again_every: int = 1
) -> tuple[int, int]:
    """Kill a commit at each call, recover; and kill that at each of its calls, and recover. The counts."""
    first = second = journals = 0
    outcomes: set[bool] = set()
    for at in itertools.count(1, every):
        if not _kill_run(scenario, way, root, at):
            assert held(root) == scenario.after
            break
        first += 1
        journal = (root / JOURNAL).exists()
        journals += journal
        sweep_before = held(root)
        sweep_all(root)  # what a journal needs must survive it
        assert held(root) == sweep_before
        if journal and journals % again_every == 0:
            second += _kill_recovery(scenario, way, root, at)
        outcome = recover(root, way).outcome
        told = f"{scenario.name}, {way.name}, killed before call {at}"
        assert outcome in RECOVERIES, told
        assert journal or outcome == "nothing", told
        outcomes.add(_check_recovered(scenario, root, told))
        assert recover(root, way).outcome == "nothing", told
    assert outcomes == {False, True}
    return first, second


def _kill_recovery(scenario: Scenario, way: Way, root: Path, at: int) -> int:
    """Kill the recovery of a copy of that root at each call; after each, another one ends it."""
    count = 0
    while True:
        count += 1

        def body(number: int = count) -> None:
            with use(Killing(number, way.base()), way.system):
                durably.recover(root)

        assert _kill_run(scenario, way, root, at)
        if not killed(body):
            _kill_run(scenario, way, root, at)
            return count - 1
        recover(root, way)
        _check_recovered(scenario, root, f"{scenario.name}, {way.name}, killed at {at} and at {count} again")


KILLS = [
    (EVERYTHING, LINUX),
    (REPLACING, LINUX),
    (STAGED, LINUX),
    (SWAPPING, LINUX),
    (EVERYTHING, POSIX),
    (EVERYTHING, MACOS),
    (REPLACING, NO_LINKS),
]


def _print(scenario: Scenario, way: Way, first: int, second: int) -> None:
    where = f"{first} calls of the commit, {second} of recoveries"
    print(f"{scenario.name}, {way.name}: killed before {where}: 0 violations")


@pytest.mark.parametrize(("scenario", "way"), KILLS, ids=lambda value: getattr(value, "name", None))
def test_killed_at_many_calls(scenario: Scenario, way: Way, root: Path) -> None:
    """A selection; the next test makes all of them."""
    first, second = in_child(lambda: _kill_everywhere(scenario, way, root, every=5, again_every=15))
    _print(scenario, way, first, second)
    assert first > 10


@pytest.mark.figure
@pytest.mark.skipif("DURABLY_ALL_KILLS" not in os.environ, reason="takes minutes: set DURABLY_ALL_KILLS")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("scenario", "way"), KILLS, ids=lambda value: getattr(value, "name", None))
def test_killed_at_each_call_of_each_recovery(scenario: Scenario, way: Way, root: Path) -> None:
    first, second = in_child(lambda: _kill_everywhere(scenario, way, root))
    _print(scenario, way, first, second)


def test_a_kill_may_also_come_while_it_is_undone(root: Path) -> None:
    """The third rename fails, so that everything is undone; killed in that, at each call."""
    outcomes = in_child(lambda: _kill_the_undoing(root))
    assert {"undone", "nothing"} <= outcomes <= RECOVERIES


class KillingTheUndoing(Killing):
    """Besides, every exchange and rename fails from the third target on, until the journal says "back"."""

    def __init__(self, at: int) -> None:
        super().__init__(0, LINUX.base())
        self.kill_at = at
        self.broken_at = 0
        self.renames = 0

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name in ("replace", "renameat2") and JOURNAL not in arguments:
            self.renames += 1
            if self.renames == 5:  # two in the staged tree, two targets
                self.broken_at = len(self.record)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self.broken_at and len(self.record) == self.broken_at + self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def _kill_the_undoing(root: Path) -> set[str]:
    outcomes: set[str] = set()
    for at in itertools.count(1, 5):
        EVERYTHING.lay(root)

        def body(number: int = at) -> None:
            with use(KillingTheUndoing(number)):
                with pytest.raises(OSError, match="Errno"):
                    EVERYTHING.run(root)
                assert held(root) == EVERYTHING.before

        if not killed(body):
            return outcomes
        outcomes.add(recover(root).outcome)
        _check_recovered(EVERYTHING, root, at)
    return outcomes


# What recover is given.


def test_it_finishes_and_tells(root: Path) -> None:
    _interrupted(root)
    assert held(root) not in (EVERYTHING.before, EVERYTHING.after)
    done = durably.recover(root)
    assert (done.root, done.outcome) == (str(root), "finished")
    assert set(done.files) == {"a", "c", "d", "e", "new/x/y", "new/z", "sub/b", "sub/f"}
    assert held(root) == EVERYTHING.after
    assert ours(root) == []
    assert durably.recover(os.fsencode(root)).outcome == "nothing"


def test_the_next_transaction_recovers_first(root: Path) -> None:
    _interrupted(root)
    with durably.Transaction(root) as txn:
        assert txn.read_bytes("a") == b"new a"
        txn.write_bytes("a", b"newer a")
        txn.write_bytes("c", b"newer c")
    assert held(root) == {**EVERYTHING.after, "a": b"newer a", "c": b"newer c"}


def test_one_that_finds_a_journal_at_its_commit_recovers_it_first(root: Path) -> None:
    """Another was killed while this one was open; what it has changed is a conflict, but is recovered."""
    EVERYTHING.lay(root)
    with pytest.raises(OSError, match="Errno") as caught:
        with durably.Transaction(root) as txn:
            txn.write_bytes("a", b"mine")
            txn.write_bytes("mine", b"mine")
            assert in_child(lambda: killed(lambda: _die_with_a_journal(root)))
    assert caught.value.errno == errno.ESTALE
    assert held(root) == REPLACING.after
    assert ours(root) == []


def _die_with_a_journal(root: Path) -> None:
    class Dying(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name in ("replace", "renameat2") and (root / JOURNAL).exists():
                os.kill(os.getpid(), signal.SIGKILL)

    with use(Dying()):
        with durably.Transaction(root) as txn:
            REPLACING.act(txn)


def test_a_sweep_leaves_what_a_journal_needs(root: Path) -> None:
    _interrupted(root)
    below = durably.sweep(root / "sub", older_than=0)
    above = durably.sweep(root, older_than=0)
    assert below
    assert above
    assert all("journal" in one.reason and not one.removed for one in (*below, *above))
    durably.recover(root)
    assert held(root) == EVERYTHING.after


def test_what_was_never_committed_is_swept(root: Path) -> None:
    EVERYTHING.lay(root)

    def body() -> None:
        with durably.Transaction(root) as txn:
            EVERYTHING.act(txn)
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(lambda: killed(body))
    assert ours(root)
    assert durably.recover(root).outcome == "nothing"
    sweep_all(root)
    assert ours(root) == []
    assert held(root) == EVERYTHING.before


def test_what_a_living_transaction_has_staged_is_not_swept(root: Path) -> None:
    EVERYTHING.lay(root)
    with durably.Transaction(root) as txn:
        EVERYTHING.act(txn)
        before = ours(root)
        in_child(lambda: sweep_all(root))
        assert ours(root) == before
    assert held(root) == EVERYTHING.after


# Conflicts.


@pytest.mark.parametrize(
    ("name", "renames"),
    [("new", 0), *((name, renames) for name in ("a", "sub/b", "c", "d") for renames in (0, 3, 6))],
)
def test_a_strangers_change_is_a_conflict(root: Path, name: str, renames: int) -> None:
    _interrupted(root, renames=renames)
    durably.write_bytes(root / name, b"a stranger's")
    before, left = held(root), ours(root)
    with pytest.raises(durably.RecoveryConflictError) as caught:
        durably.recover(root)
    assert caught.value.conflicts == (name,)
    assert caught.value.path == str(root)
    assert caught.value.errno == errno.ESTALE
    assert held(root) == before
    assert ours(root) == left
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.conflicts, again.path, again.errno) == ((name,), str(root), errno.ESTALE)
    with pytest.raises(durably.RecoveryConflictError), durably.Transaction(root):
        pass


def test_a_change_in_place_is_a_conflict_too(root: Path) -> None:
    _interrupted(root)
    with (root / "d").open("ab") as file:
        file.write(b" and more")
    with pytest.raises(durably.RecoveryConflictError):
        durably.recover(root)


def test_the_user_picks(root: Path) -> None:
    """The message names the old and the new file; either, moved over the stranger's, ends it."""
    for which in (0, 1):
        _interrupted(root)
        durably.write_bytes(root / "sub" / "b", b"a stranger's")
        with pytest.raises(durably.RecoveryConflictError) as caught:
            durably.recover(root)
        choices = str(caught.value).partition("(of b: ")[2].partition(")")[0].split(" or ")
        assert len(choices) == 2
        os.replace(choices[which], root / "sub" / "b")
        assert durably.recover(root).outcome == "finished"
        assert held(root) == EVERYTHING.after
        shutil.rmtree(root)


# Journals that are not to be trusted.


def test_a_damaged_journal_is_refused(root: Path) -> None:
    _interrupted(root)
    whole = (root / JOURNAL).read_bytes()
    before = held(root)
    for damaged in (b"", whole[:-1], whole[:40], whole.replace(b'"d"', b'"e"'), b"x" + whole, whole + b"\n"):
        (root / JOURNAL).write_bytes(damaged)
        with pytest.raises(durably.RecoveryNeededError) as caught:
            durably.recover(root)
        assert caught.value.errno == errno.EBADMSG
        assert str(root / JOURNAL) in str(caught.value)
        with pytest.raises(durably.RecoveryNeededError), durably.Transaction(root):
            pass
    assert held(root) == before
    (root / JOURNAL).write_bytes(whole)
    assert durably.recover(root).outcome == "finished"


def _rewritten(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a journal as somebody would who can compute its checksum."""
    fields = json.loads((root / JOURNAL).read_bytes().partition(b"\n")[2])
    change(fields)
    body = json.dumps(fields).encode()
    head = b"durably-journal 1 %08x %d\n" % (zlib.crc32(body), len(body))
    (root / JOURNAL).write_bytes(head + body)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["operations"][0].__setitem__(0, [".."]),
        lambda fields: fields["operations"][0].__setitem__(1, "../victim"),
        lambda fields: fields["operations"][0].__setitem__(1, "/victim"),
        lambda fields: fields["operations"][0].__setitem__(2, "victim"),
        lambda fields: fields["operations"][0].__setitem__(4, "victim"),
        lambda fields: fields.__setitem__("direction", "sideways"),
        lambda fields: fields.__setitem__("root", 1),
        lambda fields: fields.pop("operations"),
    ],
    ids=["above", "a path", "absolute", "staged", "kept", "direction", "root", "no operations"],
)
def test_a_journal_that_leads_astray_is_refused(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    _interrupted(root)
    _rewritten(root, change)
    before = held(root)
    with pytest.raises(durably.RecoveryNeededError) as caught:
        durably.recover(root)
    assert caught.value.errno == errno.EBADMSG
    assert held(root) == before


def test_a_newer_journal_is_refused(root: Path) -> None:
    _interrupted(root)
    (root / JOURNAL).write_bytes(b"durably-journal 2 whatever comes\n...")
    with pytest.raises(durably.RecoveryNeededError, match="version 2") as caught:
        durably.recover(root)
    assert caught.value.errno == errno.ENOTSUP


def test_a_journal_that_others_may_write_to_is_refused(root: Path) -> None:
    _interrupted(root)
    for path, mode in ((root, 0o775), (root, 0o757), (root / JOURNAL, 0o620), (root / JOURNAL, 0o602)):
        before = path.stat().st_mode & 0o777
        path.chmod(mode)
        with pytest.raises(durably.RecoveryNeededError) as caught:
            durably.recover(root)
        assert caught.value.errno == errno.EPERM
        path.chmod(before)
    assert durably.recover(root).outcome == "finished"


@needs_unprivileged_user
def test_a_strangers_journal_is_refused(root: Path) -> None:
    _interrupted(root)
    os.chown(root / JOURNAL, NOBODY, NOBODY)
    with pytest.raises(durably.RecoveryNeededError, match=str(NOBODY)) as caught:
        durably.recover(root)
    assert caught.value.errno == errno.EPERM
    os.chown(root, NOBODY, NOBODY)  # now it is that of the root's owner
    assert durably.recover(root).outcome == "finished"


def test_no_link_is_followed(root: Path, tmp_path: Path) -> None:
    _interrupted(root)
    shutil.move(root / "sub", tmp_path / "elsewhere")
    (root / "sub").symlink_to(tmp_path / "elsewhere")
    elsewhere = held(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Errno"):
        durably.recover(root)
    assert held(tmp_path / "elsewhere") == elsewhere
    assert (root / JOURNAL).exists()


def test_a_linked_journal_is_refused(root: Path, tmp_path: Path) -> None:
    _interrupted(root)
    shutil.move(root / JOURNAL, tmp_path / "journal")
    (root / JOURNAL).symlink_to(tmp_path / "journal")
    with pytest.raises(durably.RecoveryNeededError):
        durably.recover(root)


def test_a_root_that_is_not_there(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        durably.recover(root)
    with pytest.raises(durably.UnsupportedError):
        durably.recover("s3://bucket/root")


def test_a_failed_recovery_is_done_again(root: Path) -> None:
    """Calls of a recovery fail in turn, once or for ever: the next one does the rest."""
    for number in itertools.count(1):
        _interrupted(root, REPLACING)
        table = FailingSyscalls(number, errno.EIO, forever=bool(number % 2))
        try:
            with use(table):
                durably.recover(root)
        except OSError:
            assert table.failed is not None
        durably.recover(root)
        assert held(root) == REPLACING.after, table.failed
        sweep_all(root)
        assert ours(root) == [], (table.failed, table.error)
        if table.failed is None:
            break
    assert number > 50


@pytest.mark.parametrize("way", [WINDOWS], ids=shown)
def test_recovery_on_windows(root: Path, way: Way) -> None:
    """Interrupted by a failure for ever, as a fake Windows cannot be killed."""

    class Broken(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if (root / JOURNAL).exists() and name in (
                "rename_by_handle",
                "create_file",
                "unlink",
                "move_file",
            ):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    EVERYTHING.lay(root)
    base = way.base()
    with use(Broken(base), way.system):
        with pytest.raises(durably.RecoveryNeededError):
            EVERYTHING.run(root)
        with pytest.raises(OSError, match="Errno"):
            durably.recover(root)
    assert recover(root, way, base).outcome == "finished"
    assert held(root) == EVERYTHING.after
    assert ours(root) == []


def test_one_change_leaves_no_journal(root: Path) -> None:
    first, _ = in_child(lambda: _kill_everywhere(ONE, LINUX, root, every=2))
    assert first > 10
