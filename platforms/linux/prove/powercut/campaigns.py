"""The campaigns beside `run`: controls, second cuts, faults of the disk, options of mount, peers.

Each prints as it goes, and returns what it counted and the rows that the pages are made of.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from . import again as second
from . import controls as wrong
from . import faults as disks
from . import matrix
from . import peers as others
from .record import Recording
from .reports import Count, by_kind, explain, summed
from .runs import Budget, Result

assert sys.platform == "linux"

if TYPE_CHECKING:
    from argparse import Namespace

    Rows = list[dict[str, Any]]

_AGAIN_ROUNDS = 12


def controls(asked: Namespace) -> tuple[Count, Rows]:
    """What is wrong on purpose: all of it must show."""
    points, hidden, rows = 0, 0, list[dict[str, Any]]()
    for one in wrong.every(asked.file_system, seed=asked.seed, jobs=asked.jobs, names=asked.workload):
        noise = "with noise" if one.loud else "without noise"
        counts = ", ".join(f"{kind} {count}" for kind, count in one.counts.items()) or "nothing"
        verdict = f"shown {noise}: {counts}" if one.as_expected else f"HIDDEN: {counts}"
        print(f"{one.kind:5} {one.control.name:28} {one.points:5} points  {verdict}", flush=True)
        points += one.points
        hidden += not one.as_expected
        rows.append({"file_system": one.kind, "control": one.control.name, "points": one.points})
    return Count("controls, each of which must fail", len(rows), 0, hidden), rows


def again(asked: Namespace) -> tuple[Count, Rows]:
    """Recoveries that are cut off: nothing may be wrong after one."""
    names = asked.workload or second.candidates()
    results: list[Result] = []
    for kind in asked.file_system:
        for number, name in enumerate(names):
            recording = Recording(kind, name, rounds=_AGAIN_ROUNDS, seed=asked.seed, loud=number % 2 == 0)
            budget = Budget(asked.points, asked.seed, asked.jobs)
            for result in second.run(recording, asked.states, budget):
                results.append(result)
                if result.failures:
                    explain(result, asked.keep)
                result.log.release()
    wrong = summed(results)
    return Count("cuts of a recovery", sum(one.points for one in results), wrong), by_kind(results)


def faults(asked: Namespace) -> tuple[Count, Rows]:
    """A disk that fails a write: no loss may be reported as saved, and each control must show."""
    rows: Rows = []
    hidden = 0
    for kind in asked.file_system:
        rows.append(_faults(kind, asked))
        if kind not in getattr(asked, "controlled", asked.file_system):
            continue
        unseen = disks.hidden(kind, asked.workload, seed=asked.seed)
        hidden += len(unseen)
        print(f"{kind:5} controls: {f'HIDDEN: {unseen}' if unseen else 'all shown'}", flush=True)
    tried, wrong = (sum(row[key] for row in rows) for key in ("writes", "violations"))
    return Count("writes that the disk fails", tried, wrong, hidden), rows


def _faults(kind: str, asked: Namespace) -> dict[str, Any]:
    writes = reported = violations = 0
    for result in disks.every(kind, asked.workload, writes=asked.writes, seed=asked.seed):
        writes += 1
        reported += any(mark["event"] == "failed" for _, mark in result.log.marks())
        violations += len(result.failures)
        if result.failures:
            print(f"{kind:5} {result.recording.workload:28} write {result.recording.failing}:")
            explain(result, asked.keep)
        result.log.release()
    print(
        f"{kind:5} {writes} failed writes, {reported} times a save reported it, {violations} violations",
        flush=True,
    )
    row: dict[str, Any] = {
        "file_system": kind,
        "workloads": len(disks.chosen(asked.workload)),
        "writes": writes,
    }
    return row | {"reported": reported, "violations": violations}


def options(asked: Namespace) -> tuple[Count, Rows]:
    """Other options of mount, and a disk that tears blocks: nothing may be wrong but what is expected."""
    failed, rows = 0, list[dict[str, Any]]()
    for setting in matrix.settings(asked.file_system):
        results = matrix.run(setting, points=asked.points, seed=asked.seed, jobs=asked.jobs)
        (row,) = by_kind(results)
        unexpected = sum(count for kind, count in row["found"].items() if kind not in setting.expected)
        found = ", ".join(f"{kind} {count}" for kind, count in row["found"].items()) or "all held"
        print(
            f"{setting.kind:5} {setting.options or 'as usual':30} pieces of {setting.piece:4}"
            f" {row['points']:6} points  {found}",
            flush=True,
        )
        failed += unexpected
        rows.append(row | {"options": setting.options, "piece": setting.piece})
        for result in results:
            if unexpected and result.failures:
                explain(result, asked.keep, setting.piece)
            result.log.release()
    return Count("points with other options", sum(row["points"] for row in rows), failed), rows


def peers(asked: Namespace) -> tuple[Count, Rows]:
    """Other libraries in the same rig. Nothing is expected of them."""
    rows: Rows = []
    for row in others.compared(asked.file_system, points=asked.points, seed=asked.seed, jobs=asked.jobs):
        print(
            f"{row['file_system']:5} {row['name']:14} {row['version']:9} {row['points']} points, of them"
            f" torn {row['torn']}, lost or old {row['lost']}, with litter {row['litter']}",
            flush=True,
        )
        rows.append(row)
    return Count("points of other libraries", sum(row["points"] for row in rows), 0), rows
