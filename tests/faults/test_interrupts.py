"""Exceptions from outside: whole old or whole new, nothing left, and the exception goes on."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import random
import re
import signal
import stat
import sys
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import durably
import entry_points
from capabilities import needs_posix
from durably._system.syscalls import Syscalls
from durably.testing import RecordingSyscalls, use
from entry_points import (
    CASES,
    LEVELS,
    LINUX,
    MAIN,
    MAIN_CASES,
    NEW,
    OLD,
    RENAMED,
    TRANSACTED_CASES,
    WAYS,
    EntryPoint,
    Way,
    in_child,
    prepare,
    read,
    shown,
)
from interrupting import Interrupting, _lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from durably import AtomicWriter

pytestmark = needs_posix


# Every entry point on Linux; on the other ways the entry points that differ there.
EACH = [
    (entry_point, state, LINUX, LEVELS[number % 3])
    for number, (entry_point, state) in enumerate(CASES + TRANSACTED_CASES)
] + [
    (entry_point, state, way, LEVELS[(number + shift) % 3])
    for shift, way in enumerate(WAYS[1:])
    for number, (entry_point, state) in enumerate(RENAMED)
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("entry_point", "state", "way", "level"), EACH, ids=shown)
def test_interrupted_at_each_call(
    entry_point: EntryPoint, state: str, way: Way, level: str, after: bool, path: Path
) -> None:
    number = 0
    while True:
        number += 1
        old = prepare(path, state)
        before = entry_points.descriptors()
        table = Interrupting(number, way.base(), after=after)
        try:
            with use(table, way.system):
                entry_point.save(path, NEW, durability=level)
        except KeyboardInterrupt as interrupt:
            told = f"{'after' if after else 'before'} {table.record[number - 1]}"
            assert not hasattr(interrupt, "leftovers"), told
        else:
            assert len(table.record) < number, "swallowed"
            break
        assert read(path) in (old, entry_point.content(old)), told
        assert not entry_points.beside(path), told
        opened = entry_points.descriptors() - before
        assert opened <= _lost(table), told
        for fd in opened:
            os.close(fd)
    assert number > 5


def test_interrupted_when_published_and_the_directory_cannot_be_flushed(path: Path) -> None:
    """The interrupt goes on; the flush that failed beneath it says nothing, and is tried once."""
    base = Syscalls()
    tried = []

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            tried.append(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fsync(fd)

    base.fsync = fsync
    path.write_bytes(OLD)
    with use(table := RecordingSyscalls(base)), pytest.raises(durably.NotDurableError):
        durably.write_bytes(path, NEW)
    renamed = [call.name for call in table.record].index("replace") + 1
    tried.clear()
    with use(Interrupting(renamed, base, after=True)), pytest.raises(KeyboardInterrupt):
        durably.write_bytes(path, NEW)
    assert len(tried) == 1
    assert path.read_bytes() == NEW
    assert not entry_points.beside(path)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("entry_point", MAIN, ids=shown)
def test_interrupted_in_a_rewrite_in_place(entry_point: EntryPoint, after: bool, path: Path) -> None:
    """None of the promises remains, but what the target lost, the staged copy holds."""
    torn = 0
    for number in range(1, 60):
        prepare(path, "replaced")
        before = entry_points.descriptors()
        table = Interrupting(number, entry_points.NoRename(), after=after)
        try:
            with use(table):
                entry_point.save(path, NEW, allow_in_place=True)
        except KeyboardInterrupt as interrupt:
            (staged,) = getattr(interrupt, "leftovers", (None,))
        else:
            break
        told = str(table.record[number - 1])
        content = path.read_bytes()
        assert (staged is not None) == bool(entry_points.beside(path)), told
        if staged is None:
            assert content in (OLD, NEW), told
        else:
            torn += 1
            assert entry_points.whole(staged) == NEW, told
        for fd in entry_points.descriptors() - before:
            assert fd in _lost(table), told
            os.close(fd)
    assert torn > 0
    assert read(path) == NEW


# Between the return of a call that opens and the assignment nothing can be done in pure Python, and
# signals that arrive during the call are served just there.
_LOSES = re.compile(r"\bopen\(|\bdup\(|\bcreate\(|\.enter\(|\bopen_\w+\(")


class Struck(BaseException):
    """What the signal's handler raises."""


def _strike(*_: object) -> None:
    raise Struck


def _interrupted_at_random(
    entry_point: EntryPoint, state: str, level: str, path: Path, times: int
) -> dict[str, int]:
    """Saves with a signal that raises some microseconds after their beginning, until so many were struck."""
    signal.signal(signal.SIGALRM, _strike)
    warnings.simplefilter("ignore", ResourceWarning)  # a writer that was struck before its block began
    chance = random.Random(f"{entry_point.name} {state}")
    longest = _longest(entry_point, state, level, path)
    count = {"struck": 0, "old": 0, "new": 0, "descriptors": 0}
    for _ in range(20 * times):
        if count["struck"] == times:
            break
        old = prepare(path, state)
        before = entry_points.descriptors()
        struck = returned = False
        where = ""
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, longest))
                entry_point.save(path, NEW, durability=level)
                returned = True
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Struck as strike:
            struck = True
            where = _line(strike)
            assert not hasattr(strike, "leftovers")
        content = read(path)
        assert content in (old, entry_point.content(old))
        assert not entry_points.beside(path), where
        assert struck or (returned and content == entry_point.content(old))
        count["struck"] += struck
        count["new" if content == entry_point.content(old) else "old"] += struck
        opened = entry_points.descriptors() - before
        assert len(opened) <= (_LOSES.search(where) is not None), (where, opened)
        count["descriptors"] += len(opened)
        for fd in opened:
            os.close(fd)
    return count


def _line(error: BaseException) -> str:
    """The line that was struck: the last but the handler's own."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-2].line or ""


def _longest(entry_point: EntryPoint, state: str, level: str, path: Path) -> float:
    """How long a save takes, so that the signals fall on all of it."""
    durations = []
    for _ in range(20):
        prepare(path, state)
        start = time.perf_counter()
        entry_point.save(path, NEW, durability=level)
        durations.append(time.perf_counter() - start)
    return sorted(durations)[10] * 1.1


@pytest.mark.parametrize(
    ("entry_point", "state"), [*RENAMED, (entry_points.BY_NAME["open r+"], "replaced")], ids=shown
)
def test_interrupted_at_random(entry_point: EntryPoint, state: str, path: Path) -> None:
    times = 250
    count = in_child(lambda: _interrupted_at_random(entry_point, state, "durable", path, times))
    assert count["struck"] == times, count
    assert count["old"], count
    assert count["descriptors"] < count["struck"] / 2, count


# In the body.


class Bodies:
    """Ways to leave a body by an exception, each with what comes out of it."""

    @staticmethod
    def error(_: Any) -> None:
        raise ValueError("of the body")

    @staticmethod
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    @staticmethod
    def exit(_: Any) -> None:
        sys.exit(3)

    @staticmethod
    def recursion(_: Any) -> None:
        def deeper() -> int:
            return deeper() + 1

        deeper()

    @staticmethod
    def closed(file: Any) -> None:
        """The file is closed first, which decides nothing."""
        if hasattr(file, "close"):
            file.close()
        raise ValueError("of the body")


BODIES: list[tuple[Callable[[Any], None], type[BaseException]]] = [
    (Bodies.error, ValueError),
    (Bodies.interrupt, KeyboardInterrupt),
    (Bodies.exit, SystemExit),
    (Bodies.recursion, RecursionError),
    (Bodies.closed, ValueError),
]
BLOCKS: dict[str, Callable[[Path], Any]] = {
    "w": lambda path: durably.open(path, "w"),
    "wb": lambda path: durably.open(path, "wb"),
    "unbuffered": lambda path: durably.open(path, "wb", buffering=0),
    "w+": lambda path: durably.open(path, "w+"),
    "a": lambda path: durably.open(path, "a"),
    "a+b": lambda path: durably.open(path, "a+b"),
    "staged_path": durably.staged_path,
}


def _begin(thing: Any) -> None:
    """Write what must never be seen, more than a buffer holds, and then some that stays in the buffer."""
    if not hasattr(thing, "write"):
        thing.write_bytes(NEW)
        return
    binary = "b" in thing.mode
    for piece in (b"half a file" * 10_000, b"the rest"):
        thing.write(piece if binary else piece.decode())


@pytest.mark.parametrize("way", WAYS, ids=shown)
@pytest.mark.parametrize("state", ["new", "replaced"])
@pytest.mark.parametrize(("body", "kind"), BODIES, ids=lambda each: getattr(each, "__name__", None))
@pytest.mark.parametrize("block", BLOCKS)
def test_an_exception_in_the_body_discards(
    block: str, body: Callable[[Any], None], kind: type[BaseException], state: str, way: Way, path: Path
) -> None:
    old = prepare(path, state)
    before = entry_points.descriptors()
    with use(way.base(), way.system):
        saving = BLOCKS[block](path)
        with pytest.raises(kind) as caught, saving as thing:
            _begin(thing)
            body(thing)
    assert not hasattr(caught.value, "leftovers")
    assert saving.receipt is None
    _check_untouched(path, old, before)


def _check_untouched(path: Path, old: bytes | None, before: set[int]) -> None:
    assert read(path) == old
    assert not entry_points.beside(path)
    assert entry_points.descriptors() == before


@pytest.mark.parametrize("block", BLOCKS)
def test_a_generator_that_is_closed_discards(block: str, path: Path) -> None:
    def saver() -> Iterator[None]:
        with BLOCKS[block](path) as thing:
            _begin(thing)
            yield

    old = prepare(path, "replaced")
    before = entry_points.descriptors()
    saving = saver()
    next(saving)
    assert read(path) == old
    saving.close()  # type: ignore[attr-defined] # a generator
    _check_untouched(path, old, before)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_task_that_is_cancelled_discards(block: str, path: Path) -> None:
    async def saver() -> None:
        with BLOCKS[block](path) as thing:
            _begin(thing)
            await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(saver())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    old = prepare(path, "replaced")
    before = entry_points.descriptors()
    asyncio.run(cancel())
    _check_untouched(path, old, before)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block != "staged_path"])
def test_a_writer_that_is_dropped_discards(block: str, path: Path) -> None:
    old = prepare(path, "replaced")
    before = entry_points.descriptors()
    writer: AtomicWriter[Any] | None = BLOCKS[block](path)
    assert writer is not None
    _begin(writer.file)
    with pytest.warns(ResourceWarning, match="unfinished"):
        writer = None
    _check_untouched(path, old, before)


def test_a_staged_path_that_is_dropped_discards(path: Path) -> None:
    old = prepare(path, "replaced")
    before = entry_points.descriptors()
    staged: durably.staged_path | None = durably.staged_path(path)
    assert staged is not None
    staged.__enter__().write_bytes(NEW)
    with pytest.warns(ResourceWarning, match="unfinished"):
        staged = None
    _check_untouched(path, old, before)


@pytest.mark.parametrize(("entry_point", "state"), MAIN_CASES, ids=shown)
def test_too_deep_for_the_save_itself(entry_point: EntryPoint, state: str, path: Path) -> None:
    """The stack ends somewhere within the save, at whatever depth it has there."""
    warnings.simplefilter("ignore", ResourceWarning)
    entry_point.save(path, NEW)  # what is imported at the first save is there

    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        else:
            entry_point.save(path, NEW)

    limit = sys.getrecursionlimit()
    outcomes = set()
    for room in range(1, 60):
        old = prepare(path, state)
        before = entry_points.descriptors()
        try:
            deep(limit - room - len(traceback.extract_stack()))
        except (RecursionError, ctypes.ArgumentError):  # ctypes dresses up what it meets
            outcomes.add("too deep")
        else:
            outcomes.add("saved")
        assert read(path) in (old, entry_point.content(old)), room
        for fd in entry_points.descriptors() - before:  # nor is there room on the stack to close them
            os.close(fd)
    assert outcomes == {"too deep", "saved"}
