"""The campaign: every call of every save, made to fail with every error that applies, and killed at."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from contextlib import ExitStack
from functools import partial
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from ..powercut import file_systems, system
from ..powercut.loop import Loop
from ..powercut.record import scratch
from .errors import CALLS, ERRORS, REPEATED
from .judge import Fault, Wrong, judge
from .tracee import Order, Zygote, can_burn
from .tracer import Tracer
from .ways import WAYS, Way, prepare, restore
from .wrong import CONTROLS

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from .tracer import Hit

_SLACK = 24
# What durably remembers of the mount table, it remembers for a second; every child is to read it anew.
_FORGOTTEN = 1.1
_KILL = "signal=SIGKILL"


class Case(NamedTuple):
    """One save to break: the number of the way, what it meets, and the fault."""

    way: int
    state: str
    fault: Fault


class Tried(NamedTuple):
    """What came of one fault. ``line``: the call that was hit, as strace shows it; "" if none was."""

    way: str
    state: str
    fault: Fault
    ending: str
    line: str
    wrong: list[Wrong]


class Campaign:
    """Faults on one file system. Runs in a mount namespace of its own.

    ``ways``: what is broken. ``place``: where the file system is mounted.
    """

    def __init__(self, ways: list[Way], place: str) -> None:
        self._ways = ways
        self._place = place
        self._count = 0
        self._log = os.path.join(os.path.dirname(place), "strace")

    def run(self, share: tuple[int, int], sample: int, seed: int) -> Iterator[Tried]:
        """Try the faults; every ``share[1]``-th, from the ``share[0]``-th. ``sample``: so many; 0: all."""
        self._warm()
        counts = self._counted()
        most = max(counts.values()) + _SLACK
        cases = list(_planned(counts))
        if 0 < sample < len(cases):
            cases = sorted(Random(seed).sample(cases, sample))
        for kind in sorted({(case.fault.error, case.fault.forever) for case in cases}):
            chosen = [case for case in cases if (case.fault.error, case.fault.forever) == kind]
            mine = chosen[share[0] :: share[1]]
            if mine:
                yield from self._tried(*kind, mine, most)

    def _counted(self) -> dict[tuple[int, str, str], int]:
        """How often each call is made, by way, state and name."""
        zygote = Zygote(self._ways)
        tracer = Tracer(zygote.process, self._log, CALLS)
        processes: dict[int, tuple[int, str]] = {}
        for number, way in enumerate(self._ways):
            for state in way.states:
                process, _, _ = self._save(zygote, number, state, Order(number, "", "", 0))
                processes[process] = (number, state)
        zygote.close()
        counts: dict[tuple[int, str, str], int] = {}
        for process, hits in tracer.close().items():
            for hit in hits:
                key = (*processes[process], hit.call)
                counts[key] = counts.get(key, 0) + 1
        return counts

    def _tried(self, error: str, forever: bool, cases: list[Case], most: int) -> Iterator[Tried]:
        what = f"error={error}" if error else _KILL
        calls = ERRORS[error] if error else CALLS
        zygote = Zygote(self._ways)
        tracer = Tracer(zygote.process, self._log, calls, f"{what}:when={most}{'+' if forever else ''}")
        results: dict[int, Tried] = {}
        for case in cases:
            fault = case.fault
            order = Order(case.way, "", fault.call, most - fault.at)
            process, ending, wrong = self._save(zygote, case.way, case.state, order, fault)
            results[process] = Tried(self._ways[case.way].name, case.state, fault, ending, "", wrong)
        zygote.close()
        hits = tracer.close()
        for process, tried in results.items():
            yield tried._replace(line=hit_of(hits.get(process, []), tried.fault))

    def _warm(self) -> None:
        """Save once in each way, so that nothing is left to be imported under the tracer."""
        for way in self._ways:
            place = self._fresh()
            path = prepare(way, way.states[-1], place)
            try:
                way.save(path)
            except Exception:  # noqa: BLE001 # a body that raises, or a way that is wrong
                pass
            restore(way, place)
            shutil.rmtree(place)
        time.sleep(_FORGOTTEN)

    def _fresh(self) -> str:
        self._count += 1
        return os.path.join(self._place, str(self._count))

    def _save(
        self, zygote: Zygote, number: int, state: str, order: Order, fault: Fault | None = None
    ) -> tuple[int, str, list[Wrong]]:
        way = self._ways[number]
        place = self._fresh()
        path = prepare(way, state, place)
        try:
            said, process, status = zygote.save(order._replace(path=path))
            wrong = [] if fault is None else judge(way, state, place, fault, said)
        finally:
            restore(way, place)
            shutil.rmtree(place)
        ending = "killed" if said is None else said.error or "saved"
        if said is None and (fault is None or fault.error):
            wrong.append(Wrong("kind", f"the process ended with {status}"))
        return process, ending, wrong


def hit_of(hits: list[Hit], fault: Fault) -> str:
    """The call that was hit, if it is the one that was meant."""
    own = [hit for hit in hits if hit.call == fault.call]
    if len(own) < fault.at:
        return ""
    hit = own[fault.at - 1]
    others = [one for one in hits if one.injected and one is not hit and not fault.forever]
    if others or not (hit.injected or (not fault.error and hit is hits[-1])):
        return ""
    return hit.line


def _planned(counts: dict[tuple[int, str, str], int]) -> Iterator[Case]:
    for (way, state, call), count in counts.items():
        if not can_burn(call):
            continue
        for at in range(1, count + 1):
            yield Case(way, state, Fault(call, at, ""))
            for error in (error for error, calls in ERRORS.items() if call in calls):
                yield Case(way, state, Fault(call, at, error))
                if error != REPEATED:
                    yield Case(way, state, Fault(call, at, error, forever=True))


def mounted(kind: str, place: str) -> str:
    """Mount a fresh file system below a directory, in a namespace that this process takes for itself."""
    system.leave_mounts()
    system.mount("none", place, "tmpfs")
    inside = f"{place}/mounted"
    os.mkdir(inside)
    if kind == "tmpfs":
        system.mount("none", inside, kind)
    else:
        _mount(kind, inside)
    return inside


def _mount(kind: str, mounted: str) -> None:
    known = file_systems.FILE_SYSTEMS[kind]
    disk = os.memfd_create("disk")
    os.ftruncate(disk, known.size)
    loop = Loop(disk, direct=False)
    try:
        file_systems.make(kind, loop.path)
        system.mount(loop.path, mounted, kind, 0, file_systems.options_of(kind, ""))
    finally:
        loop.close()
        os.close(disk)


class Tally(NamedTuple):
    """What came of a campaign on one file system. ``missed``: faults that hit no call, or another one."""

    kind: str
    tried: list[Tried]
    missed: int
    seconds: float

    @property
    def violations(self) -> list[Tried]:
        """The faults after which something was wrong."""
        return [one for one in self.tried if one.wrong]

    @property
    def rate(self) -> float:
        """Faults a second."""
        return len(self.tried) / self.seconds

    def endings(self) -> dict[str, int]:
        """How the saves ended: by the class of the error, "saved" or "killed"."""
        counts: dict[str, int] = {}
        for one in self.tried:
            counts[one.ending] = counts.get(one.ending, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))


def run(kind: str, ways: list[Way], *, sample: int, seed: int, jobs: int) -> Tally:
    """The campaign on one file system. ``sample``: so many faults; 0: all. ``jobs``: processes."""
    started = time.monotonic()
    with ExitStack() as stack:
        workers: list[tuple[int, IO[str]]] = []
        for number in range(jobs):
            place = stack.enter_context(scratch())
            workers.append(_started(partial(_work, kind, ways, place, (number, jobs), sample, seed)))
        found = [_parsed(line) for _, pipe in workers for line in pipe]
        for process, pipe in workers:
            pipe.close()
            system.wait(process, f"faults on {kind}")
    tried = [one for one in found if one.line]
    return Tally(kind, tried, len(found) - len(tried), time.monotonic() - started)


def _started(work: Callable[[int], None]) -> tuple[int, IO[str]]:
    out, into = os.pipe()

    def child() -> None:
        os.close(out)
        work(into)

    process = system.child(child)
    os.close(into)
    return process, open(out, encoding="utf-8")


def _work(
    kind: str, ways: list[Way], place: str, share: tuple[int, int], sample: int, seed: int, into: int
) -> None:
    with open(into, "w", encoding="utf-8") as pipe:
        pipe.writelines(
            json.dumps(tried) + "\n"
            for tried in Campaign(ways, mounted(kind, place)).run(share, sample, seed)
        )


def _parsed(line: str) -> Tried:
    way, state, fault, ending, hit, wrong = json.loads(line)
    return Tried(way, state, Fault(*fault), ending, hit, [Wrong(*one) for one in wrong])


PRODUCT, WRONG = list(WAYS), [way for way, _ in CONTROLS]
EXPECTED = {way.name: kind for way, kind in CONTROLS}
