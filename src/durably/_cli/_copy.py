"""``durably copy``: one file, whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

import durably
from durably import _commit
from durably._cli._options import save_options, saving
from durably._cli._output import shown
from durably._cli._report import Report
from durably._cli._stream import pour
from durably._native.linux import NO_CLONE

if TYPE_CHECKING:
    import io
    from types import TracebackType
    from typing import Self

    from durably._options import SaveOptions

_LONG = 0.5
_PERMISSIONS = 0o777


@click.command()
@click.argument("source", metavar="SRC", type=click.Path())
@click.argument("target", metavar="DST", type=click.Path())
@saving
def copy(source: str, target: str, *, as_json: bool, quiet: bool, **options: object) -> None:
    """Copy the file SRC to DST.

    DST holds its old content, whole, until the copy is complete. A new DST gets the mode of SRC less
    the umask, as with cp; a DST that exists keeps its own. Extents are shared where the file system
    can; holes are filled. DST is a file, not a directory to copy into.
    """
    chosen = save_options(**options)  # type: ignore[arg-type] # as click has checked them
    report = Report(target, as_json=as_json, quiet=quiet)

    def work() -> int:
        with open(source, "rb", buffering=0) as reader:
            _refuse_same(reader, source, target, chosen)
            _choose_mode(reader, target, chosen)
            receipt = _copied(reader, source, durably.open(target, "wb", **chosen), report)
        return report.saved(receipt, str(options["durability"]))

    report.conclude(work)


def _copied(
    reader: io.FileIO, source: str, writer: durably.AtomicWriter[Any], report: Report
) -> durably.Receipt:
    size = os.fstat(reader.fileno()).st_size
    with _Meter(size, source) as meter, writer as file:
        report.watch(writer)
        if not _cloned(reader, file):
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


def _choose_mode(reader: io.FileIO, target: str, options: SaveOptions) -> None:
    """Give a new target the mode of the source, where it is not what a new file gets anyway."""
    kept = os.path.lexists(target) and options.get("metadata") != "fresh"
    mode = os.fstat(reader.fileno()).st_mode
    if kept or options.get("permissions") is not None or not stat.S_ISREG(mode):
        return
    umask = os.umask(0)
    os.umask(umask)
    # Where it makes no difference, the directory's default ACL stays in force.
    if mode & _PERMISSIONS & ~umask != 0o666 & ~umask:
        options["permissions"] = mode & _PERMISSIONS & ~umask


def _cloned(reader: io.FileIO, file: io.BufferedWriter) -> bool:
    routine = _commit.routine()
    if routine.name != "linux":
        return False
    try:
        routine.calls.ficlone(file.fileno(), reader.fileno())
    except OSError as error:
        if error.errno not in NO_CLONE:
            raise
        return False
    return True


class _Meter:
    """A progress bar on the terminal, from the moment when a copy has turned out to be long."""

    def __init__(self, size: int, name: str) -> None:
        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        name = os.path.basename(shown(name))
        self._progress = Progress(
            TextColumn(name, markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=size or None)
        self._due = time.monotonic() + _LONG

    def moved(self, count: int) -> None:
        self._progress.update(self._task, advance=count)
        if time.monotonic() >= self._due:
            self._progress.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
