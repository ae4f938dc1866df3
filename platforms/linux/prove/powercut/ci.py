"""`python -m prove ci`: a short run of everything, for every change."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from ..inject.command import inject
from . import campaigns
from .record import Recording
from .reports import Count, summed, tried
from .runs import Budget
from .workloads import PRODUCT

assert sys.platform == "linux"

if TYPE_CHECKING:
    from .runs import Result

_FAULTS, _WRITES, _STATES, _POINTS = 150, 1, 1, 12
_AGAIN = ("sweep", "stream-named", "staged-path")


def ci(asked: Namespace) -> int:
    """The product at so many points, all controls, and a small part of each campaign; the exit code."""
    started = time.monotonic()
    more = {
        "workload": None,
        "way": None,
        "faults": _FAULTS,
        "writes": _WRITES,
        "states": _STATES,
        "points": _POINTS,
    }
    small = Namespace(**(vars(asked) | more))
    recoveries = Namespace(**(vars(small) | {"workload": _again()}))
    counts = [
        _product(asked),
        campaigns.controls(small)[0],
        campaigns.again(recoveries)[0],
        campaigns.faults(small)[0],
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


def _product(asked: Namespace) -> Count:
    share = -(-asked.points // len(PRODUCT))
    budget = Budget(share, asked.seed, asked.jobs)
    results: list[Result] = []
    for shift, kind in enumerate(asked.file_system):
        for number, workload in enumerate(PRODUCT):
            loud = (number + shift) % 2 == 0
            recording = Recording(kind, workload.name, seed=asked.seed, loud=loud)
            results.append(tried(recording, budget, asked.keep))
    wrong = summed(results)
    return Count("power cuts", sum(one.points for one in results), wrong)
