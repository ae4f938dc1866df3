"""The C program of calls.c: compiled when it is first needed, kept running, asked for rounds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOURCE = Path(__file__).with_name("calls.c")

What = Literal["bare", "same"]
Level = Literal["none", "durable"]


class Calls:
    """A running calls program."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def save(self, what: What, level: Level, directory: Path, count: int) -> float:
        """Replace ``directory/target`` that many times. Returns the seconds that one save took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what} {level} {directory} {count}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline()) / 1e9 / count


def compiler() -> str | None:
    """The C compiler at hand; none but on Linux, whose calls these are."""
    return (shutil.which("gcc") or shutil.which("cc")) if sys.platform == "linux" else None


@contextmanager
def running(directory: Path) -> Iterator[Calls | None]:
    """The program, compiled into ``directory``; None where it cannot be."""
    found = compiler()
    if found is None:
        yield None
        return
    program = directory / "calls"
    subprocess.run([found, "-O2", "-o", program, _SOURCE], check=True)
    with Calls(program) as calls:
        yield calls
