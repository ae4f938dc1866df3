"""The C programs: compiled when they are first needed, kept running, asked for rounds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOURCES = Path(__file__).parent

What = Literal["bare", "same"]
Level = Literal["none", "durable"]
NO_COMPILER = "the same calls in C: no C compiler, or not Linux, whose calls these are"


class Program:
    """A program that is running: a request a line, an answer in nanoseconds a line."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, *request: object) -> float:
        """The seconds that it took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, request)) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline()) / 1e9


class Calls(Program):
    """calls.c: one file, saved again and again."""

    def save(self, what: What, level: Level, directory: Path, count: int) -> float:
        """Replace ``directory/target`` that many times. Returns the seconds that one save took."""
        return self.ask(what, level, directory, count) / count


class Many(Program):
    """batch.c: many files together."""

    def save(self, directory: Path, count: int) -> float:
        """Save ``directory/0`` and so on. Returns the seconds that all of them took."""
        return self.ask(directory, count)


def _compiled(source: str, directory: Path) -> Path | None:
    found = (shutil.which("gcc") or shutil.which("cc")) if sys.platform == "linux" else None
    if found is None:
        return None
    program = directory / source.removesuffix(".c")
    subprocess.run([found, "-O2", "-o", program, _SOURCES / source], check=True)
    return program


@contextmanager
def running(directory: Path) -> Iterator[Calls | None]:
    """calls.c, compiled into ``directory``; None where it cannot be."""
    program = _compiled("calls.c", directory)
    if program is None:
        yield None
        return
    with Calls(program) as calls:
        yield calls


@contextmanager
def running_many(directory: Path) -> Iterator[Many | None]:
    """batch.c, compiled into ``directory``; None where it cannot be."""
    program = _compiled("batch.c", directory)
    if program is None:
        yield None
        return
    with Many(program) as many:
        yield many
