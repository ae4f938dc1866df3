"""``durably probe``: what a place keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.table import Table

import durably
from durably._cli import exit_codes
from durably._cli import options as _options
from durably._cli.output import put_json, show, shown
from durably._cli.report import Report

if TYPE_CHECKING:
    from durably import Guarantees

_PROMISES = (
    ("readers", "readers see a whole file"),
    ("crash", "a power cut leaves a whole file"),
    ("durable", "a power cut keeps the new file"),
)


@click.command()
@click.argument("path", type=click.Path(), default=".")
@_options.storage_options
@_options.as_json
def probe(path: str, *, storage_options: dict[str, Any] | None, as_json: bool) -> None:
    """Show what a save to PATH would keep, and why. PATH need not exist; without it: here.

    PATH may be the URL of an object: of a store the promises are shown, and it is asked nothing.
    """
    report = Report(path, as_json=as_json, state="nothing was done")

    def work() -> int:
        found = durably.probe(path, storage_options=storage_options)
        if as_json:
            put_json(guarantee_fields(found))
        else:
            show(place_table(found), promise_table(found))
        return exit_codes.DONE

    report.finalize(work)


def guarantee_fields(found: Guarantees) -> dict[str, object]:
    """Guarantees for JSON."""
    promises: dict[str, object] = {}
    for name, _ in _PROMISES:
        promise = getattr(found, name)
        promises[name] = {"answer": str(promise), "reason": promise.reason}
    return {
        "path": found.path,
        "file_system": found.file_system,
        "options": list(found.options),
        "routine": found.routine,
        **promises,
        "supports": sorted(found.supports),
    }


def place_table(found: Guarantees) -> Table:
    """Where the path lies."""
    table = Table.grid(padding=(0, 2))
    table.add_row("path", shown(found.path))
    table.add_row("file system", found.file_system)
    table.add_row("options", ", ".join(found.options) or "none")
    table.add_row("routine", found.routine)
    table.add_row("supports", ", ".join(sorted(found.supports)) or "nothing beyond the plain save")
    return table


def promise_table(found: Guarantees) -> Table:
    """The three promises."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Promise", no_wrap=True)
    table.add_column("Kept", no_wrap=True)
    table.add_column("Reason")
    for name, meaning in _PROMISES:
        promise = getattr(found, name)
        table.add_row(meaning, str(promise), promise.reason)
    return table
