"""The part of the dossier that is made of what was recorded. No figure in it is written by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DOSSIER = Path(__file__).resolve().parents[1] / "README.md"
START, END = "<!-- suite -->", "<!-- /suite -->"
_FIGURE = "test_saves_against_a_reader_that_keeps_opening_the_file"

_READER = (
    "300 saves against a process that opens the target again and again, by Python's `open` and without "
    "a pause:\n"
)
_WHAT = {
    "lost": "saves lost",
    "whole": "reads of whole files",
    "torn": "of parts",
    "refused": "openings refused",
    "retries": "saves tried again",
}


def main(*, check: bool) -> int:
    """Write it, or only see whether it is what was recorded; the exit code."""
    old = DOSSIER.read_text(encoding="utf-8")
    before, _, rest = old.partition(START)
    new = f"{before}{START}\n{rendered()}{END}{rest.partition(END)[2]}"
    if check:
        if new != old:
            print(f"{DOSSIER} is out of date: run python -m prove page", file=sys.stderr)
        return int(new != old)
    DOSSIER.write_text(new, encoding="utf-8", newline="\n")
    return 0


def rendered() -> str:
    """Tables in Markdown: the counts, the figures, and every reason for which a test was skipped."""
    runs = records.read()
    if not runs:
        return "Not recorded yet.\n"
    counts = [
        (version, run["python"], run["wine"], drive, found["passed"], found["failed"], found["skipped"])
        for version, run in runs.items()
        for drive, found in run["drives"].items()
    ]
    reasons = [(reason, *numbers, _files(files)) for reason, numbers, files in _reasons(runs)]
    return "\n".join(
        (
            f"Recorded by `python -m prove VERSION --record`, {_dates(runs)}:\n",
            _table(("Python", "build", "Wine", "files on", "passed", "failed", "skipped"), counts),
            _READER,
            _table(("Python", "files on", *_WHAT.values()), _figures(runs)),
            "Skipped there (the tests of one line on both drives, by version):\n",
            _table(("reason that the probe gives", *runs, "in"), reasons),
        )
    )


def _figures(runs: dict[str, dict[str, Any]]) -> list[tuple[object, ...]]:
    return [
        (version, drive, *(found["figures"][_FIGURE][key] for key in _WHAT))
        for version, run in runs.items()
        for drive, found in run["drives"].items()
        if _FIGURE in found["figures"]
    ]


def _reasons(runs: dict[str, dict[str, Any]]) -> Iterator[tuple[str, list[int], set[str]]]:
    """Each reason, how many tests it skipped by version, and the files that they are in."""
    found = {version: [drive["skips"] for drive in run["drives"].values()] for version, run in runs.items()}
    for reason in sorted({reason for skips in found.values() for part in skips for reason in part}):
        parts = {version: [part.get(reason, {}) for part in skips] for version, skips in found.items()}
        numbers = [sum(sum(files.values()) for files in part) for part in parts.values()]
        yield reason, numbers, {file for part in parts.values() for files in part for file in files}


def _files(files: set[str]) -> str:
    most = 6
    named = ", ".join(f"`{name}`" for name in sorted(files)[:most])
    return named if len(files) <= most else f"{named} and {len(files) - most} more"


def _dates(runs: dict[str, dict[str, Any]]) -> str:
    return " and ".join(sorted({run["date"] for run in runs.values()}))


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in cells)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
