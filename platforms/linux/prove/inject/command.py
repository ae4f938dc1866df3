"""`python -m prove inject`: the campaign, its controls, and the record of both."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..powercut.reports import Count
from .campaign import EXPECTED, PRODUCT, WRONG, Tally, run

assert sys.platform == "linux"

if TYPE_CHECKING:
    from argparse import Namespace

    from .campaign import Tried

_SHOWN = 5


def inject(asked: Namespace) -> tuple[Count, list[dict[str, Any]]]:
    """Try the faults on each file system, and see that each control is found out."""
    ways = [way for way in PRODUCT if not asked.way or way.name in asked.way]
    choice = {"seed": asked.seed, "jobs": asked.jobs}
    rows: list[dict[str, Any]] = []
    unseen = 0
    for kind in asked.file_system:
        tally = run(kind, ways, sample=asked.faults, **choice) if ways else Tally(kind, [], 0, 1.0)
        _show(tally)
        rows.append(_row(tally, len(ways)))
        if kind not in getattr(asked, "controlled", asked.file_system):
            continue
        hidden = controls_hidden(kind, **choice)
        print(f"{kind:5} controls: {f'HIDDEN: {hidden}' if hidden else 'all shown'}", flush=True)
        unseen += len(hidden)
    tried, wrong = (sum(row[key] for row in rows) for key in ("faults", "violations"))
    return Count("system calls that fail, and kills", tried, wrong, unseen), rows


def controls_hidden(kind: str, *, seed: int, jobs: int) -> list[str]:
    """The controls that were not found out."""
    found: dict[str, set[str]] = {}
    for one in run(kind, WRONG, sample=0, seed=seed, jobs=jobs).violations:
        found.setdefault(one.way, set()).update(wrong.kind for wrong in one.wrong)
    return [name for name, kind in EXPECTED.items() if kind not in found.get(name, set())]


def _show(tally: Tally) -> None:
    endings = ", ".join(f"{ending} {count}" for ending, count in tally.endings().items())
    print(
        f"{tally.kind:5} {len(tally.tried)} faults, {len(tally.violations)} violations,"
        f" {tally.missed} missed; {tally.rate:.0f} a second; {endings}",
        flush=True,
    )
    for one in tally.violations[:_SHOWN]:
        _explain(one)


def _explain(one: Tried) -> None:
    print(f"    {one.way}, {one.state}: {one.fault}; it ended as: {one.ending}")
    print(f"        {one.line}")
    for wrong in one.wrong:
        print(f"        {wrong.kind}: {wrong.detail}")


def _row(tally: Tally, ways: int) -> dict[str, Any]:
    return {
        "file_system": tally.kind,
        "ways": ways,
        "faults": len(tally.tried),
        "kills": sum(not one.fault.error for one in tally.tried),
        "missed": tally.missed,
        "violations": len(tally.violations),
        "per_second": round(tally.rate, 1),
        "errors": dict(sorted(Counter(one.fault.error or "SIGKILL" for one in tally.tried).items())),
        "calls": dict(sorted(Counter(one.fault.call for one in tally.tried).items())),
        "endings": tally.endings(),
    }
