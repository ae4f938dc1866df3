"""How `durably demo` looks to people."""

from __future__ import annotations

import platform
import signal
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

import durably
from durably._cli.output import show, shown
from durably._cli.probe import promise_table
from durably._cli.timing import Step
from durably._cli.trial import MEBIBYTE

if TYPE_CHECKING:
    from durably._cli.trial import Content, Killed, Timed, Trial

_LEGEND = (
    "'none' lets nobody see half a file. 'consistent' also flushes the file before it is renamed, so "
    "that a power cut leaves the old file or the new one; 'durable' also flushes the directory after "
    "that, so that a power cut cannot bring the old file back."
)


def present(trial: Trial) -> None:
    """Print the whole demonstration to standard output."""
    place = trial.guarantees
    show(
        f"durably {durably.__version__}, Python {platform.python_version()}, {platform.system()}",
        f"in {shown(place.path)}, since removed",
        "",
        f"1. {_amount(_size(trial.small))} saved by durably.write_bytes over an older file, at each level",
        f"(its content: {trial.source})",
        _call_table(trial.small),
        f"2. {_amount(_size(trial.large))}, the same text repeated, saved by durably.open, at each level",
        _call_table(trial.large),
        _LEGEND,
        *_shortfalls(trial.large),
        "",
        f"3. Two programs, killed halfway through saving {_amount(trial.new.size)} over an older file",
        _kill_table(trial),
        _verdict(trial),
        "",
        f"4. What a durable save keeps in this place ({place.file_system}, routine {place.routine})",
        promise_table(place),
    )


def _size(saves: list[Timed]) -> int:
    return saves[0].receipt.size


def _amount(size: int) -> str:
    return f"{size / MEBIBYTE:.1f} MiB" if size >= MEBIBYTE else f"{size:,} bytes"


def _call_table(saves: list[Timed]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("\nSystem call", no_wrap=True)
    for save in saves:
        table.add_column(f"{save.asked}\ncalls       ms", justify="right", no_wrap=True)
    for name in _calls_in_order(saves):
        table.add_row(name, *(_call_cell(save.steps.get(name)) for save in saves))
    table.add_section()
    table.add_row("the whole save", *(_call_cell(_total(save)) for save in saves))
    table.add_row("level kept here", *(str(save.receipt.durability) for save in saves))
    return table


def _calls_in_order(saves: list[Timed]) -> list[str]:
    """The calls of all the saves, in the order of the last one, which takes the most steps."""
    return list(dict.fromkeys(name for save in reversed(saves) for name in save.steps))


def _call_cell(step: Step | None) -> str:
    return "" if step is None else f"{step.calls} {step.seconds * 1000:8.2f}"


def _total(save: Timed) -> Step:
    """All calls, and the time of the save, Python's own included."""
    return Step(sum(step.calls for step in save.steps.values()), save.seconds)


def _shortfalls(saves: list[Timed]) -> list[str]:
    """Where less was kept than was asked for, and why."""
    lines: list[str] = []
    for save in saves:
        receipt = save.receipt
        if receipt.durability != save.asked:
            reasons = "; ".join(receipt.skipped.values())
            lines.append(f"'{save.asked}' was asked for, and '{receipt.durability}' is kept here: {reasons}")
    return lines


def _kill_table(trial: Trial) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column('open(path, "w")')
    table.add_column('durably.open(path, "w")')
    both = trial.plain, trial.durably
    table.add_row("the process", *(_ending(killed) for killed in both))
    table.add_row("the file holds", *(_holding(killed, trial.new) for killed in both))
    table.add_row("beside it", *(", ".join(killed.beside) or "nothing" for killed in both))
    table.add_row("survived whole", *("yes" if killed.survived else "NO" for killed in both))
    return table


def _ending(killed: Killed) -> str:
    if killed.status is None:
        return "never came halfway"
    if killed.status >= 0:
        return f"ended with {killed.status}"
    return f"killed by {signal.Signals(-killed.status).name}"


def _holding(killed: Killed, new: Content) -> str:
    if killed.state == "part":
        return f"{_amount(killed.size)}: neither the old file nor all {_amount(new.size)} of the new one"
    return {"old": "the old file", "new": "the new file", "missing": "nothing: it is gone"}[killed.state]


def _verdict(trial: Trial) -> str:
    if trial.is_convincing:
        kept = "old" if trial.durably.state == "old" else "new"
        lost = "The builtin open left neither the old file nor the new one"
        return f"{lost}; durably kept the whole {kept} file."
    if not trial.durably.survived:
        return "durably's file did NOT survive. This must not happen: please report it."
    return (
        "Nothing was shown: the writers were not killed halfway, or the builtin open's file survived as well."
    )
