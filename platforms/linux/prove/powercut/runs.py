"""Whole runs: record, cut, check; and what came of it."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from .check import check, recording_of
from .history import History
from .record import Recording, record
from .states import Cut, Plan, exhaustive, sampled

assert sys.platform == "linux"

if TYPE_CHECKING:
    from .check import Verdict
    from .log import Log


class Budget(NamedTuple):
    """How much is tried of one recording.

    ``points``: how many cuts; 0: every position, each with four subsets. ``seed``: of the choice.
    ``piece``: what the disk writes as one. ``jobs``: processes.
    """

    points: int
    seed: int
    jobs: int
    piece: int = 4096


class Result(NamedTuple):
    """What came of one recording. ``seconds``: of checking; of recording."""

    recording: Recording
    log: Log
    verdicts: list[Verdict]
    seconds: float
    recorded: float

    @property
    def points(self) -> int:
        """How many cuts were judged."""
        return len(self.verdicts)

    @property
    def mounts(self) -> int:
        """How many different disks were mounted for them."""
        return sum(verdict.fresh for verdict in self.verdicts)

    @property
    def checked(self) -> int:
        """On how many of them the file system's own checker ran."""
        return sum(verdict.fsck for verdict in self.verdicts)

    @property
    def leftovers(self) -> int:
        """The most that lay there at once, before sweeping."""
        return max((verdict.leftovers for verdict in self.verdicts), default=0)

    @property
    def failures(self) -> list[Verdict]:
        """The cuts after which something was wrong."""
        return [verdict for verdict in self.verdicts if verdict.violations]

    def counts(self) -> dict[str, int]:
        """The number of cuts by kind of violation."""
        counts: dict[str, int] = {}
        for verdict in self.verdicts:
            for kind in {one.kind for one in verdict.violations}:
                counts[kind] = counts.get(kind, 0) + 1
        return dict(sorted(counts.items()))

    @property
    def cost(self) -> float:
        """Milliseconds a cut, recording left out."""
        return 1000 * self.seconds / max(self.points, 1)


def run(recording: Recording, budget: Budget, *, until: frozenset[str] = frozenset()) -> Result:
    """Record, and check as many cuts as the budget says, or ``until`` such a violation is found.

    Raises RuntimeError if the recording fails, or nothing was saved in it.
    """
    started = time.monotonic()
    log = record(recording)
    recorded = time.monotonic()
    if not History(log.marks()).acknowledged:
        raise RuntimeError(f"{recording.workload} has saved nothing in {recording.rounds} rounds")
    plan = Plan(budget.piece, recording.work.lie)
    verdicts = check(log, cuts_of(log, budget), plan, budget.jobs, until=until)
    return Result(recording, log, verdicts, time.monotonic() - recorded, recorded - started)


def cuts_of(log: Log, budget: Budget) -> list[Cut]:
    """The cuts of a log that a budget asks for."""
    history = History(log.marks())
    if budget.points:
        return sampled(log, history, budget.points, budget.seed)
    return exhaustive(log, history, budget.seed)


def keep(result: Result, directory: str) -> str:
    """Save the log, so that a failure can be shown again; its path."""
    os.makedirs(directory, exist_ok=True)
    about = result.recording
    noise = "loud" if about.loud else "quiet"
    names = [
        about.kind,
        about.workload,
        noise,
        str(about.seed),
        *([str(about.failing)] if about.failing else []),
    ]
    path = os.path.join(directory, f"{'-'.join(names)}.log")
    with open(path, "wb") as file:
        file.write(result.log.view)
    return path


def replay(log: Log, cut: Cut, piece: int) -> Verdict:
    """The verdict on one cut of a log."""
    plan = Plan(piece, recording_of(log).work.lie)
    return check(log, [cut], plan, 1)[0]
