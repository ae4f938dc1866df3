"""Which system calls a save really makes, and how long each takes."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durably.testing import Syscalls

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_STEP = {"clock", "sleep"}
# On macOS the flush is an fcntl.
_FLUSHES = {"fsync", "fcntl"}


@dataclass
class Step:
    """All calls of one kind. ``seconds``: together."""

    calls: int = 0
    seconds: float = 0.0


class TimingSyscalls(Syscalls):
    """The table of calls with a stop-watch. ``steps``: by name, in the order of the first call."""

    def __init__(self) -> None:
        super().__init__()
        functions = {name: function for name, function in vars(self).items() if name not in _NO_STEP}
        for name, function in functions.items():
            setattr(self, name, self._timed(name, function))
        self.steps: dict[str, Step] = {}

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **keywords: Any) -> Any:
            step = self.steps.setdefault(_label(name, arguments), Step())
            start = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                step.seconds += time.perf_counter() - start
                step.calls += 1

        return timed


def _label(name: str, arguments: tuple[Any, ...]) -> str:
    if name not in _FLUSHES:
        return name
    return f"{name} {'directory' if stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else 'file'}"
