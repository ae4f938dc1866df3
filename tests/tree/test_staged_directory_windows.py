"""`staged_directory` on Windows with versions behind a link, against a fake table."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

import durably
import entry_points
from capabilities import needs_linux, needs_posix, needs_proc
from disk import names
from durably import NotDurableError, OutcomeUnknownError, UnsupportedError
from durably._commit.windows.strategy import Windows
from durably._system import temp_names
from durably._system.native import win32 as win
from durably.testing import every_failure, use
from entry_points import LEVELS, attempt, in_child
from fakes import FakeWindows, windows_error
from interrupting import Interrupting
from interrupting import _lost as lost
from kills import Killing, killed
from trees import LITTLE_NEW, LITTLE_OLD, WAYS, Tree, Way, grow, seen, shown
from windows_failures import every_windows_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from durably import Receipt
    from durably._system.syscalls import Syscalls
    from durably.testing import FailingSyscalls

pytestmark = [needs_linux, needs_posix, needs_proc]

LINKED = [way for way in WAYS if way.links and not way.keeps]
AGAIN = next(way for way in LINKED if way.old)
POSIX = win.FILE_RENAME_POSIX_SEMANTICS


@pytest.fixture
def fake() -> Iterator[FakeWindows]:
    table = FakeWindows()
    with use(table, "win32"):
        yield table


def save(path: Path, tree: Tree = LITTLE_NEW, **options: Any) -> Receipt:
    staged = durably.staged_directory(path, fallback="symlink", **options)
    with staged as directory:
        grow(directory, tree)
    assert staged.receipt is not None
    return staged.receipt


def version(path: Path) -> Path:
    return path.with_name(os.readlink(path).partition("/")[0])


def prepared(way: Way, path: Path, table: Syscalls | None = None) -> Tree | None:
    with use(table or FakeWindows(), "win32"):
        return way.prepare(path)


# What it does.


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("way", LINKED, ids=shown)
def test_the_link_leads_to_the_new_tree_and_the_old_one_is_gone(
    way: Way, level: str, path: Path, fake: FakeWindows
) -> None:
    old = prepared(way, path, fake)
    before = entry_points.descriptors()
    receipt = way.save(path, durability=level)
    assert seen(path) == way.new
    assert way.beside(path) == set()
    assert receipt.replaced == (old is not None)
    assert receipt.steps[-1] == "rename link"
    assert ("fsync" in receipt.steps) == (level != "none")
    assert receipt.durability == ("none" if old or level == "none" else "consistent")
    assert entry_points.descriptors() == before
    assert fake.volume.handles == {}


def test_the_link_is_replaced_by_one_rename_of_its_own_handle(path: Path, fake: FakeWindows) -> None:
    save(path, LITTLE_OLD)
    renamed: list[tuple[str, int]] = []
    rename = fake.rename_by_handle

    def recorded(handle: int, to: str, flags: int) -> None:
        renamed.append((os.path.basename(to), flags))
        assert seen(path) == LITTLE_OLD
        rename(handle, to, flags)

    fake.rename_by_handle = recorded
    save(path)
    (_, rehearsed), (name, flags) = renamed
    assert (name, flags, rehearsed) == (path.name, POSIX | win.FILE_RENAME_REPLACE_IF_EXISTS, flags)


def test_the_link_is_relative(path: Path, fake: FakeWindows) -> None:
    save(path)
    to = os.readlink(path)
    above, _, name = to.partition("/")
    made = temp_names.parse(above)
    assert made is not None
    assert (made[0], name) == ("v", path.name)


def without_privilege(fake: FakeWindows, prefix: str = "") -> None:
    def refused(*_: object, **__: object) -> None:
        raise windows_error(win.ERROR_PRIVILEGE_NOT_HELD)

    def prefixed(path: str) -> str:
        return prefix + os.readlink(path)

    fake.symlink = refused
    fake.readlink = prefixed


@pytest.mark.parametrize("prefix", ["", "\\\\?\\"])
def test_who_may_make_no_symbolic_links_gets_a_junction(path: Path, fake: FakeWindows, prefix: str) -> None:
    without_privilege(fake, prefix)
    for tree in (LITTLE_OLD, LITTLE_NEW):
        receipt = save(path, tree)
        assert seen(path) == tree
        assert os.path.isabs(os.readlink(path))
        assert len(names(path.parent)) == 2
    assert receipt.replaced


def test_a_junction_that_was_moved_leads_elsewhere(path: Path, fake: FakeWindows) -> None:
    without_privilege(fake)
    place = path.parent / "place"
    place.mkdir()
    save(place / "data")
    place.rename(path)
    with pytest.raises(OSError, match="leads elsewhere") as caught:
        save(path / "data")
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("state", ["a directory", "a file", "a link", "a version of another name"])
def test_what_is_no_link_of_ours_is_refused(path: Path, fake: FakeWindows, state: str) -> None:
    if state == "a file":
        path.write_bytes(b"")
    elif state == "a directory":
        path.mkdir()
    elif state == "a link":
        path.symlink_to(path.parent)
    else:
        save(path.with_name("other"))
        path.symlink_to(os.readlink(path.with_name("other")))
    expected: Any = {"a directory": UnsupportedError, "a file": NotADirectoryError}.get(state, OSError)
    before = names(path.parent)
    with pytest.raises(expected, match="nothing was changed"):
        save(path)
    assert names(path.parent) == before


def test_a_link_whose_version_is_gone_is_replaced(path: Path, fake: FakeWindows) -> None:
    save(path)
    fake.volume.plan.fail("get_file_attributes", 0, times=0)
    for entry in sorted(version(path).rglob("*"), reverse=True):
        entry.rmdir() if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    version(path).rmdir()
    assert not save(path).replaced
    assert seen(path) == LITTLE_NEW


def test_create_only(path: Path, fake: FakeWindows) -> None:
    save(path, overwrite=False)
    with pytest.raises(FileExistsError):
        save(path, overwrite=False)
    other = path.with_name("other")
    with pytest.raises(FileExistsError):
        with durably.staged_directory(other, fallback="symlink", overwrite=False) as directory:
            grow(directory, LITTLE_NEW)
            other.mkdir()
    assert seen(other) == {}
    assert len(names(path.parent)) == 3


@pytest.mark.parametrize("options", [{"keep_old": "kept"}, {"start_from": "copy"}], ids=str)
def test_what_windows_has_not_is_refused(path: Path, fake: FakeWindows, options: Any) -> None:
    with pytest.raises(UnsupportedError, match="neither keep_old nor start_from on Windows"):
        save(path, **options)
    assert names(path.parent) == []


@pytest.mark.parametrize(
    "code", [win.ERROR_ACCESS_DENIED, win.ERROR_DIR_NOT_EMPTY, win.ERROR_INVALID_PARAMETER]
)
def test_where_no_link_replaces_another_nothing_is_begun(path: Path, fake: FakeWindows, code: int) -> None:
    fake.volume.plan.fail("rename_by_handle", code)
    with pytest.raises(UnsupportedError, match="no link to a directory can be made here that another one"):
        save(path)
    assert names(path.parent) == []


def test_links_that_are_made_and_are_not_there(path: Path, fake: FakeWindows) -> None:
    """As under Wine 8."""
    fake.symlink = lambda *_, **__: None
    with pytest.raises(UnsupportedError, match="no link to a directory"):
        save(path)
    assert names(path.parent) == []


def test_the_access_list_of_the_directory_itself_is_carried_over(path: Path, fake: FakeWindows) -> None:
    save(path, LITTLE_OLD)
    fake.volume.protect(version(path) / path.name, owner=b"somebody")
    assert save(path).lost == ("owner",)
    assert fake.volume.security_of(version(path) / path.name) == (b"me", b"private")
    fake.volume.plan.fail("set_security", win.ERROR_ACCESS_DENIED)
    assert save(path).lost == ("acl",)
    with pytest.raises(PermissionError):
        save(path, metadata="strict")
    fake.volume.plan.fail("set_security", win.ERROR_LOCK_VIOLATION)
    with pytest.raises(OSError, match="Windows error 33"):
        save(path)
    fake.volume.plan.fail("get_security", win.ERROR_NOT_SUPPORTED)
    assert save(path).lost == ()
    assert save(path, metadata="fresh").lost == ()


def test_an_old_version_in_use_is_left_and_named(path: Path, fake: FakeWindows) -> None:
    save(path, LITTLE_OLD)
    old = version(path)
    with fake.volume.held(old / path.name / "a"):
        receipt = save(path)
    assert receipt.skipped["remove"].startswith(f"{old} is left over: ")
    assert seen(path) == LITTLE_NEW
    assert set(names(path.parent)) == {path.name, version(path).name, old.name}


def test_a_sweep_spares_the_version_that_a_link_leads_to(
    path: Path, fake: FakeWindows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Windows, "is_running", lambda self, maker: False)
    save(path)
    path.with_name("stranger").symlink_to(path.parent)
    unlinked, private = path.with_name(temp_names.fresh("v")), path.with_name(temp_names.fresh("d"))
    unlinked.mkdir()
    private.mkdir()
    swept = {each.path: (each.removed, each.reason) for each in durably.sweep(path.parent, older_than=0)}
    assert swept.pop(str(version(path))) == (False, "a link leads to it")
    assert set(swept) == {str(unlinked), str(private)}
    assert all(removed for removed, _ in swept.values())
    assert set(names(path.parent)) == {path.name, "stranger", version(path).name}


# Whatever fails, and whenever it ends.


def _check(way: Way, path: Path, old: Tree | None, level: str, table: FailingSyscalls, outcome: Any) -> None:
    receipt, error = outcome
    told = f"{table.failed}: {error!r}, {receipt}"
    found = seen(path)
    left = way.beside(path)
    assert left == entry_points.named_leftovers(error, receipt) & left, told
    if isinstance(error, OutcomeUnknownError):
        assert found in (old, way.new), told
        return
    assert not isinstance(error, NotDurableError), told
    assert found == (way.new if error is None else old), told
    if error is None:
        assert receipt.replaced == (old is not None), told
    else:
        assert isinstance(error, OSError), told
        assert error.filename == str(path), told


@pytest.mark.parametrize(("way", "codes"), [(way, False) for way in LINKED] + [(AGAIN, True)], ids=shown)
def test_one_call_fails(way: Way, codes: bool, path: Path) -> None:
    turns = every_windows_failure() if codes else every_failure(system="win32", base=FakeWindows())
    for turn, table in enumerate(turns):
        level = LEVELS[turn % 3]
        old = prepared(way, path)
        before = entry_points.descriptors()
        outcome = attempt(way.save, path, durability=level)
        _check(way, path, old, level, table, outcome)
        assert entry_points.descriptors() == before, table.failed


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("way", LINKED, ids=shown)
def test_interrupted_at_each_call(way: Way, after: bool, path: Path) -> None:
    number, found = 0, set()
    while True:
        number += 1
        old = prepared(way, path)
        before = entry_points.descriptors()
        table = Interrupting(number, FakeWindows(), after=after)
        try:
            with use(table, "win32"):
                way.save(path)
        except KeyboardInterrupt as interrupt:
            told = f"{'after' if after else 'before'} {table.record[number - 1]}"
            left = entry_points.named_leftovers(interrupt, None)
        else:
            assert len(table.record) < number, "swallowed"
            break
        content = seen(path)
        assert content in (old, way.new), told
        found.add(content == way.new)
        opened = entry_points.descriptors() - before
        # Windows removes nothing that is open, be it by a handle that nobody knows of any more.
        assert way.beside(path) == left, told
        assert opened or not left, told
        last = table.record[number - 1]
        known = {table.result} if after and last.name == "create_file" else lost(table)
        known |= {last.arguments[0]} if not after and last.name == "close_handle" else set()
        assert opened <= known, told
        for fd in opened:
            os.close(fd)
    assert found == {False, True}


def _kill_at_each_call(way: Way, path: Path) -> None:
    number, found = 0, []
    while True:
        number += 1
        old = in_child(lambda: prepared(way, path))

        def doomed(number: int = number) -> None:
            with use(Killing(number, FakeWindows()), "win32"):
                way.save(path)

        if not killed(doomed):
            break
        content = seen(path)
        assert content in (old, way.new), number
        found.append(content == way.new)
        with use(FakeWindows(), "win32"):
            swept = durably.sweep(path.parent, older_than=0)
        stay = [each.reason for each in swept if not each.removed]
        assert stay == (["a link leads to it"] if content is not None else []), (number, swept)
        assert (seen(path), way.beside(path)) == (content, set()), number
    assert sorted(found) == found
    assert set(found) == {False, True}


@pytest.mark.parametrize("way", LINKED, ids=shown)
def test_killed_at_each_call(way: Way, path: Path) -> None:
    in_child(lambda: _kill_at_each_call(way, path))


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("looks", [True, False])
def test_the_answer_to_the_rename_is_lost(path: Path, fake: FakeWindows, arrives: bool, looks: bool) -> None:
    save(path, LITTLE_OLD)
    old = version(path).name
    rename, stat = fake.rename_by_handle, fake.stat

    def lose(handle: int, to: str, flags: int) -> None:
        if to == str(path) and not arrives:
            raise windows_error(win.ERROR_NOT_SUPPORTED)
        rename(handle, to, flags)
        if to == str(path):
            if not looks:
                fake.stat = denied
            raise windows_error(win.ERROR_NOT_SUPPORTED)

    def denied(*arguments: Any, **keywords: Any) -> os.stat_result:
        raise windows_error(win.ERROR_SHARING_VIOLATION)

    fake.rename_by_handle = lose
    expected: Callable[[], Any] = lambda: attempt(save, path)  # noqa: E731
    receipt, error = expected()
    fake.stat = stat
    if not arrives:
        assert isinstance(error, OSError)
        assert not isinstance(error, OutcomeUnknownError)
        assert (seen(path), version(path).name) == (LITTLE_OLD, old)
        assert len(names(path.parent)) == 2
    elif looks:
        assert receipt is not None
        assert len(names(path.parent)) == 2
    else:
        assert isinstance(error, OutcomeUnknownError)
        assert entry_points.named_leftovers(error, None) == {old, version(path).name}
    assert seen(path) == (LITTLE_NEW if arrives else LITTLE_OLD)
