"""A second cut: what recovery and sweeping write after a first one is recorded, and cut off again."""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from . import system
from .check import check
from .history import ABSENT, History
from .noise import Noise
from .record import mount_overlay, record, recorded
from .runs import Budget, Result, cuts_of
from .session import noisy
from .states import Cut, Plan, rebuilt
from .survey import Surveyor
from .workloads import PRODUCT

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .log import Log
    from .record import Recording

_FIRST_POINTS = 16


def candidates() -> list[str]:
    """The workloads whose recovery is cut off: the product's."""
    return [workload.name for workload in PRODUCT]


def run(
    recording: Recording, states: int, budget: Budget, *, until: frozenset[str] = frozenset()
) -> Iterator[Result]:
    """Cut one recording in so many ways, recover from each, and cut the recoveries.

    Those ways come first that leave most to be done. Stops ``until`` such a violation was found.
    """
    log = record(recording)
    plan = Plan(budget.piece, recording.work.lie)
    first = cuts_of(log, budget._replace(points=_FIRST_POINTS * states))
    verdicts = check(log, first, plan, budget.jobs)
    sound = [verdict for verdict in verdicts if not verdict.violations]
    chosen = sorted(sound, key=lambda verdict: (-verdict.leftovers, verdict.cut.seed))[:states]
    for verdict in chosen:
        result = _cut_again(recording, log, verdict.cut, plan, budget, until)
        yield result
        if not until.isdisjoint(result.counts()):
            return


def _cut_again(
    recording: Recording, log: Log, cut: Cut, plan: Plan, budget: Budget, until: frozenset[str]
) -> Result:
    started = time.monotonic()
    second = recovered(recording, log, cut, plan)
    between = time.monotonic()
    verdicts = check(second, cuts_of(second, budget), plan, budget.jobs, until=until)
    return Result(recording, second, verdicts, time.monotonic() - between, between - started)


def recovered(recording: Recording, log: Log, cut: Cut, plan: Plan) -> Log:
    """The log of a recovery from one cut. What was marked before the cut is marked in it as well."""
    (state,) = rebuilt(log, [cut], plan)
    before = [mark for position, mark in log.marks() if position < cut.point]
    history = History(list(enumerate(before)))
    # From the mounting on: the file system's own recovery may be cut off too.
    marks = [*before, {"event": "begin"}]
    return recorded(recording, partial(_recover, history), state.image, marks)


def _recover(history: History, recording: Recording, place: str, mark: str) -> None:
    marks = os.open(mark, os.O_WRONLY | os.O_CLOEXEC)
    noise = Noise(place, recording.kind, loud=recording.loud, seed=recording.seed)
    root = f"{place}/root"
    if recording.work.overlay:
        root = f"{place}/../overlaid"
        os.mkdir(root)
        mount_overlay(place, root)
    with noisy(noise):
        files = Surveyor(history, recording.work.recover).repair(root)
    for number, path in enumerate(history.paths):
        # What is there now has come from the disk, so that it must stay.
        members = {"members": history.members[path]} if path in history.members else {}
        digest = files.get(path, (ABSENT, ""))[0]
        about = {"id": f"recovered.{number}", "path": path, "digest": digest, "durable": True} | members
        for event in ("start", "done"):
            os.pwrite(marks, json.dumps({"event": event} | about).encode(), 0)
    noise.close()
    if recording.work.overlay:
        system.unmount(root)
