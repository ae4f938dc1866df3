"""Standard output and standard error, in the forms that people and machines read."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import RenderableType


class OutputError(OSError):
    """Standard output cannot be written."""


def put(text: str) -> None:
    """Write to standard output and see it through. Raises OutputError."""
    if sys.stdout is None:
        raise OutputError(errno.EBADF, "it is closed")
    encoding = sys.stdout.encoding or "utf-8"
    with _written():
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()


@contextmanager
def _written() -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        _give_up_on_output()
        raise OutputError(error.errno, os.strerror(error.errno or errno.EIO)) from error


def _give_up_on_output() -> None:
    # Python flushes standard output once more at exit, and would complain again; see the note on
    # SIGPIPE in the documentation of the signal module.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def put_json(fields: dict[str, object]) -> None:
    """One JSON object, in ASCII: lone surrogates, which stand for odd bytes in names, survive."""
    put(json.dumps(fields, indent=2) + "\n")


def show(*parts: RenderableType) -> None:
    """Show text and tables, as wide as the terminal, or 80 columns."""
    console = Console(markup=False, highlight=False, emoji=False)
    # The end of a capture writes to the file that it keeps the text from, if only nothing.
    with _written(), console.capture() as captured:
        for part in parts:
            console.print(part)
    put(captured.get())


def complain(text: str) -> None:
    """One line on standard error."""
    if sys.stderr is None:
        return
    try:
        print(f"durably: {text}", file=sys.stderr, flush=True)
    except OSError:
        pass  # there is nowhere left to say it; the exit code does


def shown(path: str) -> str:
    """A path for people: on one line, and nothing in it that commands a terminal."""
    return "".join(character if character.isprintable() else _escaped(character) for character in path)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"  # a byte that is not valid text
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
