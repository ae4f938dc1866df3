"""A disk that fails one write: nothing that was lost by it may have been reported as saved."""

from __future__ import annotations

import sys
import time
from random import Random
from typing import TYPE_CHECKING, Any

from .check import check
from .history import History
from .log import WRITE
from .record import Recording, record
from .runs import Result
from .states import Cut, Plan
from .workloads import PRODUCT

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .log import Log
    from .workload import Workload

# Courses need enough rounds to come to what they are about.
_ROUNDS = {"recreating": 10, "sweeping": 6, "crowding": 9, "growing": 6}
_FEW_ROUNDS, _SOME_ROUNDS = 4, 12


def candidates() -> list[Workload]:
    """The workloads that are tried: those that know a careless writer."""
    return [one for one in PRODUCT if one.careless is not None]


def every(kind: str, names: list[str] | None = None, *, writes: int, seed: int) -> Iterator[Result]:
    """Each workload on a file system, once for each of so many writes that fail; 0: for every one."""
    for workload in chosen(names):
        yield from _each(_plain(kind, workload, seed), writes)


def chosen(names: list[str] | None) -> list[Workload]:
    """Those of the candidates that have these names; all, if none is given."""
    return [one for one in candidates() if not names or one.name in names]


def hidden(kind: str, names: list[str] | None = None, *, seed: int) -> list[str]:
    """The courses on which a writer that flushes nothing, and reports nothing, is not seen to lose a file."""
    courses = {(one.course, one.overlay): one for one in reversed(chosen(names))}
    return [one.name for one in courses.values() if not _robbed(_plain(kind, one, seed), one.careless)]


def _robbed(recording: Recording, careless: Any) -> bool:
    writer = f"{careless.__module__}:{careless.__name__}"
    return any(result.failures for result in _each(recording._replace(writer=writer), 0))


def _plain(kind: str, workload: Workload, seed: int) -> Recording:
    usual = _FEW_ROUNDS if workload.is_short else _SOME_ROUNDS
    rounds = _ROUNDS.get(workload.course.__name__, usual)
    return Recording(kind, workload.name, rounds=rounds, seed=seed, loud=False)


def _each(plain: Recording, writes: int) -> Iterator[Result]:
    number = written(record(plain))
    chosen = list(range(1, number + 1))
    if 0 < writes < number:
        chosen = sorted(Random(plain.seed).sample(chosen, writes))
    for failing in chosen:
        yield _failed(plain._replace(failing=failing))


def written(log: Log) -> int:
    """How many writes came after the beginning."""
    begin = History(log.marks()).begin
    return sum(entry.kind == WRITE for entry in log.entries[begin:])


def _failed(recording: Recording) -> Result:
    started = time.monotonic()
    log = record(recording)
    recorded = time.monotonic()
    end = Cut(len(log.entries), 0)
    # Without the file system's own checker: it finds what the disk has lost of the file system itself.
    verdicts = check(log, [end], Plan(), 1, fsck=False)
    return Result(recording, log, verdicts, time.monotonic() - recorded, recorded - started)
