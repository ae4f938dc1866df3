"""`python -m prove ci`: a short run of everything, for every change."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from ..inject.command import inject
from . import campaigns, faults
from .record import Recording
from .reports import Count, summed, tried
from .runs import Budget
from .workloads import PRODUCT

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Callable

    from .campaigns import Rows
    from .runs import Result

    Campaign = Callable[[Namespace], tuple[Count, Rows]]

_FAULTS, _WRITES, _STATES, _POINTS = 100, 1, 1, 12
_ROUNDS = 30
_AGAIN = ("sweep", "stream-named", "staged-path")


def ci(asked: Namespace) -> int:
    """The product at so many points, all controls, and a small part of each campaign; the exit code."""
    started = time.monotonic()
    more = {"workload": None, "way": None, "faults": _FAULTS, "writes": _WRITES}
    more |= {"states": _STATES, "points": _POINTS, "controlled": asked.file_system[:1]}
    small = Namespace(**(vars(asked) | more))
    counts = [
        _product(asked),
        campaigns.controls(small)[0],
        _dealt(campaigns.again, _again(), small),
        _dealt(campaigns.faults, [one.name for one in faults.candidates()], small),
        inject(small)[0],
    ]
    print(f"\non {', '.join(asked.file_system)}, in {time.monotonic() - started:.0f} s:")
    for count in counts:
        print(f"  {count}")
    failed = any(count.failed for count in counts)
    print("FAILED" if failed else "PASSED: nothing wrong in the product, and every control shown")
    return 1 if failed else 0


def _again() -> list[str]:
    """The workloads whose recovery is cut off: a few, and all that have one of their own."""
    return [one.name for one in PRODUCT if one.name in _AGAIN or one.recover is not None]


def _dealt(campaign: Campaign, names: list[str], asked: Namespace) -> Count:
    """Run a campaign with each workload on one of the file systems, so that each has its share."""
    kinds = asked.file_system
    counts: list[Count] = []
    for number, kind in enumerate(kinds):
        share = {"file_system": [kind], "workload": names[number :: len(kinds)]}
        if share["workload"]:
            counts.append(campaign(Namespace(**(vars(asked) | share)))[0])
    return Count(
        counts[0].what,
        sum(count.tried for count in counts),
        sum(count.violations for count in counts),
        sum(count.hidden for count in counts),
    )


def _product(asked: Namespace) -> Count:
    share = -(-asked.points // len(PRODUCT))
    budget = Budget(share, asked.seed, asked.jobs)
    results: list[Result] = []
    for shift, kind in enumerate(asked.file_system):
        for number, workload in enumerate(PRODUCT):
            loud = (number + shift) % 2 == 0
            recording = Recording(kind, workload.name, rounds=_ROUNDS, seed=asked.seed, loud=loud)
            results.append(tried(recording, budget, asked.keep))
    wrong = summed(results)
    return Count("power cuts", sum(one.points for one in results), wrong)
