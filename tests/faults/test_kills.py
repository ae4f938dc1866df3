"""A process is killed at every system call of a save: the target is whole, and what is left is swept."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import durably
import entry_points
from capabilities import find, needs_linux, needs_posix, needs_strace
from durably.testing import RecordingSyscalls, use
from entry_points import (
    CASES,
    LEVELS,
    LINUX,
    NEW,
    RENAMED,
    TRANSACTED_CASES,
    WAYS,
    EntryPoint,
    Way,
    in_child,
    read,
    shown,
)
from kill_states import STRANGERS, _check_left, _prepared
from kills import Killing, die, killed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from durably._system.syscalls import Syscalls

pytestmark = [needs_posix, needs_linux]


def _calls(
    entry_point: EntryPoint, state: str, way: Way, path: Path, level: str
) -> tuple[list[str], tuple[str, ...]]:
    table = RecordingSyscalls(way.base())
    _prepared(path, state)
    with use(table, way.system):
        receipt = entry_point.save(path, NEW, durability=level)
    return table.names, receipt.steps


def _kill_at_each_call(entry_point: EntryPoint, state: str, way: Way, level: str, path: Path) -> None:
    names, steps = _calls(entry_point, state, way, path, level)
    unnamed = names.index("link") if "create unnamed" in steps else 0
    if entry_point.streams and way is LINUX:
        assert bool(unnamed) == ("unnamed" in durably.probe(path.parent).supports)
    found = set()
    for number in range(1, len(names) + 2):
        after = number > len(names)
        table = Killing(min(number, len(names)), way.base(), after=after)
        old = _prepared(path, state)

        def save(table: Syscalls = table) -> None:
            with use(table, way.system):
                entry_point.save(path, NEW, durability=level)

        assert killed(save), (number, names)
        told = f"{'after' if after else 'before'} call {table.at}, {names[table.at - 1]}, of {names}"
        content = read(path)
        left = _check_left(entry_point, path, old, told)
        assert not (left and number <= unnamed + 1), (told, left)
        found.add(content == entry_point.content(old))
    assert found == {False, True}


# Every entry point on Linux; on the other ways the entry points that differ there.
EACH = [
    (entry_point, state, LINUX, LEVELS[number % 3])
    for number, (entry_point, state) in enumerate(CASES + TRANSACTED_CASES)
] + [
    (entry_point, state, way, LEVELS[(number + shift) % 3])
    for shift, way in enumerate(WAYS[1:])
    for number, (entry_point, state) in enumerate(RENAMED)
]


@pytest.mark.parametrize(("entry_point", "state", "way", "level"), EACH, ids=shown)
def test_killed_at_each_call(entry_point: EntryPoint, state: str, way: Way, level: str, path: Path) -> None:
    in_child(lambda: _kill_at_each_call(entry_point, state, way, level, path))


def _die_in_the_body(entry_point: EntryPoint, way: Way, path: Path) -> None:
    """The writing has begun, and much of it has reached the disk."""
    with use(way.base(), way.system):
        if entry_point.streams:
            with durably.open(path, "wb", buffering=0) as file:
                file.write(NEW[:5000])
                os.fsync(file.fileno())
                die()
        with durably.staged_path(path) as temporary:
            temporary.write_bytes(NEW[:5000])
            die()


@pytest.mark.parametrize("way", WAYS, ids=shown)
@pytest.mark.parametrize(
    "entry_point", [entry_points.BY_NAME["open wb"], entry_points.BY_NAME["staged_path"]], ids=shown
)
@pytest.mark.parametrize("state", ["new", "replaced"])
def test_killed_in_the_body(entry_point: EntryPoint, state: str, way: Way, path: Path) -> None:
    old = _prepared(path, state)
    assert in_child(lambda: killed(lambda: _die_in_the_body(entry_point, way, path)))
    assert read(path) == old
    left = _check_left(entry_point, path, old, way)
    if entry_point.streams and way is LINUX and "unnamed" in durably.probe(path.parent).supports:
        assert not left
    else:
        assert len(left) == 1


def test_what_a_living_process_has_staged_is_not_swept(path: Path) -> None:
    """The kills above would pass with a sweep that removes everything."""
    _prepared(path, "new")
    with (
        use(entry_points.NamedOnly()),
        durably.open(path, "wb") as file,
        durably.staged_path(path) as temporary,
    ):
        file.write(NEW)
        temporary.write_bytes(NEW)
        before = entry_points.beside(path)
        assert len(before) == len(STRANGERS) + 2
        swept = in_child(
            lambda: [(each.removed, each.reason) for each in durably.sweep(path.parent, older_than=0)]
        )
        assert [removed for removed, _ in swept] == [False, False]
        assert entry_points.beside(path) == before
    assert entry_points.beside(path) == STRANGERS


# With strace: the kernel kills, and no table of ours says which calls there are.

_CHANGING = (
    "openat,write,ftruncate,fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,unlink,unlinkat,"
    "mkdir,mkdirat,rmdir,fchmod,fchown,flock,fsetxattr,fremovexattr,ioctl,close"
)


class Traced:
    """Runs a save in a forked child that strace watches from before the first call."""

    def __init__(self, *arguments: str) -> None:
        self.command = [find("strace") or "strace", "-e", f"trace={_CHANGING}", *arguments]

    def run(self, save: Callable[[], object]) -> tuple[bool, str]:
        """Whether the child was killed, and the calls that were seen."""
        go_reader, go = os.pipe()

        def wait_and_save() -> None:
            os.read(go_reader, 1)
            save()

        child = os.fork()
        if child == 0:
            status = 3
            try:
                wait_and_save()
                status = 0
            finally:
                os._exit(status)
        os.close(go_reader)
        command = [*self.command, "-p", str(child)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            seen = strace.stderr.readline()
            os.write(go, b"!")
            os.close(go)
            status = os.waitpid(child, 0)[1]
            seen += strace.stderr.read()
        assert status in (0, signal.SIGKILL), (status, seen)
        return status != 0, seen


def _kill_at_each_traced_call(entry_point: EntryPoint, state: str, path: Path) -> None:
    def save() -> None:
        entry_point.save(path, NEW)

    _prepared(path, state)
    killed, seen = Traced().run(save)
    assert not killed
    assert read(path) is not None
    met = Counter(re.findall(r"^(\w+)\(", seen, re.MULTILINE))
    assert met["fsync"] + met["syncfs"] == 2, seen
    found = set()
    for call in met:
        killed_once = False
        # A later save makes fewer calls, as it remembers the mount table for a second: until one survives.
        for number in range(1, met[call] + 2):
            old = _prepared(path, state)
            killed, seen = Traced("-e", f"inject={call}:signal=SIGKILL:when={number}").run(save)
            content = read(path)
            _check_left(entry_point, path, old, (call, number, seen))
            found.add(content == entry_point.content(old))
            killed_once = killed_once or killed
            if not killed:
                break
        assert killed_once, call
    assert found == {False, True}


@needs_strace
@pytest.mark.parametrize(
    ("entry_point", "state"),
    [
        (entry_points.BY_NAME["write_bytes"], "replaced"),
        (entry_points.BY_NAME["open wb"], "replaced"),
        (entry_points.BY_NAME["open x"], "new"),
        (entry_points.BY_NAME["staged_path"], "new"),
    ],
    ids=shown,
)
def test_killed_by_strace(entry_point: EntryPoint, state: str, tmp_path: Path) -> None:
    in_child(lambda: _kill_at_each_traced_call(entry_point, state, tmp_path / "target"))
