"""``durably demo``: the main job on real input, and the proof by killing."""

from __future__ import annotations

import os
import tempfile

import click

import durably
from durably._cli import exit_codes, options
from durably._cli.demo_view import present
from durably._cli.output import put_json
from durably._cli.probe import guarantee_fields
from durably._cli.report import Report, receipt_fields
from durably._cli.trial import (
    MEBIBYTE,
    Content,
    Killed,
    Timed,
    Trial,
    description,
    enlarged,
    kill_halfway,
    timed_saves,
)


@click.command()
@click.option(
    "--directory",
    type=click.Path(),
    default=".",
    help="Where to make the temporary directory, which is removed again; by default here.",
)
@click.option(
    "--size",
    type=click.IntRange(min=2, max=65536),
    default=64,
    show_default=True,
    metavar="MIB",
    help="The size of the large file.",
)
@options.as_json
def demo(directory: str, *, size: int, as_json: bool) -> None:
    """Save real files, show every step, and kill a writer to see what survives.

    Saves the project's own description, alone and repeated to 64 MiB, at each durability level, and
    shows the system calls with their times. Then kills a program that saves with durably and one
    that uses the builtin open, both halfway, and compares what is left. Exits with 1 if durably's
    file did not survive, or if the builtin open's did, so that nothing was shown.
    """
    report = Report(directory, as_json=as_json, state="nothing is left in the directory")

    def work() -> int:
        with tempfile.TemporaryDirectory(prefix="durably-demo-", dir=os.path.abspath(directory)) as place:
            trial = _carried_out(place, size * MEBIBYTE)
        if as_json:
            put_json(_fields(trial))
        else:
            present(trial)
        return exit_codes.DONE if trial.is_convincing else exit_codes.NOT_DONE

    report.finalize(work)


def _carried_out(place: str, size: int) -> Trial:
    text, source = description()
    old = Content(f"The old file.\n\n{text}".encode())
    new = enlarged(f"The new file.\n\n{text}", size)
    return Trial(
        source=source,
        small=timed_saves(os.path.join(place, "description.md"), Content(text.encode())),
        large=timed_saves(os.path.join(place, "large.md"), enlarged(text, size)),
        old=old,
        new=new,
        plain=kill_halfway("plain", place, old, new),
        durably=kill_halfway("durably", place, old, new),
        guarantees=durably.probe(place),
    )


def _fields(trial: Trial) -> dict[str, object]:
    return {
        "convincing": trial.is_convincing,
        "source": trial.source,
        "saves": [_save_fields(save) for save in trial.small + trial.large],
        "killed": {"plain": _killed_fields(trial.plain), "durably": _killed_fields(trial.durably)},
        "guarantees": guarantee_fields(trial.guarantees),
    }


def _save_fields(save: Timed) -> dict[str, object]:
    calls = [
        {"name": name, "calls": step.calls, "milliseconds": step.seconds * 1000}
        for name, step in save.steps.items()
    ]
    return {
        "asked": save.asked,
        "milliseconds": save.seconds * 1000,
        "calls": calls,
        "receipt": receipt_fields(save.receipt),
    }


def _killed_fields(killed: Killed) -> dict[str, object]:
    return {
        "status": killed.status,
        "survived": killed.survived,
        "state": killed.state,
        "size": killed.size,
        "beside": list(killed.beside),
    }
