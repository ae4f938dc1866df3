"""``durably copy``: one file, whole or not at all."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Literal

import click

import durably
from durably._cli.copy_tree import copy_tree
from durably._cli.copying import Meter, choose_mode, cloned
from durably._cli.options import save_options, saving
from durably._cli.output import shown
from durably._cli.report import Report
from durably._cli.stream import pour
from durably._file.paths import is_url

if TYPE_CHECKING:
    import io

    from durably._types import SaveOptions


@click.command()
@click.argument("source", metavar="SRC", type=click.Path())
@click.argument("target", metavar="DST", type=click.Path())
@click.option("--batch", is_flag=True, help="Copy the files of the directory SRC, all together.")
@click.option(
    "--on-error",
    type=click.Choice(["abort", "continue"]),
    default="abort",
    show_default=True,
    help="With --batch: copy no file, or the others, where one cannot be copied.",
)
@saving
def copy(
    source: str,
    target: str,
    *,
    batch: bool,
    on_error: Literal["abort", "continue"],
    as_json: bool,
    quiet: bool,
    **options: object,
) -> None:
    """Copy the file SRC to DST.

    DST holds its old content, whole, until the copy is complete. A new DST gets the mode of SRC less
    the umask, as with cp; a DST that exists keeps its own. Extents are shared where the file system
    can; holes are filled. DST is a file, not a directory to copy into; or the URL of an object.

    With --batch, SRC is a directory: each file in it and below replaces the file of the same name
    below DST, each whole or not at all, and all are flushed together. Directories are made where a
    file needs them; what else lies in DST stays. A symbolic link or a special file in SRC is an error
    before anything is copied. Where files fail, the message tells how many, and --json each.
    """
    chosen = save_options(**options)  # type: ignore[arg-type] # as click has checked them
    report = Report(target, as_json=as_json, quiet=quiet)
    if batch:
        copy_tree(source, target, chosen, report, on_error=on_error)

    def work() -> int:
        with open(source, "rb", buffering=0) as reader:
            _refuse_same(reader, source, target, chosen)
            choose_mode(reader, target, chosen)
            receipt = _copied(reader, source, target, durably.open(target, "wb", **chosen), report)
        return report.saved(receipt, str(options["durability"]))

    report.finalize(work)


def _copied(
    reader: io.FileIO, source: str, target: str, writer: durably.AtomicWriter[Any], report: Report
) -> durably.Receipt:
    size = os.fstat(reader.fileno()).st_size
    with Meter(size, source) as meter, writer as file:
        report.watch(writer)
        if is_url(target) or not cloned(reader, file):
            pour(reader, shown(source), file, meter.moved)
    assert writer.receipt is not None
    return writer.receipt


def _refuse_same(reader: io.FileIO, source: str, target: str, options: SaveOptions) -> None:
    follow = options.get("symlinks") != "replace"
    try:
        same = os.path.samestat(os.fstat(reader.fileno()), os.stat(target, follow_symlinks=follow))
    except OSError:
        return  # no such target yet; what else is wrong with it, the save will say
    if same:
        raise OSError(errno.EINVAL, f"is the same file as {shown(source)}", target)
