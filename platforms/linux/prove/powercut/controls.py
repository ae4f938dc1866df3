"""The controls: what is wrong on purpose, and must be seen to be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from . import again
from .file_systems import REVEALING
from .record import Recording
from .runs import Budget, run
from .workloads import CONTROLS

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .runs import Result
    from .workload import Workload

_ATTEMPTS = 8
_POINTS = 240
_STATES, _FEW_POINTS = 3, 80


class Shown(NamedTuple):
    """Whether a control failed as it must, after how many cuts, and with or without noise."""

    control: Workload
    kind: str
    points: int
    loud: bool
    counts: dict[str, int]

    @property
    def as_expected(self) -> bool:
        """Whether one of the violations was found that the control is there for."""
        return not self.control.expects.isdisjoint(self.counts)


def shown(control: Workload, kind: str, *, seed: int, jobs: int) -> Shown:
    """Run a control, with noise and without in turn, until it fails or no attempt is left."""
    points, counts, loud = 0, dict[str, int](), True
    for attempt in range(_ATTEMPTS):
        loud = attempt % 2 == 0
        recording = Recording(kind, control.name, REVEALING.get(kind, ""), seed=seed + attempt, loud=loud)
        budget = Budget(_POINTS, seed + attempt, jobs)
        for result in _results(recording, budget):
            points += result.points
            counts = result.counts()
        if not control.expects.isdisjoint(counts):
            break
    return Shown(control, kind, points, loud, counts)


def _results(recording: Recording, budget: Budget) -> Iterator[Result]:
    until = recording.work.expects
    if recording.work.again:
        yield from again.run(recording, _STATES, budget._replace(points=_FEW_POINTS), until=until)
    else:
        yield run(recording, budget, until=until)


def every(kinds: list[str], *, seed: int, jobs: int, names: list[str] | None = None) -> Iterator[Shown]:
    """Each control on each file system where it is known to show. ``names``: only these."""
    for control in CONTROLS:
        if names and control.name not in names:
            continue
        for kind in kinds:
            if kind in control.where:
                yield shown(control, kind, seed=seed, jobs=jobs)
