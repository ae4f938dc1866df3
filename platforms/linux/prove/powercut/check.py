"""Checking many cuts of one log, by several processes."""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
from typing import TYPE_CHECKING, NamedTuple

from . import system
from .file_systems import FILE_SYSTEMS
from .history import Found, History, Violation
from .observe import Observer
from .record import Recording, scratch
from .states import Cut, Plan, rebuilt

assert sys.platform == "linux"

if TYPE_CHECKING:
    from .log import Log

_FSCK_EVERY = 100


class Verdict(NamedTuple):
    """What one cut left. ``fresh``: whether a disk was mounted for it, or the same one was seen before."""

    cut: Cut
    violations: list[Violation]
    leftovers: int
    fresh: bool
    fsck: bool


def recording_of(log: Log) -> Recording:
    """What a log is a recording of."""
    return Recording(**{key: log.header[key] for key in Recording._fields})


def check(
    log: Log,
    cuts: list[Cut],
    plan: Plan,
    jobs: int,
    *,
    until: frozenset[str] = frozenset(),
    fsck: bool = True,
) -> list[Verdict]:
    """The verdict on each cut, in order.

    ``until``: stop as soon as one violation of such a kind is found; empty: never. ``fsck``: whether to
    run the file system's own checker on a sample. Raises RuntimeError
    if a checker ends early.
    """
    shares = [share for share in (sorted(cuts)[number::jobs] for number in range(jobs)) if share]
    with scratch() as place:
        workers = [_start(log, share, plan, place, fsck=fsck) for share in shares]
        try:
            return sorted(_gathered(workers, until))
        finally:
            for _, process in workers:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)


def _start(log: Log, cuts: list[Cut], plan: Plan, place: str, *, fsck: bool) -> tuple[int, int]:
    out, into = os.pipe()

    def work() -> None:
        os.close(out)
        _check(log, cuts, plan, place, into, _FSCK_EVERY if fsck else 0)

    process = system.child(work)
    os.close(into)
    return out, process


def _gathered(workers: list[tuple[int, int]], until: frozenset[str]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    with selectors.DefaultSelector() as selector:
        rests = {out: b"" for out, _ in workers}
        for out in rests:
            selector.register(out, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 1 << 16)
                *lines, rests[key.fd] = (rests[key.fd] + data).split(b"\n")
                if not data or lines[-1:] == [b"end"]:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    if lines[-1:] != [b"end"]:
                        raise RuntimeError("a checker ended early")
                found = [_parsed(line) for line in lines if line != b"end"]
                verdicts.extend(found)
                if any(one.kind in until for verdict in found for one in verdict.violations):
                    return verdicts
    return verdicts


def _parsed(line: bytes) -> Verdict:
    cut, violations, leftovers, fresh, fsck = json.loads(line)
    return Verdict(Cut(*cut), [Violation(*one) for one in violations], leftovers, fresh, fsck)


def _check(log: Log, cuts: list[Cut], plan: Plan, place: str, into: int, every: int) -> None:
    system.leave_mounts()
    system.mount("none", place, "tmpfs")
    history = History(log.marks())
    recording = recording_of(log)
    observer = Observer(recording, place, history)
    size = FILE_SYSTEMS[recording.kind].size
    disk = os.memfd_create(os.path.basename(place))
    seen: dict[tuple[int, tuple[int, ...]], Found] = {}
    for number, state in enumerate(rebuilt(log, cuts, plan)):
        fresh = state.key not in seen
        fsck = fresh and every > 0 and number % every == 0
        if fresh:
            system.pour(disk, size, state.image.runs())
            seen[state.key] = observer.look(disk, fsck=fsck)
        found = seen[state.key]
        wrong = history.judge(found, state.cut.point)
        os.write(into, json.dumps([state.cut, wrong, found.leftovers, fresh, fsck]).encode() + b"\n")
    os.write(into, b"end\n")
