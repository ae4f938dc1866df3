"""Threads, processes, sweepers and forks, all at one path or in one directory."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import durably
import entry_points
from capabilities import needs_posix
from durably._system import temp_names
from durably.testing import RecordingSyscalls, use
from entry_points import (
    CREATORS,
    ENTRY_POINTS,
    MAIN,
    OLD,
    WAYS,
    EntryPoint,
    Way,
    at_once,
    attempt,
    in_child,
    prepare,
    read,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

fcntl = pytest.importorskip("fcntl", reason="needs a POSIX system")
pytestmark = needs_posix

WRITERS = 8
SAVES = 12
RACING = [
    entry_point
    for entry_point in ENTRY_POINTS
    if "replaced" in entry_point.states and not entry_point.goes_on
]


def _version(writer: int, number: int) -> bytes:
    """Whole only if every line is there, and of one writer's one save."""
    return f"{writer} {number}\n".encode() * (800 + 100 * writer)


def _is_whole(content: bytes | None) -> bool:
    if content in (OLD, None):
        return content is not None
    writer, number = map(int, content.partition(b"\n")[0].split())
    return content == _version(writer, number)


def _save_often(entry_point: EntryPoint, path: Path, writer: int) -> None:
    for number in range(SAVES):
        receipt = entry_point.save(path, _version(writer, number), durability="none")
        assert receipt.lost == ()


def _read_until(path: Path, done: threading.Event) -> int:
    reads = 0
    while not done.is_set():
        content = path.read_bytes()
        assert _is_whole(content), content[:100]
        reads += 1
    return reads


@pytest.fixture
def readers(path: Path) -> Iterator[None]:
    """Somebody reads all the time, and meets whole versions only."""
    prepare(path, "replaced")
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(_read_until, path, done)
        try:
            yield
        finally:
            done.set()
        assert reading.result() > 0


@pytest.mark.usefixtures("readers")
@pytest.mark.parametrize("entry_point", RACING, ids=shown)
def test_threads_at_one_path(entry_point: EntryPoint, path: Path) -> None:
    before = entry_points.descriptors()
    with ThreadPoolExecutor(WRITERS) as pool:
        for saving in [pool.submit(_save_often, entry_point, path, writer) for writer in range(WRITERS)]:
            saving.result()
    assert _is_whole(read(path))
    assert read(path) != OLD
    assert not entry_points.beside(path)
    assert len(entry_points.descriptors()) <= len(before) + 1  # the reader has one now and then


@pytest.mark.usefixtures("readers")
@pytest.mark.parametrize("way", WAYS, ids=shown)
@pytest.mark.parametrize("entry_point", MAIN, ids=shown)
def test_processes_at_one_path(entry_point: EntryPoint, way: Way, path: Path) -> None:
    with use(way.base(), way.system):
        at_once([lambda writer=writer: _save_often(entry_point, path, writer) for writer in range(WRITERS)])  # type: ignore[misc]
    assert _is_whole(read(path))
    assert read(path) != OLD
    assert not entry_points.beside(path)


def test_threads_at_paths_of_their_own(path: Path) -> None:
    def save(writer: int) -> None:
        own = path.with_name(f"target {writer}")
        for number in range(SAVES):
            for entry_point in RACING:
                entry_point.save(own, _version(writer, number), durability="none")
                assert own.read_bytes() == _version(writer, number)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(save, range(WRITERS)))
    assert entry_points.beside(path) == {f"target {writer}" for writer in range(WRITERS)}


# Create only.


@pytest.mark.parametrize("way", WAYS, ids=shown)
@pytest.mark.parametrize("entry_point", CREATORS, ids=shown)
def test_one_process_creates(entry_point: EntryPoint, way: Way, path: Path) -> None:
    def create(writer: int) -> tuple[bool, Any]:
        receipt, error = attempt(entry_point.save, path, _version(writer, 0))
        return receipt is not None, (type(error), getattr(error, "filename", None))

    for _ in range(4):
        prepare(path, "new")
        with use(way.base(), way.system):
            outcomes = at_once([lambda writer=writer: create(writer) for writer in range(WRITERS)])  # type: ignore[misc]
        _check_one_won(outcomes, path)


@pytest.mark.parametrize("way", WAYS, ids=shown)
@pytest.mark.parametrize("entry_point", CREATORS, ids=shown)
def test_one_thread_creates(entry_point: EntryPoint, way: Way, path: Path) -> None:
    """All have staged their file before the first commits."""
    gate = threading.Barrier(WRITERS)

    def create(writer: int) -> tuple[bool, Any]:
        gate.wait()
        receipt, error = attempt(entry_point.save, path, _version(writer, 0))
        return receipt is not None, (type(error), getattr(error, "filename", None))

    with use(way.base(), way.system), ThreadPoolExecutor(WRITERS) as pool:
        for _ in range(10):
            prepare(path, "new")
            _check_one_won(list(pool.map(create, range(WRITERS))), path)


def test_all_have_staged_before_one_commits(path: Path) -> None:
    for way in WAYS:
        prepare(path, "new")
        with use(way.base(), way.system):
            writers = [durably.open(path, "xb") for _ in range(WRITERS)]
            for number, writer in enumerate(writers):
                writer.file.write(_version(number, 0))
            errors = [attempt(writer.commit)[1] for writer in writers]
        assert errors[0] is None
        assert {type(error) for error in errors[1:]} == {FileExistsError}
        assert read(path) == _version(0, 0)
        assert not entry_points.beside(path)


def _check_one_won(outcomes: list[tuple[bool, Any]], path: Path) -> None:
    (winner,) = [writer for writer, (won, _) in enumerate(outcomes) if won]
    assert read(path) == _version(winner, 0)
    assert {why for won, why in outcomes if not won} == {(FileExistsError, str(path))}
    assert not entry_points.beside(path)


# Sweepers.


def _unseen() -> None:
    """Give this process's temporaries the names of one that cannot be seen from elsewhere."""
    temp_names._process_space = lambda: "abc"
    temp_names.forget()


def _sweep_often(stop: Path, seen: bool) -> int:
    """Sweep with no regard to age until many temporaries were met. Returns how many."""
    met = 0
    try:
        for _ in range(20000):
            for swept in durably.sweep(stop.parent, older_than=0):
                met += 1
                # One that was not locked yet may go: its maker finds out, and makes another.
                assert not (seen and swept.removed) or swept.reason == "gone by itself", swept
            if met >= 400:
                break
    finally:
        stop.touch()
    return met


def _stage_and_save(path: Path, stop: Path, number: int) -> int:
    """Every kind of temporary lies there for a while, again and again."""
    data = _version(number, 1)
    while not stop.exists():
        durably.write_bytes(path, data, durability="none")
        with (
            durably.open(path, "wb", durability="none") as file,
            durably.staged_path(path, durability="none") as temporary,
        ):
            file.write(data)
            temporary.write_bytes(data)
    return 0


@pytest.mark.parametrize("seen", [True, False], ids=["seen", "unseen"])
@pytest.mark.parametrize("way", WAYS, ids=shown)
def test_a_sweeper_leaves_the_living_alone(way: Way, seen: bool, path: Path) -> None:
    prepare(path, "replaced")
    stop = path.with_name("stop")

    def save(number: int) -> int:
        if not seen:
            _unseen()
        return _stage_and_save(path, stop, number)

    with use(way.base(), way.system):
        writers = [lambda number=number: save(number) for number in range(3)]
        *_, met = at_once([*writers, lambda: _sweep_often(stop, seen)])
    assert met >= 400
    assert _is_whole(read(path))
    assert entry_points.beside(path) == {"stop"}


class Locking(RecordingSyscalls):
    """A table in which the maker of a temporary comes to lock it, just before it is removed."""

    def __init__(self) -> None:
        super().__init__()
        self.locked: list[bool] = []

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name in ("unlink", "rmdir"):
            fd = os.open(arguments[0], os.O_RDONLY, dir_fd=keywords["dir_fd"])
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.locked.append(True)
            except BlockingIOError:
                self.locked.append(False)
            finally:
                os.close(fd)


def test_what_is_swept_by_its_lock_is_locked_until_it_is_gone(path: Path) -> None:
    """Its maker may live, between making it and locking it, and must find out."""

    def unseen_names() -> tuple[str, str]:
        _unseen()
        return temp_names.fresh("h"), temp_names.fresh("d")

    file, directory = in_child(unseen_names)
    path.with_name(file).touch()
    path.with_name(directory).mkdir()
    table = Locking()
    with use(table):
        swept = durably.sweep(path.parent, older_than=0)
    assert [each.removed for each in swept] == [True, True]
    assert table.locked == [False, False]
    assert not entry_points.beside(path)


# Forks.


BLOCKS: dict[str, Callable[[Path], Any]] = {
    "w": lambda path: durably.open(path, "w"),
    "wb": lambda path: durably.open(path, "wb"),
    "unbuffered": lambda path: durably.open(path, "wb", buffering=0),
    "w+": lambda path: durably.open(path, "w+"),
    "a": lambda path: durably.open(path, "a"),
    "staged_path": durably.staged_path,
}


def _put(thing: Any, piece: bytes) -> None:
    if not hasattr(thing, "write"):
        with thing.open("ab") as file:
            file.write(piece)
    else:
        thing.write(piece if "b" in thing.mode else piece.decode())


def _leave_at_once(_: Any) -> None:
    os._exit(0)


def _leave_by_an_exception(_: Any) -> None:
    raise LookupError


def _leave_by_the_end(_: Any) -> None:
    pass


def _write_and_leave(thing: Any) -> None:
    if hasattr(thing, "write"):
        with pytest.raises(ValueError, match="closed"):
            _put(thing, b"the child's\n")


ENDS = [
    (_leave_at_once, None),
    (_leave_by_an_exception, "LookupError"),
    (_leave_by_the_end, "RuntimeError"),
    (_write_and_leave, "RuntimeError"),
]


def _child_in_the_block(block: str, leave: Callable[[Any], None], path: Path) -> str | None:
    """The name of the exception that came out of the block in the child; None if it never came out."""
    reader, out = os.pipe()
    saving = BLOCKS[block](path)
    child = -1
    thing = None
    name = "nothing"
    try:
        with saving as thing:
            _put(thing, b"the parent's beginning\n")
            child = os.fork()
            if child == 0:
                leave(thing)
            else:
                os.waitpid(child, 0)
                _put(thing, b"the parent's end\n")
    except Exception as error:  # noqa: BLE001 # its name is the answer
        name = type(error).__name__
    if child == 0:
        del saving, thing
        os.write(out, name.encode())
        os._exit(0)
    assert name == "nothing"
    assert saving.receipt is not None
    os.close(out)
    with open(reader, "rb") as file:
        return file.read().decode() or None


@pytest.mark.parametrize("way", WAYS, ids=shown)
@pytest.mark.parametrize(("leave", "name"), ENDS, ids=lambda each: getattr(each, "__name__", None))
@pytest.mark.parametrize("block", BLOCKS)
def test_a_fork_in_the_body(
    block: str, leave: Callable[[Any], None], name: str | None, way: Way, path: Path
) -> None:
    """The child changes nothing, and what the parent had buffered is written once."""
    prepare(path, "replaced")

    def run() -> str | None:
        with use(way.base(), way.system):
            return _child_in_the_block(block, leave, path)

    assert in_child(run) == name
    beginning = OLD if block == "a" else b""
    assert read(path) == beginning + b"the parent's beginning\nthe parent's end\n"
    assert not entry_points.beside(path)


def test_forks_while_threads_save(path: Path) -> None:
    """A child lets go of what it inherited in whatever state it is."""
    prepare(path, "replaced")

    def run() -> int:
        done = threading.Event()

        def save(writer: int) -> int:
            number = 0
            while not done.is_set():
                for entry_point in MAIN:
                    entry_point.save(path, _version(writer, number), durability="none")
                number += 1
            return number

        with ThreadPoolExecutor(3) as pool:
            saving = [pool.submit(save, writer) for writer in range(3)]
            for _ in range(40):
                child = os.fork()
                if child == 0:
                    left = [
                        fd
                        for fd in entry_points.descriptors()
                        if path.parent.name in os.readlink(f"/proc/self/fd/{fd}")
                    ]
                    os._exit(min(len(left), 100))
                os.waitpid(child, 0)
            done.set()
            return min(each.result() for each in saving)

    assert in_child(run) > 0
    assert _is_whole(read(path))
    assert not entry_points.beside(path)
