"""The pages of docs/figures: which stated figure is met, why another is not, and the other libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plots
import reasons
import record
from commits import NAMES
from prove import records
from prove.pages import KINDS, table
from saves import WRITE_BYTES
from suite import GROUPS
from table import measured

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from findings import Finding

_NOTE = "<!-- Written by `python tests/benchmarks/run.py --draw` from what was recorded; do not edit. -->\n"
_START, _END = "<!-- comparison -->", "<!-- /comparison -->"
_POINTS = 10_000
ALT = {
    "small": "bars: a save of 4 KiB on a tmpfs by durably and by others, in units of the bare calls in C",
    "small-durable": "bars: a durable save of 4 KiB on ext4 by durably and by others",
    "many": "bars: 1,000 files by a loop, a transaction and a directory, in units of a batch",
    "levels": "bars: the time of a save of 4 KiB by level, on tmpfs, ext4, xfs and btrfs",
    "sizes": "curves: the time of a save by the size of the file, from nothing to 4 GiB",
    "files": "curves: the time of each file by the number of files, from 1 to 100,000",
    "entries": "curves: the time of a save by the entries of the directory, from none to a million",
    "workers": "curves: saves a second by 1 to 32 threads and processes",
}


def index(figures: Path, shown: list[str]) -> str:
    """The page of all figures."""
    kept = {name: own for name in GROUPS if (own := record.read(figures, name))}
    findings = [(name, finding) for name, own in kept.items() for finding in own.found.findings]
    stated = [(name, finding) for name, finding in findings if finding.target]
    missed = [finding for _, finding in stated if finding.verdict == "not met"]
    met = len(stated) - len(missed)
    pictures = "".join(f"\n### {plots.PLOTS[name].title}\n\n![{ALT[name]}]({name}.svg)\n" for name in shown)
    steps = "".join(
        f"\n### {title}\n\n![the steps of a save on {title}, one below the other](steps-{system}.svg)\n"
        for system, title in NAMES.items()
    )
    return f"""{_NOTE}
# Figures

What durably costs, measured beside C programs that make bare system calls, beside the classic recipe and
beside other libraries, in turns in one run. A ratio is taken in each round; the median counts, and the
range and the ratio of the fastest rounds stand beside it.

{_machines(kept)}
## Stated, and met or not

{f"{met} of {len(stated)} stated figures are met." if stated else "Nothing was recorded yet."}

{_stated(stated)}
### What the rigs count

{_rigs()}
## Not met, and why

{_missed(missed, [finding for _, finding in findings])}
## Costs
{pictures or "Not recorded yet." + chr(10)}
{_beside(findings)}
## What a save does

Each step, who takes it, and what is found if everything ends right after it.
{steps}
## What each file system promises

`durably probe PATH` says it for a place.

![each file system and its three promises: proven, yes, unknown or no](support.svg)

## Beside other libraries

{_comparison("../proofs/peers.md", figures)}
![power cuts after which a file was torn or lost, by library](../proofs/peers.svg)

{_left_out(kept)}
## All of it again

As root on Linux, so that fresh file systems can be mounted{_took(kept)}:

    pip install -e '.[cli,fsspec]' && pip install --group bench
    python tests/benchmarks/run.py --record

`--quick` only shows that it runs, `--only GROUP` measures one group ({", ".join(GROUPS)}) or one half
("stated", "growth"), and `--draw` makes this page and the pictures again from `data`.
"""


def _machines(kept: dict[str, record.Record]) -> str:
    if not kept:
        return ""
    alike: dict[str, list[str]] = {}
    for name, own in kept.items():
        about = own.about
        said = (
            f"{about['date']}, {about['kernel']}, {about['machine']}, {about['processors']} processors, "
            f"Python {about['python']}, durably {about['durably']}"
        )
        said += ". **A quick run: these numbers mean nothing**" if about["quick"] else ""
        alike.setdefault(said, []).append(name)
    loads = [own.about["load_before"] for own in kept.values() if "load_before" in own.about]
    load = f"The load average before a group was {min(loads):g} to {max(loads):g}.\n" if loads else ""
    if len(alike) == 1:
        return f"Recorded: {next(iter(alike))}.\n{load}"
    return "".join(f"- {', '.join(names)}: {said}\n" for said, names in alike.items()) + load


def _took(kept: dict[str, record.Record]) -> str:
    seconds = sum(own.about["seconds"] for own in kept.values())
    return f"; it took {seconds / 60:.0f} minutes" if seconds >= 60 else ""


def _stated(stated: list[tuple[str, Finding]]) -> str:
    rows = [
        [
            finding.figure,
            finding.contender,
            finding.base,
            f"{_number(finding.median)} {finding.unit}",
            f"{_number(finding.low)}-{_number(finding.high)}",
            _number(finding.fastest),
            finding.stated,
            finding.verdict if finding.verdict == "met" else "**not met**",
        ]
        for _, finding in stated
    ]
    columns = ("figure", "of", "beside", "median", "range", "fastest", "stated", "")
    return table(columns, rows) if rows else ""


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) or value >= 100 else f"{value:.2f}"


def _rigs() -> str:
    """The power cuts: 10,000 on each file system were stated, and no violation."""
    sampled, exhaustive = records.read("sampled")["rows"], records.read("exhaustive")["rows"]
    rows = [
        [
            f"power cuts, {row['file_system']}",
            f"{row['points']:,}",
            row["violations"],
            f"≥ {_POINTS:,}, 0 violations",
            "met" if row["points"] >= _POINTS and not row["violations"] else "**not met**",
        ]
        for row in sampled
    ]
    rows += [
        [
            f"every position of a short run, {row['file_system']}",
            f"{row['points']:,}",
            row["violations"],
            "",
            "",
        ]
        for row in exhaustive
    ]
    columns = ("tried", "how often", "violations", "stated", "")
    return (
        table(columns, rows) if rows else "Not recorded yet.\n"
    ) + "\n[The proofs](../proofs/README.md).\n"


def _missed(missed: list[Finding], findings: list[Finding]) -> str:
    if not missed:
        return "None.\n"
    lines = [
        f"- {one.figure}: {one.contender}{f' beside {one.base}' if one.base else ''} "
        f"({_number(one.median)} {one.unit}, stated {one.stated}): {reasons.reason(one, findings)}\n"
        for one in missed
    ]
    return "".join(lines)


def _beside(findings: list[tuple[str, Finding]]) -> str:
    """What has no target, for those who want the numbers of the bars."""
    rows = [
        [
            finding.figure,
            finding.contender,
            finding.base,
            f"{_number(finding.median)} {finding.unit}",
            f"{_number(finding.low)}-{_number(finding.high)}",
            measured(finding.seconds, "s"),
        ]
        for _, finding in findings
        if not finding.target
    ]
    if not rows:
        return ""
    columns = ("figure", "of", "beside", "median", "range", "time")
    return f"### The numbers of the bars\n\n{table(columns, rows)}"


def _left_out(kept: dict[str, record.Record]) -> str:
    reasons_ = dict.fromkeys(reason for own in kept.values() for reason in own.found.left_out)
    if not reasons_:
        return ""
    return "## Left out\n\n" + "".join(f"- {reason}\n" for reason in reasons_)


def comparison(figures: Path) -> str:
    """The snippet, as it stands in docs/figures."""
    return f"{_NOTE}\n{_comparison('../proofs/peers.md', figures)}"


def with_comparison(readme: str, figures: Path) -> str:
    """The README with the table between its two marks; as it is where there are none."""
    before, mark, rest = readme.partition(_START)
    _, end, after = rest.partition(_END)
    if not mark or not end:
        return readme
    return f"{before}{_START}\n{_compared(figures)}{_END}{after}"


def _comparison(proofs: str, figures: Path) -> str:
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
    known = {WRITE_BYTES: "durably", "the classic recipe, in Python": "recipe"}
    return known.get(contender, contender.partition(" ")[0])
