"""What all the cases came to on one mount, as a row of the record."""

from __future__ import annotations

import platform
from collections import Counter
from typing import TYPE_CHECKING, Any

import durably
import entry_points

from . import cases

if TYPE_CHECKING:
    from pathlib import Path

    from .cases import Outcome
    from .mounts import Mount


def row(mount: Mount, place: Path) -> dict[str, Any]:
    """Save by every entry point on the mount, which is made at ``place``."""
    place.mkdir()
    with mount.made(place) as directory:
        target = directory / "target"
        outcomes = [_tried(mount, case, target) for case in cases.CASES if _fits(mount, case)]
        guarantees = durably.probe(target)
    return {
        "file_system": mount.name,
        "kernel": platform.release(),
        "inside": mount.inside,
        "probe": guarantees.file_system,
        "promises": [str(getattr(guarantees, promise)) for promise in ("readers", "crash", "durable")],
        "saves": len(outcomes),
        "violations": sum(bool(outcome.wrong) for outcome in outcomes),
        "wrong": [f"{one.case.name}, {one.case.state}: {one.wrong}" for one in outcomes if one.wrong],
        **_sums(outcomes),
    }


def _fits(mount: Mount, case: cases.Case) -> bool:
    if mount.options and not case.takes_options:
        return False
    # What stays a file for as long as it is mounted cannot be new, nor a directory.
    return not mount.fixed or (case.state == "replaced" and not case.tree)


def _tried(mount: Mount, case: cases.Case, target: Path) -> Outcome:
    with mount.writable(target.parent):
        if mount.fixed:
            target.write_bytes(entry_points.OLD)
        else:
            cases.prepare(case, target)
    return cases.attempt(case, target, mount.options)


def _sums(outcomes: list[Outcome]) -> dict[str, Any]:
    refused: dict[str, set[str]] = {}
    kept: Counter[str] = Counter()
    skipped: set[str] = set()
    for outcome in outcomes:
        if outcome.refused:
            refused.setdefault(outcome.refused, set()).add(outcome.case.name)
        receipt = outcome.receipt
        if receipt is not None:
            kept["in place" if receipt.in_place else str(receipt.durability)] += 1
            skipped |= set(receipt.skipped)
    saved = [outcome for outcome in outcomes if not outcome.refused]
    return {
        "saved": len(saved),
        "kept": dict(sorted(kept.items())),
        "skipped": sorted(skipped),
        "refused": {error: sorted(names) for error, names in sorted(refused.items())},
    }
