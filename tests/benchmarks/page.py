"""The page of docs/figures: which stated figure is met, why another is not, and all pictures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import comparison
import plots
import reasons
import record
from commits import NAMES
from prove import records
from prove.pages import table
from suite import GROUPS
from table import measured

if TYPE_CHECKING:
    from pathlib import Path

    from findings import Finding

_POINTS = 10_000
STORES = record.TOP / "docs" / "proofs" / "stores.json"
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
    return f"""{record.NOTE}
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
{_calls(kept)}
## What a save does

Each step, who takes it, and what is found if everything ends right after it.
{steps}
## What each file system promises

`durably probe PATH` says it for a place.

![each file system and its three promises: proven, yes, unknown or no](support.svg)

## Beside other libraries

{comparison.explained("../proofs/peers.md", figures)}
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
            finding.verdict if finding.verdict == "met" else "**not met**",
            f"{finding.figure}: {_what(finding)}",
            finding.stated,
            f"{_number(finding.median)} ({_range(finding)}; {_number(finding.fastest)})",
        ]
        for _, finding in stated
    ]
    columns = ("", "figure", "stated", "median (range; fastest)")
    return table(columns, rows) if rows else ""


def _what(finding: Finding) -> str:
    return f"{finding.contender} beside {finding.base}" if finding.base else finding.contender


def _range(finding: Finding) -> str:
    return f"{_number(finding.low)}-{_number(finding.high)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) or value >= 100 else f"{value:.2f}"


# A record of the rigs, what it counts, by which key, and how many were stated for each file system.
_RIGS = (
    ("sampled", "power cuts", "points", _POINTS),
    ("exhaustive", "power cuts, every position of a short run", "points", 0),
    ("again", "cuts of a recovery", "points", 0),
    ("inject", "system calls that fail, and kills", "faults", 0),
)


def _rigs() -> str:
    """What was stated of them: enough of them, and no violation."""
    rows = [
        [
            "met" if row[key] >= least and not row["violations"] else "**not met**",
            f"{what}, {row['file_system']}",
            f"≥ {least:,}, 0 violations" if least else "0 violations",
            f"{row[key]:,}, {row['violations']} violations",
        ]
        for name, what, key, least in _RIGS
        for row in records.read(name)["rows"]
    ]
    rows += _stores()
    columns = ("", "tried", "stated", "found")
    return (
        table(columns, rows) if rows else "Not recorded yet.\n"
    ) + "\n[The proofs](../proofs/README.md), and [the stores](../stores.md).\n"


def _stores() -> list[list[str]]:
    """What tests/benchmarks/store_figures.py has counted at the servers."""
    data = json.loads(STORES.read_text(encoding="utf-8")) if STORES.exists() else {}
    rows = []
    for store, sizes in data.get("requests", {}).items():
        more = [size for size, made in sizes.items() if made["durably"] > made["bare"]]
        found = f"more for {', '.join(more)}" if more else f"as many, for {len(sizes)} sizes"
        stated = "as many as the bare client"
        rows.append(["**not met**" if more else "met", f"requests of a save, {store}", stated, found])
    for store, cut in data.get("faults", {}).items():
        broken = cut["truncated"] or cut["leaked"] or cut["untrue"]
        found = f"{cut['cuts']}, {cut['truncated']} truncated, {cut['leaked']} leaked"
        stated = "0 truncated, 0 leaked"
        rows.append(["**not met**" if broken else "met", f"connections cut, {store}", stated, found])
    return rows


def _missed(missed: list[Finding], findings: list[Finding]) -> str:
    if not missed:
        return "None.\n" if findings else "Nothing was recorded yet.\n"
    lines = [
        f"- {one.figure}: {_what(one)} ({_number(one.median)} {one.unit}, stated {one.stated}): {why}\n"
        for one, why in ((one, reasons.reason(one, findings)) for one in missed)
    ]
    return "".join(lines)


def _beside(findings: list[tuple[str, Finding]]) -> str:
    """What has no target, for those who want the numbers of the bars."""
    tables: dict[tuple[str, str], list[list[str]]] = {}
    for _, finding in findings:
        if not finding.target:
            row = [
                finding.contender,
                _number(finding.median),
                _range(finding),
                measured(finding.seconds, "s"),
            ]
            tables.setdefault((finding.figure, finding.base), []).append(row)
    if not tables:
        return ""
    shown = (
        f"**{figure}**, in units of {base}:\n\n{table(('of', 'median', 'range', 'time'), rows)}\n"
        for (figure, base), rows in tables.items()
    )
    return f"### The numbers of the bars\n\n{''.join(shown)}"


def _calls(kept: dict[str, record.Record]) -> str:
    rows = [
        [count.contender, count.level, len(count.calls), f"`{' '.join(count.calls)}`"]
        for own in kept.values()
        for count in own.found.counts
    ]
    columns = ("4 KiB replaced, tmpfs", "level", "calls", "")
    return f"### The system calls of a save\n\n{table(columns, rows)}" if rows else ""


def _left_out(kept: dict[str, record.Record]) -> str:
    reasons_ = dict.fromkeys(reason for own in kept.values() for reason in own.found.left_out)
    if not reasons_:
        return ""
    return "## Left out\n\n" + "".join(f"- {reason}\n" for reason in reasons_)
