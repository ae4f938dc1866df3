"""What each command does, once it is known that the machine can."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from .. import records
from ..inject.command import inject
from . import again, controls, faults, peers, proof, system
from .check import recording_of
from .file_systems import FILE_SYSTEMS
from .log import Log
from .record import Recording
from .runs import Budget, Result, keep, replay, run
from .states import Cut, Plan, rebuilt
from .workloads import CONTROLS, PRODUCT, WORKLOADS

assert sys.platform == "linux"

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

_ROUNDS, _FEW_ROUNDS, _AGAIN_ROUNDS = 60, 3, 12
_SHOWN = 3


def _run(asked: Namespace) -> int:
    names = asked.workload or [workload.name for workload in PRODUCT]
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        print(f"no such workload: {', '.join(unknown)}; `list` names them", file=sys.stderr)
        return 2
    rounds = asked.rounds or (_FEW_ROUNDS if asked.exhaustive else _ROUNDS)
    share = 0 if asked.exhaustive else -(-asked.points // (2 * len(names)))
    budget = Budget(share, asked.seed, asked.jobs, asked.piece)
    results: list[Result] = []
    for kind in asked.file_system:
        for name in names:
            for loud in (True, False):
                recording = Recording(kind, name, asked.options, asked.writer, rounds, asked.seed, loud)
                results.append(_tried(recording, budget, asked.keep))
    failed = _summed(results)
    if asked.record and not failed:
        proof.write(proof.proofs(results))
        print(f"written into {proof.PLATFORM.name}; now run python platforms/support.py")
    return 1 if failed else 0


def _tried(recording: Recording, budget: Budget, directory: str) -> Result:
    result = run(recording, budget)
    _report(result)
    if result.failures:
        _explain(result, directory, budget.piece)
    return result


def _explain(result: Result, directory: str, size: int) -> None:
    path = keep(result, directory)
    piece = "" if size == Plan().piece else f" --piece {size}"
    for verdict in result.failures[:_SHOWN]:
        for violation in verdict.violations[:_SHOWN]:
            print(f"    {violation.kind}: {violation.detail}")
        point, seed = verdict.cut
        print(f"    python -m prove replay {path} --point {point} --seed {seed}{piece}")


def _report(result: Result) -> None:
    about = result.recording
    noise = "noise" if about.loud else "quiet"
    wrong = ", ".join(f"{kind} {count}" for kind, count in result.counts().items()) or "all held"
    print(
        f"{about.kind:5} {about.workload:28} {noise}  {result.points:6} points {result.mounts:6} disks"
        f" {result.cost:6.1f} ms a point  {wrong}",
        flush=True,
    )


def _summed(results: list[Result]) -> int:
    failed = 0
    for kind in dict.fromkeys(one.recording.kind for one in results):
        own = [one for one in results if one.recording.kind == kind]
        points, mounts = sum(one.points for one in own), sum(one.mounts for one in own)
        wrong, checked = sum(len(one.failures) for one in own), sum(one.checked for one in own)
        seconds, recorded = sum(one.seconds for one in own), sum(one.recorded for one in own)
        most = max(one.leftovers for one in own)
        print(
            f"{kind}: {points} points, {wrong} with a violation; {mounts} disks, {checked} checked by fsck,"
            f" at most {most} leftovers; {1000 * seconds / points:.1f} ms a point,"
            f" and {recorded:.0f} s of recording",
            flush=True,
        )
        failed += wrong
    return failed


def _controls(asked: Namespace) -> int:
    hidden = 0
    chosen: list[str] = getattr(asked, "workload", None) or []
    for one in controls.every(asked.file_system, seed=asked.seed, jobs=asked.jobs, names=chosen):
        noise = "with noise" if one.loud else "without noise"
        counts = ", ".join(f"{kind} {count}" for kind, count in one.counts.items()) or "nothing"
        verdict = f"shown {noise}: {counts}" if one.as_expected else f"HIDDEN: {counts}"
        print(f"{one.kind:5} {one.control.name:28} {one.points:5} points  {verdict}", flush=True)
        hidden += not one.as_expected
    if hidden:
        print(f"FAILED: {hidden} controls showed nothing, so that the rest shows nothing either")
    return 1 if hidden else 0


def _again(asked: Namespace) -> int:
    names = asked.workload or again.candidates()
    failed = 0
    for kind in asked.file_system:
        results: list[Result] = []
        for number, name in enumerate(names):
            recording = Recording(kind, name, rounds=_AGAIN_ROUNDS, seed=asked.seed, loud=number % 2 == 0)
            budget = Budget(asked.points, asked.seed, asked.jobs)
            for result in again.run(recording, asked.states, budget):
                results.append(result)
                if result.failures:
                    _explain(result, asked.keep, Plan().piece)
        failed += _summed(results)
    return 1 if failed else 0


def _faults(asked: Namespace) -> int:
    wrong = 0
    rows: list[dict[str, Any]] = []
    for kind in asked.file_system:
        row = {"file_system": kind, "writes": 0, "reported": 0, "violations": 0}
        for result in faults.every(kind, writes=asked.writes, seed=asked.seed):
            row["writes"] += 1
            row["reported"] += any(mark["event"] == "failed" for _, mark in result.log.marks())
            row["violations"] += len(result.failures)
            if result.failures:
                about = result.recording
                print(f"{about.kind:5} {about.workload:28} write {about.failing}:")
                _explain(result, asked.keep, Plan().piece)
        hidden = faults.hidden(kind, seed=asked.seed)
        print(
            f"{kind:5} {row['writes']} failed writes, {row['reported']} times a save reported it,"
            f" {row['violations']} violations; controls: {f'HIDDEN: {hidden}' if hidden else 'all shown'}",
            flush=True,
        )
        wrong += row["violations"] + len(hidden)
        rows.append(row | {"workloads": len(faults.candidates())})
    if asked.record and not wrong:
        print(f"written into {records.write('faults', rows).name}; now run python -m prove pages")
    return 1 if wrong else 0


def _peers(asked: Namespace) -> int:
    print(peers.heading())
    choice = {"points": asked.points, "seed": asked.seed, "jobs": asked.jobs}
    for label, loud, quiet in peers.compared(asked.file_system, **choice):
        print(peers.row(label, loud, quiet), flush=True)
    return 0


def _ci(asked: Namespace) -> int:
    started = time.monotonic()
    share = -(-asked.points // len(PRODUCT))
    results: list[Result] = []
    for shift, kind in enumerate(asked.file_system):
        for number, workload in enumerate(PRODUCT):
            loud = (number + shift) % 2 == 0
            recording = Recording(kind, workload.name, seed=asked.seed, loud=loud)
            results.append(_tried(recording, Budget(share, asked.seed, asked.jobs), asked.keep))
    failed = _summed(results)
    hidden = _controls(asked)
    print(f"{time.monotonic() - started:.0f} s")
    return 1 if failed or hidden else 0


def _replay(asked: Namespace) -> int:
    fd = os.open(asked.log, os.O_RDONLY | os.O_CLOEXEC)
    log = Log(fd)
    os.close(fd)
    cut = Cut(asked.point, asked.seed)
    verdict = replay(log, cut, asked.piece)
    print(", ".join(f"{key} {value}" for key, value in log.header.items() if value != ""))
    for violation in verdict.violations:
        print(f"{violation.kind}: {violation.detail}")
    if asked.image:
        _write_image(log, cut, asked.piece, asked.image)
    if not verdict.violations:
        print("all held")
    return 1 if verdict.violations else 0


def _write_image(log: Log, cut: Cut, piece: int, path: str) -> None:
    recording = recording_of(log)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    for state in rebuilt(log, [cut], Plan(piece, recording.work.lie)):
        system.pour(fd, FILE_SYSTEMS[recording.kind].size, state.image.runs())
    os.close(fd)


def _list(_: Namespace) -> int:
    for workload in PRODUCT:
        print(f"{workload.name:28} {(workload.course.__doc__ or '').strip()} Control: {workload.control}")
    for control in CONTROLS:
        kinds, where = " or ".join(sorted(control.expects)), ", ".join(control.where)
        print(f"{control.name:28} expects {kinds} on {where}")
    return 0


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "run": _run,
    "replay": _replay,
    "controls": _controls,
    "ci": _ci,
    "again": _again,
    "faults": _faults,
    "inject": inject,
    "peers": _peers,
    "list": _list,
}
