"""The other libraries: what each loses in the power-cut rig, and what its save costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import record
from others import RECIPE
from prove import records
from prove.pages import KINDS, table
from saves import WRITE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_START, _END = "<!-- comparison -->", "<!-- /comparison -->"


def snippet(figures: Path) -> str:
    """The snippet, as it stands in docs/figures."""
    return f"{record.NOTE}\n{explained('../proofs/peers.md', figures)}"


def with_table(readme: str, figures: Path) -> str:
    """The README with the table between its two marks; as it is where there are none."""
    before, mark, rest = readme.partition(_START)
    _, end, after = rest.partition(_END)
    if not mark or not end:
        return readme
    return f"{before}{_START}\n{_compared(figures)}{_END}{after}"


def explained(proofs: str, figures: Path) -> str:
    """The table, and what it counts."""
    rows = records.read("peers")["rows"]
    kinds = [kind for kind in KINDS if any(row["file_system"] == kind for row in rows)]
    cuts = sum(row["points"] for row in rows if row["name"] == "durably")
    return (
        f"{_compared(figures)}\nAfter how many of {cuts:,} power cuts ({', '.join(kinds)}) it was so, each "
        f"library with its strongest\nsetting; [how it was done]({proofs}). A temporary is no loss: "
        "`durably sweep` removes those of durably.\n"
    )


def _compared(figures: Path) -> str:
    """What each way to save loses, and what it costs."""
    rows = records.read("peers")["rows"]
    names = dict.fromkeys((row["name"], row["version"]) for row in rows)
    costs = _costs(figures)
    lines = [
        [
            _called(name, version),
            *(
                _share([row for row in rows if (row["name"], row["version"]) == (name, version)], key)
                for key in ("torn", "lost", "litter")
            ),
            *([costs.get(name, "")] if costs else []),
        ]
        for name, version in names
    ]
    columns = ["saved with", "file torn", "acknowledged save lost", "temporary left"]
    return table([*columns, *(["time, 4 KiB on ext4"] if costs else [])], lines)


def _called(name: str, version: str) -> str:
    return {"recipe": "the classic recipe", "durably": f"**durably {version}**"}.get(
        name, f"{name} {version}"
    )


def _share(rows: Iterable[dict[str, Any]], key: str) -> str:
    count = sum(row[key] for row in rows)
    return f"**{count}**" if count and key != "litter" else str(count)


def _costs(figures: Path) -> dict[str, str]:
    """By library, the time beside durably's."""
    kept = record.read(figures, "disk")
    if kept is None or kept.about["quick"]:
        return {}
    seconds = {finding.contender: finding.seconds for finding in kept.found.findings}
    ours = seconds[WRITE_BYTES]
    return {_library(name): f"{taken / ours:.2f} x" for name, taken in seconds.items()}


def _library(contender: str) -> str:
    """The name that the rig has for it."""
    known = {WRITE_BYTES: "durably", RECIPE: "recipe"}
    return known.get(contender, contender.partition(" ")[0])
