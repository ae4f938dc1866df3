"""``durably sweep``: remove what killed processes left behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.table import Table

import durably
from durably._cli import exit_codes, options
from durably._cli.output import put_json, show, shown
from durably._cli.report import Report

if TYPE_CHECKING:
    from durably._receipts import Swept


@click.command()
@click.argument("directory", type=click.Path())
@options.older_than
@click.option("--dry-run", is_flag=True, help="Remove nothing; show what would be removed.")
@options.storage_options
@options.as_json
def sweep(
    directory: str,
    *,
    older_than: float,
    dry_run: bool,
    storage_options: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Remove the temporaries that killed processes left in DIRECTORY.

    Only names of durably's own pattern are looked at, and only what is proven dead is removed. What
    stays is shown with the reason; that is no error.

    At a store DIRECTORY is a URL. At S3 it is a prefix (s3://bucket/prefix), and the uploads to keys
    that begin with it and were never completed are aborted. Nobody can tell there whether their maker
    lives, and those of other programs go as well: DURATION must be longer than the longest upload.
    """
    midway = "nothing was removed" if dry_run else "some leftovers may have been removed"
    report = Report(directory, as_json=as_json, state="nothing was removed", midway=midway)

    def work() -> int:
        found = durably.sweep(directory, older_than, dry_run, storage_options=storage_options)
        if as_json:
            put_json({"directory": directory, "dry_run": dry_run, "found": [_fields(one) for one in found]})
        elif found:
            show(_table(found, "would be removed" if dry_run else "removed"))
        else:
            show(f"{shown(directory)}: no leftovers")
        return exit_codes.DONE

    report.finalize(work)


def _fields(one: Swept) -> dict[str, object]:
    return {"path": one.path, "removed": one.removed, "reason": one.reason}


def _table(found: list[Swept], removed: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Leftover", overflow="fold")
    table.add_column("What")
    table.add_column("Reason")
    for one in found:
        table.add_row(shown(os.path.basename(one.path)), removed if one.removed else "left", one.reason)
    return table
