"""Write the table of file systems into the README of each system, or check that it is current.

    python platforms/support.py            rewrites the tables
    python platforms/support.py --check    fails if one is out of date

The promises come from the table behind `durably.probe`, the proofs and the sources from platform.toml.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durably._receipts import Promise
    from durably._system.promises import Row

HERE = Path(__file__).resolve().parent
SYSTEMS = ("linux", "macos", "windows")
PROMISES = ("readers", "crash", "durable")
START, END = "<!-- support -->", "<!-- /support -->"
_ANY = "any other"


class OutOfDateError(Exception):
    """A table is not what the promises and the proofs say."""


def main(arguments: list[str]) -> int:
    """Rewrite or check the three tables; the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for system in SYSTEMS:
            update(system, check=bool(arguments))
    except OutOfDateError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def update(system: str, *, check: bool) -> None:
    """Put the table into the system's README. ``check``: raise OutOfDateError instead."""
    readme = HERE / system / "README.md"
    old = readme.read_text(encoding="utf-8")
    before, _, rest = old.partition(START)
    after = rest.partition(END)[2]
    new = f"{before}{START}\n{rendered(system)}{END}{after}"
    if new == old:
        return
    if check:
        raise OutOfDateError(f"{readme} is out of date: run python platforms/support.py")
    readme.write_text(new, encoding="utf-8", newline="\n")


def rendered(system: str) -> str:
    """The table in Markdown, a line a file system, and below it the reasons as numbered notes."""
    platform = load(system)
    notes: dict[str, int] = {}
    lines = ["| file system | if | readers | crash | durable |", "|---|---|---|---|---|"]
    for row in rows(system):
        for kind in row.kinds:
            cells = (
                _cell(platform, kind, row, promise, answer, notes)
                for promise, answer in zip(PROMISES, row.promises, strict=True)
            )
            options = ", ".join(f"`{option}`" for option in row.options)
            lines.append(f"| {_name(kind)} | {options} | {' | '.join(cells)} |")
    listed = [f"{number}. {reason}" for reason, number in notes.items()]
    return "\n".join([*lines, "", *listed, ""])


def _name(kind: str) -> str:
    return {"": _ANY}.get(kind, f"{kind}*" if kind.endswith(".") else kind)


def _cell(
    platform: dict[str, Any],
    kind: str,
    row: Row,
    promise: str,
    answer: Promise,
    notes: dict[str, int],
) -> str:
    note = notes.setdefault(answer.reason, len(notes) + 1)
    if answer != "yes":
        return f"{answer} ({note})"
    proof = proof_of(platform, promise, kind, row.options)
    if proof is not None:
        return f"yes, proven: {proof['points']} points, {proof['violations']} violations ({note})"
    return f"not proven (yes by {source_of(platform, promise, kind)}) ({note})"


def answers(system: str, row: Row) -> dict[tuple[str, ...], list[str]]:
    """A word for each promise, by the types of the line that it holds for.

    "proven", or "yes" by a source, "unknown" or "no".
    """
    platform, found = load(system), dict[tuple[str, ...], list[str]]()
    for kind in row.kinds:
        words = [
            "proven" if answer == "yes" and proof_of(platform, promise, kind, row.options) else str(answer)
            for promise, answer in zip(PROMISES, row.promises, strict=True)
        ]
        alike = next((kinds for kinds, others in found.items() if others == words), ())
        found.pop(alike, None)
        found[(*alike, kind)] = words
    return found


def rows(system: str) -> list[Row]:
    """The lines of the table of promises that speak of this system."""
    from durably._system.promises import TABLE

    return [row for row in TABLE if row.system == system]


def load(system: str) -> dict[str, Any]:
    """The system's platform.toml."""
    return tomllib.loads((HERE / system / "platform.toml").read_text(encoding="utf-8"))


def proof_of(
    platform: dict[str, Any], promise: str, kind: str, options: tuple[str, ...]
) -> dict[str, Any] | None:
    """The proof of a promise on a file system mounted as usual, or None."""
    for proof in platform.get("proof", []):
        if not options and (proof["promise"], proof["file_system"]) == (promise, kind):
            return dict(proof)
    return None


def source_of(platform: dict[str, Any], promise: str, kind: str) -> str:
    """What a "yes" without a proof rests on, in a few words. Raises KeyError if nothing is named."""
    sources = platform["sources"][promise]
    return str(sources[kind] if kind in sources else sources["default"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
