"""What each command does, once it is known that the machine can."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..inject.command import inject
from . import campaigns, proof, system
from .check import recording_of
from .ci import ci
from .file_systems import FILE_SYSTEMS
from .log import Log
from .record import Recording
from .reports import by_kind, recorded, summed, tried
from .runs import Budget, Result, replay
from .states import Cut, Plan, rebuilt
from .workloads import CONTROLS, PRODUCT, SEVERAL, WORKLOADS

assert sys.platform == "linux"

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from .campaigns import Rows
    from .reports import Count

    Campaign = Callable[[Namespace], tuple[Count, Rows]]

_ROUNDS, _FEW_ROUNDS = 60, 3


def _run(asked: Namespace) -> int:
    names = asked.workload or _names(asked)
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
                results.append(tried(recording, budget, asked.keep))
    failed = summed(results)
    if asked.record and not failed:
        _record(results, asked)
    return 1 if failed else 0


def _names(asked: Namespace) -> list[str]:
    if asked.several:
        return [one.name for own in SEVERAL.values() for one in own]
    return [one.name for one in PRODUCT if not asked.exhaustive or one.is_short]


def _record(results: list[Result], asked: Namespace) -> None:
    if asked.options or asked.writer or asked.workload or asked.piece != Plan().piece:
        print("not recorded: only a run of all workloads of the product, as usual, is a proof")
        return
    if asked.several:
        recorded("several", _by_saver(results))
        return
    recorded("exhaustive" if asked.exhaustive else "sampled", by_kind(results))
    if not asked.exhaustive:
        proof.write(proof.proofs(results))
        print(f"written into {proof.PLATFORM.name}; now run python platforms/support.py")


def _by_saver(results: list[Result]) -> Rows:
    rows: Rows = []
    for saver, workloads in SEVERAL.items():
        names = {one.name for one in workloads}
        own = [one for one in results if one.recording.workload in names]
        rows += [{"saver": saver} | row for row in by_kind(own)]
    return rows


def _campaign(name: str, campaign: Campaign) -> Callable[[Namespace], int]:
    """The command of a campaign; what it came to is kept under a name."""

    def command(asked: Namespace) -> int:
        count, rows = campaign(asked)
        print(count)
        if asked.record and not count.failed:
            recorded(name, rows)
        return 1 if count.failed else 0

    return command


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
    "controls": _campaign("controls", campaigns.controls),
    "again": _campaign("again", campaigns.again),
    "faults": _campaign("faults", campaigns.faults),
    "inject": _campaign("inject", inject),
    "options": _campaign("options", campaigns.options),
    "peers": _campaign("peers", campaigns.peers),
    "ci": ci,
    "list": _list,
}
