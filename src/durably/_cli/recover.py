"""``durably recover``: finish or undo a transaction that was interrupted."""

from __future__ import annotations

import click

import durably
from durably._cli import exit_codes, options
from durably._cli.output import put_json, show, shown
from durably._cli.report import Report

_SAID = {
    "nothing": "no transaction is unfinished there",
    "finished": "the transaction was finished; all its files are new",
    "undone": "the transaction was undone; all its files are old",
}


@click.command()
@click.argument("root", type=click.Path())
@options.as_json
def recover(root: str, *, as_json: bool) -> None:
    """Finish or undo a transaction that a crash has interrupted in ROOT.

    ROOT is the directory that the program gave to durably.Transaction. Running it again, also after
    it was killed, does the rest. Where somebody has changed a file since the crash, or the journal
    cannot be trusted, nothing is changed, and the message says what can be done.
    """
    report = Report(root, as_json=as_json, state="nothing was changed", midway="run it again")

    def work() -> int:
        done = durably.recover(root)
        if as_json:
            put_json({"root": done.root, "outcome": done.outcome, "files": list(done.files)})
        else:
            show(f"{shown(root)}: {_SAID[done.outcome]}", *map(shown, done.files))
        return exit_codes.DONE

    report.finalize(work)
