"""What `durably demo` does: saves with a stop-watch, and two writers that are killed halfway."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import durably
from durably import testing
from durably._cli.timing import Step, TimingSyscalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from durably import Durability, Guarantees, Receipt

    State = Literal["old", "new", "part", "missing"]

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Content:
    """A content that need not fit into memory: ``piece``, ``times`` over."""

    piece: bytes
    times: int = 1

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.piece) * self.times

    def is_in(self, path: str) -> bool:
        """Whether the file holds exactly this."""
        if os.path.getsize(path) != self.size:
            return False
        with open(path, "rb") as file:
            return all(file.read(len(self.piece)) == self.piece for _ in range(self.times))


@dataclass(frozen=True)
class Timed:
    """One save: what was asked for, what the receipt says, and which calls took how long."""

    asked: Durability
    receipt: Receipt
    seconds: float
    steps: dict[str, Step]


@dataclass(frozen=True)
class Killed:
    """What one killed writer left. ``status``: of the process, None if it never came halfway."""

    status: int | None
    state: State
    size: int
    beside: tuple[str, ...]

    @property
    def survived(self) -> bool:
        """Whether a whole file, the old or the new one, is there."""
        return self.state in ("old", "new")


@dataclass(frozen=True)
class Trial:
    """Everything that the demonstration found out."""

    source: str
    small: list[Timed]
    large: list[Timed]
    old: Content
    new: Content
    plain: Killed
    durably: Killed
    guarantees: Guarantees

    @property
    def is_convincing(self) -> bool:
        """Whether durably's file survived what the plain one did not."""
        killed = None not in (self.plain.status, self.durably.status)
        return killed and self.durably.survived and not self.plain.survived


def description() -> tuple[str, str]:
    """The project's own description, and where it is from."""
    try:
        text = importlib.metadata.metadata("durably").json.get("description")
    except importlib.metadata.PackageNotFoundError:
        text = None
    if text:
        return str(text), "the description in the installed package's metadata"
    return durably.__doc__ or "", "the package's docstring; no installed metadata has a description"


def enlarged(text: str, size: int) -> Content:
    """The text repeated until there are ``size`` bytes, in pieces of about a mebibyte."""
    data = text.encode()
    piece = data * -(-MEBIBYTE // len(data))
    return Content(piece, -(-size // len(piece)))


def timed_saves(path: str, content: Content) -> list[Timed]:
    """Replace a file once with each level."""
    durably.write_bytes(path, b"to be replaced")
    return [_timed_save(path, content, level) for level in durably.Durability]


def _timed_save(path: str, content: Content, level: Durability) -> Timed:
    save: Callable[[str, Content, Durability], Receipt] = _at_once if content.times == 1 else _in_pieces
    calls = TimingSyscalls()
    with testing.use(calls):
        start = time.perf_counter()
        receipt = save(path, content, level)
        seconds = time.perf_counter() - start
    return Timed(level, receipt, seconds, calls.steps)


def _at_once(path: str, content: Content, level: Durability) -> Receipt:
    return durably.write_bytes(path, content.piece, durability=level)


def _in_pieces(path: str, content: Content, level: Durability) -> Receipt:
    writer = durably.open(path, "wb", durability=level)
    with writer as file:
        for _ in range(content.times):
            file.write(content.piece)
    assert writer.receipt is not None
    return writer.receipt


def kill_halfway(how: str, directory: str, old: Content, new: Content) -> Killed:
    """Let a child process replace ``old`` by ``new``, kill it halfway, and look at what is there.

    ``how``: "durably" or "plain", for durably.open and the builtin open.
    """
    place = os.path.join(directory, how)
    os.mkdir(place)
    path = os.path.join(place, "file.txt")
    durably.write_bytes(path, old.piece)
    source = os.path.join(directory, "piece.txt")
    durably.write_bytes(source, new.piece)
    status = _killed(how, path, source, new.times)
    beside = tuple(sorted(set(os.listdir(place)) - {"file.txt"}))
    state = state_of(path, old, new)
    return Killed(status, state, 0 if state == "missing" else os.path.getsize(path), beside)


def _killed(how: str, path: str, source: str, times: int) -> int | None:
    """Start the writer and kill it (SIGKILL, on Windows TerminateProcess) once it is halfway."""
    command = [sys.executable, "-P", "-m", "durably._cli.victim", how, path, source, str(times)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            halfway = process.stdout.readline().strip() == b"halfway"
        finally:
            process.kill()
    return process.returncode if halfway else None


def state_of(path: str, old: Content, new: Content) -> State:
    """Which of the two contents the file holds, compared byte by byte."""
    if not os.path.exists(path):
        return "missing"
    if old.is_in(path):
        return "old"
    return "new" if new.is_in(path) else "part"
