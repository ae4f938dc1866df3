"""What is printed about a run, and what is kept of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import records
from .runs import Budget, Result, keep, run
from .states import Plan

assert sys.platform == "linux"

if TYPE_CHECKING:
    from .record import Recording

_SHOWN = 3


class Count(NamedTuple):
    """What a campaign came to. ``hidden``: the controls that did not show."""

    what: str
    tried: int
    violations: int
    hidden: int = 0

    def __str__(self) -> str:
        hidden = f", {self.hidden} controls HIDDEN" if self.hidden else ""
        return f"{self.tried} {self.what}: {self.violations} violations{hidden}"

    @property
    def failed(self) -> bool:
        """Whether the run counts as failed: nothing tried, a violation, or a control that did not show."""
        return not self.tried or bool(self.violations or self.hidden)


def tried(recording: Recording, budget: Budget, directory: str) -> Result:
    """Run, and print a line; the log of a failure is kept in the directory."""
    result = run(recording, budget)
    about = result.recording
    wrong = ", ".join(f"{kind} {count}" for kind, count in result.counts().items()) or "all held"
    print(
        f"{about.kind:5} {about.workload:28} {'noise' if about.loud else 'quiet'}  {result.points:6} points"
        f" {result.mounts:6} disks {result.cost:6.1f} ms a point  {wrong}",
        flush=True,
    )
    if result.failures:
        explain(result, directory, budget.piece)
    result.log.release()
    return result


def explain(result: Result, directory: str, size: int = Plan().piece) -> None:
    """Keep the log of a failure, and print how to see it again."""
    path = keep(result, directory)
    piece = "" if size == Plan().piece else f" --piece {size}"
    for verdict in result.failures[:_SHOWN]:
        for violation in verdict.violations[:_SHOWN]:
            print(f"    {violation.kind}: {violation.detail}")
        point, seed = verdict.cut
        print(f"    python -m prove replay {path} --point {point} --seed {seed}{piece}")


def by_kind(results: list[Result]) -> list[dict[str, Any]]:
    """The sums of a run, for each file system, as they are printed and kept."""
    rows: list[dict[str, Any]] = []
    for kind in dict.fromkeys(one.recording.kind for one in results):
        own = [one for one in results if one.recording.kind == kind]
        points, seconds = sum(one.points for one in own), sum(one.seconds for one in own)
        row = {
            "file_system": kind,
            "workloads": len({one.recording.workload for one in own}),
            "points": points,
            "violations": sum(len(one.failures) for one in own),
            "disks": sum(one.mounts for one in own),
            "checked": sum(one.checked for one in own),
            "leftovers": max(one.leftovers for one in own),
            "ms_a_point": round(1000 * seconds / max(points, 1), 1),
            "recording_seconds": round(sum(one.recorded for one in own), 1),
            "found": _found(own),
        }
        rows.append(row)
    return rows


def _found(results: list[Result]) -> dict[str, int]:
    found: dict[str, int] = {}
    for result in results:
        for kind, count in result.counts().items():
            found[kind] = found.get(kind, 0) + count
    return found


def summed(results: list[Result]) -> int:
    """Print the sums for each file system; the number of points with a violation."""
    rows = by_kind(results)
    for row in rows:
        print(
            f"{row['file_system']}: {row['points']} points, {row['violations']} with a violation;"
            f" {row['disks']} disks, {row['checked']} checked by fsck, at most {row['leftovers']} leftovers;"
            f" {row['ms_a_point']} ms a point, and {row['recording_seconds']:.0f} s of recording",
            flush=True,
        )
    return sum(row["violations"] for row in rows)


def recorded(name: str, rows: list[dict[str, Any]], **more: Any) -> None:
    """Keep the rows of a run for the pages."""
    print(f"written into {records.write(name, rows, **more).name}; now run python -m prove pages")
