"""How saves end on Windows itself: killed or failing at each call, eight at once. Real calls only."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import pytest

import durably
from capabilities import needs_windows
from disk import NEW, OLD, names
from durably import OutcomeUnknownError, testing
from durably._commit.windows.handles import PATIENCE
from durably._system.native import win32 as win
from durably._system.syscalls import Syscalls
from entry_points import MAIN, EntryPoint, attempt, beside, named_leftovers, read, shown
from windows_child import child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_windows
every_entry_point = pytest.mark.parametrize("entry_point", MAIN, ids=shown)

SAVES = """
def write_bytes(path, data):
    durably.write_bytes(path, data)

def open_wb(path, data):
    with durably.open(path, "wb") as file:
        file.write(data)

def staged_path(path, data):
    with durably.staged_path(path) as staged:
        staged.write_bytes(data)
"""
# Dies, as by TerminateProcess, before the N-th call.
KILLED = f"""
import os, sys
import durably
from durably import testing
{SAVES}
class Killing(testing.RecordingSyscalls):
    def _before(self, *_):
        if len(self.record) == int(sys.argv[3]):
            os.kill(os.getpid(), 9)

with testing.use(Killing()):
    globals()[sys.argv[1]](sys.argv[2], {NEW!r})
"""
# Saves again and again, each version whole only if every line is there.
WRITES = f"""
import sys
import durably
{SAVES}
for number in range(int(sys.argv[4])):
    globals()[sys.argv[1]](sys.argv[2], f"{{sys.argv[3]}} {{number}}\\n".encode() * 500)
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


def name_of(entry_point: EntryPoint) -> str:
    return entry_point.name.replace(" ", "_")


# Kills.


def calls_of(entry_point: EntryPoint, path: Path) -> list[str]:
    table = testing.RecordingSyscalls()
    with testing.use(table):
        entry_point.save(path, NEW)
    return table.names


@every_entry_point
def test_a_process_ends_at_each_call(entry_point: EntryPoint, tmp_path: Path) -> None:
    made = tmp_path / "first"
    made.write_bytes(OLD)
    number = len(calls_of(entry_point, made))
    made.unlink()

    def killed(at: int) -> tuple[bytes | None, int]:
        path = tmp_path / str(at) / "file"
        path.parent.mkdir()
        path.write_bytes(OLD)
        assert child(KILLED, name_of(entry_point), path, at) == 9
        content = read(path)
        swept = durably.sweep(path.parent, older_than=0)
        assert all(entry.removed for entry in swept), swept
        assert names(path.parent) == ["file"], (at, swept)
        entry_point.save(path, b"next")
        assert path.read_bytes() == b"next"
        assert names(path.parent) == ["file"]
        return content, len(swept)

    with ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(killed, range(1, number + 1)))
    contents = [content for content, _ in ends]
    first = contents.index(NEW)
    assert contents == [OLD] * first + [NEW] * (number - first), "first the old file, then the new one"
    assert first > 0
    assert any(left for _, left in ends)


def test_what_a_live_process_has_is_not_swept(target: Path) -> None:
    program = f"""
import sys
import durably
with durably.open(sys.argv[1], "wb") as file, durably.staged_path(sys.argv[1] + "2") as staged:
    file.write({NEW!r})
    staged.write_bytes({NEW!r})
    print(flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        swept = durably.sweep(target.parent, older_than=0)
        assert [entry.removed for entry in swept] == [False, False]
        process.stdin.write(b"\n")
        process.stdin.close()
    assert process.returncode == 0
    assert target.read_bytes() == target.with_name("file2").read_bytes() == NEW
    assert names(target.parent) == ["file", "file2"]


# Failures.

CODES = (win.ERROR_ACCESS_DENIED, win.ERROR_SHARING_VIOLATION, 112)


class Failing(testing.FailingSyscalls):
    """Fails with the code of a Win32 error."""

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        try:
            super()._before(name, arguments, keywords, function)
        except OSError:
            raise OSError(0, "injected", None, self.error) from None


def every_failure() -> Iterator[testing.FailingSyscalls]:
    yield from testing.every_failure()
    table = Failing()
    with testing.use(table):
        yield table
    for number in range(1, len(table.names) + 1):
        for code in CODES:
            for forever in (False, True):
                failing = Failing(number, code, forever=forever)
                with testing.use(failing):
                    yield failing


@every_entry_point
@pytest.mark.parametrize("there", [True, False], ids=["replaced", "new"])
def test_every_call_fails_in_turn(
    tmp_path: Path, entry_point: EntryPoint, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE, "0.01")
    turns = 0
    for turn, table in enumerate(every_failure()):
        path = tmp_path / str(turn) / "file"
        path.parent.mkdir()
        if there:
            path.write_bytes(OLD)
        check(entry_point, path, table)
        turns += 1
    assert turns > 20


def check(entry_point: EntryPoint, path: Path, table: testing.FailingSyscalls) -> None:
    old = read(path)
    receipt, error = attempt(entry_point.save, path, NEW)
    told = f"{table.failed} with {table.error}: {error!r}, {receipt}"
    if receipt is not None:
        assert read(path) == NEW, told
    elif isinstance(error, OutcomeUnknownError):
        assert read(path) in (old, NEW), told
    else:
        assert isinstance(error, OSError), told
        assert read(path) == old, told
    assert beside(path) <= named_leftovers(error, receipt), told


# Many at once.

WRITERS, TIMES = 8, 5


def is_whole(content: bytes, old: bytes = OLD) -> bool:
    first, _, _ = content.partition(b"\n")
    return content in (old, (first + b"\n") * 500)


class Reader:
    """Reads a file all the time, in a thread, and counts what it meets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.versions: list[bytes] = []
        self.torn: list[bytes] = []
        self.refused = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._done.is_set():
            try:
                content = self.path.read_bytes()
            except (PermissionError, FileNotFoundError):
                self.refused += 1  # for a moment, while the name changes
                continue
            if is_whole(content):
                self.versions.append(content.partition(b"\n")[0])
            else:
                self.torn.append(content[:100])


@every_entry_point
def test_threads_at_one_path(target: Path, entry_point: EntryPoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, "30")

    def save(writer: int) -> None:
        for number in range(TIMES):
            entry_point.save(target, f"{writer} {number}\n".encode() * 500)

    with testing.use(Syscalls()), Reader(target) as reader, ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(save, range(WRITERS)))
    assert reader.torn == []
    assert reader.versions
    assert is_whole(target.read_bytes(), b"")
    assert names(target.parent) == ["file"]


@every_entry_point
def test_processes_at_one_path(target: Path, entry_point: EntryPoint) -> None:
    with Reader(target) as reader, ThreadPoolExecutor(WRITERS) as pool:
        ends = list(
            pool.map(
                lambda writer: child(WRITES, name_of(entry_point), target, writer, TIMES), range(WRITERS)
            )
        )
    assert ends == [0] * WRITERS
    assert reader.torn == []
    assert reader.versions
    assert is_whole(target.read_bytes(), b"")
    assert names(target.parent) == ["file"]


def test_one_process_creates(tmp_path: Path) -> None:
    program = """
import sys
import durably
try:
    durably.write_bytes(sys.argv[1], sys.argv[2].encode(), overwrite=False)
except FileExistsError:
    sys.exit(3)
"""
    path = tmp_path / "file"
    with ThreadPoolExecutor(WRITERS) as pool:
        ends = list(pool.map(lambda writer: child(program, path, writer), range(WRITERS)))
    assert sorted(ends) == [0] + [3] * (WRITERS - 1)
    assert path.read_bytes() == str(ends.index(0)).encode()
    assert names(tmp_path) == ["file"]


READS = """
import os, sys
path, stop = sys.argv[1:]
reads = refused = torn = 0
last = -1
print(flush=True)
while not os.path.exists(stop):
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        refused += 1  # for a moment, while the name changes
        continue
    first, _, _ = content.partition(b"\\n")
    number = int(first)
    torn += content != (first + b"\\n") * 500 or number < last
    last = number
    reads += 1
print(reads, refused, torn, last)
"""


@pytest.mark.figure
@pytest.mark.timeout(600)
def test_saves_against_a_reader_that_keeps_opening_the_file(
    target: Path, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    """None is lost, and none is read in part; how often one had to be tried again is the figure."""
    saves = 300
    target.write_bytes(b"-1\n" * 500)
    stop = target.with_name("stop")
    table = testing.RecordingSyscalls()
    command = [sys.executable, "-c", READS, str(target), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        try:
            reader.stdout.readline()
            with testing.use(table):
                for number in range(saves):
                    durably.write_bytes(target, f"{number}\n".encode() * 500)
        finally:
            stop.touch()
        reads, refused, torn, last = map(int, reader.stdout.read().split())
    assert target.read_bytes() == f"{saves - 1}\n".encode() * 500
    assert torn == 0
    assert reads > 0
    assert last >= 0
    assert names(target.parent) == ["file", "stop"]
    retries = table.names.count("rename_by_handle") - saves
    figures = {"lost": 0, "whole": reads, "torn": torn, "refused": refused, "retries": retries}
    for name, value in figures.items():
        record_property(name, value)
    with capsys.disabled():
        print(
            f"\n{saves} saves, 0 lost; {reads} reads of whole files, 0 of parts, {refused} refused; "
            f"{retries} retries"
        )
