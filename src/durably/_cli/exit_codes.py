"""How a command can end: the exit codes, and the signals that stop it."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

DONE = 0
NOT_DONE = 1
NOT_DURABLE = 3
UNKNOWN = 4
COMMAND_FAILED = 5
TORN = 6
UNREPORTED = 7
UNRECOVERED = 8
_SIGNAL_BASE = 128
_ENDING = ("SIGTERM", "SIGHUP")

EPILOG = """\b
Exit codes:
  0      done
  1      not done: the target was not changed
  2      wrong usage: nothing was done
  3      saved, but not durable: a power cut may bring the old file back
  4      not known: the target holds the whole old or the whole new file
  5      the COMMAND failed or could not be run: the target was not changed
  6      torn in place (only with --allow-in-place): the staged copy that the
         message names holds everything
  7      done, but the report could not be written to standard output
  8      recover: the transaction is still unfinished; each file is whole
  128+N  stopped by signal N (130: Ctrl-C); the message says whether the new
         file was in place by then

\b
With --json, names that are not valid text keep their bytes as Python's
surrogateescape has them ("\\udcff" is the byte ff).

\b
Completion in bash (zsh_source and fish_source do the same there):
  eval "$(_DURABLY_COMPLETE=bash_source durably)"
"""


class Stopped(KeyboardInterrupt):
    """A signal, other than that of Ctrl-C, asked the program to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def code_of(interrupt: KeyboardInterrupt) -> int:
    """The shell's exit code for a program that a signal stopped."""
    number = interrupt.number if isinstance(interrupt, Stopped) else signal.SIGINT
    return _SIGNAL_BASE + number


@contextmanager
def stoppable() -> Generator[None, None, None]:
    """Turn the signals that end a program into exceptions, so that it leaves nothing behind."""
    has_stable_inodes = [number for number in signal.Signals if number.name in _ENDING]
    # nohup and its kin ignore signals on purpose.
    old = {number: signal.getsignal(number) for number in has_stable_inodes}
    heeded = [number for number in has_stable_inodes if old[number] is signal.SIG_DFL]
    for number in heeded:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, old[number])


def _stop(number: int, _: FrameType | None) -> None:
    raise Stopped(number)
