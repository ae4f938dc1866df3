"""Whether a file is closed because something failed: fsspec and its clients drop the exception.

``OpenFile.__exit__``, TextIOWrapper, GzipFile, pandas' handles and pyarrow's ParquetWriter all close
the file that they write to when a with statement is left by an exception, as if nothing had
happened. So a file that is closed looks itself whether one is leaving a with statement just now.
"""

from __future__ import annotations

import dis
import inspect
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

# The opcode at which CPython calls __exit__ with an exception. Other interpreters may have none.
_LEAVING = dis.opmap.get("WITH_EXCEPT_START")
_EXITS = frozenset({"__exit__", "__aexit__"})
_FINALIZER = "__del__"
_FINALIZER_DEPTH = 8  # two of them our own
_CHAIN = 16


class Pending:
    """The exception that was being handled when a file was opened: that one is not the file's."""

    __slots__ = ("error", "exits")

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.exits = _exits(error)


def pending() -> Pending | None:
    """What is being handled just now; None, at next to no cost, if nothing is."""
    error = sys.exception()
    return None if error is None else Pending(error)


def failure(before: Pending | None) -> BaseException | None:
    """The exception by which a with statement is being left, down the calls that led here.

    ``before``: what was pending when the file was opened. A file that is opened and closed in an
    ``except`` block or in an ``__exit__`` has not failed.
    """
    error = sys.exception()
    if error is None:
        return None
    for raised in _chain(error):
        known = before.exits if before is not None and before.error is raised else 0
        if _exits(raised) > known:
            return raised
    return None


def is_finalizing() -> bool:
    """Whether a ``__del__`` is among the nearest callers: its object was given up unfinished."""
    frame = inspect.currentframe()  # a thread of Arrow's or duckdb's has no callers in Python
    for _ in range(_FINALIZER_DEPTH):
        if frame is None:
            return False
        if frame.f_code.co_name == _FINALIZER:
            return True
        frame = frame.f_back
    return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception, and those during whose handling it was raised."""
    for _ in range(_CHAIN):
        if error is None:
            return
        yield error
        error = error.__context__


def _exits(error: BaseException) -> int:
    """How many callers are leaving a with statement by this exception."""
    passed = _frames(error.__traceback__)
    found = 0
    frame = inspect.currentframe()
    while frame is not None:
        if frame in passed and frame.f_code.co_code[frame.f_lasti] == _LEAVING:
            found += 1
        elif frame.f_code.co_name in _EXITS and _holds(frame, error):
            # An "async with" waits for its __aexit__ at another opcode; some call __exit__ by hand.
            found += 1
        frame = frame.f_back
    return found


def _frames(traceback: TracebackType | None) -> set[FrameType]:
    found: set[FrameType] = set()
    while traceback is not None:
        found.add(traceback.tb_frame)
        traceback = traceback.tb_next
    return found


def _holds(frame: FrameType, error: BaseException) -> bool:
    for value in frame.f_locals.values():
        if value is error:
            return True
        if type(value) is tuple and any(each is error for each in cast("tuple[object, ...]", value)):
            return True
    return False
