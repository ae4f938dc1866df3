"""A disk that fails one write: nothing that was lost by it may have been reported as saved."""

from __future__ import annotations

import sys
import time
from random import Random
from typing import TYPE_CHECKING

from .check import check
from .log import MARK, WRITE
from .record import Recording, record
from .runs import Result
from .states import Cut, Plan
from .workloads import PRODUCT

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .log import Log
    from .workloads import Workload

CONTROL = "rename-only"
_ROUNDS = 4
# These need more rounds, or an overlay, or count on every save to succeed.
_LEFT_OUT = ("recreating", "sweeping", "crowding", "filling", "growing")


def candidates() -> list[Workload]:
    """The workloads that go on when a save fails."""
    return [one for one in PRODUCT if not (one.overlay or one.course.__name__ in _LEFT_OUT)]


def every(kinds: list[str], *, writes: int, seed: int) -> Iterator[Result]:
    """Each workload on each file system, once for each of so many writes that fail; 0: for every one."""
    for kind in kinds:
        for workload in candidates():
            yield from _each(kind, workload.name, writes, seed)


def shown(kind: str, *, seed: int) -> bool:
    """Whether the control, which flushes nothing and so reports nothing, is seen to lose a file."""
    return any(result.failures for result in _each(kind, CONTROL, 0, seed))


def _each(kind: str, name: str, writes: int, seed: int) -> Iterator[Result]:
    plain = Recording(kind, name, rounds=_ROUNDS, seed=seed, loud=False)
    number = written(record(plain))
    chosen = list(range(1, number + 1))
    if 0 < writes < number:
        chosen = sorted(Random(seed).sample(chosen, writes))
    for failing in chosen:
        yield _failed(plain._replace(failing=failing))


def written(log: Log) -> int:
    """How many writes came after the first mark."""
    entries = iter(log.entries)
    for entry in entries:
        if entry.kind == MARK:
            break
    return sum(entry.kind == WRITE for entry in entries)


def _failed(recording: Recording) -> Result:
    started = time.monotonic()
    log = record(recording)
    recorded = time.monotonic()
    end = Cut(len(log.entries), 0)
    verdicts = check(log, [end], Plan(), 1)
    return Result(recording, log, verdicts, time.monotonic() - recorded, recorded - started)
