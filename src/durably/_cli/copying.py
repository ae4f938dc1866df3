"""What copying one file and copying many have in common."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from durably import _commit
from durably._cli.output import shown
from durably._file.paths import is_url

if TYPE_CHECKING:
    import io
    from types import TracebackType
    from typing import Self

    from durably._types import SaveOptions

_LONG = 0.5
_PERMISSIONS = 0o777


def choose_mode(reader: io.FileIO, target: str, options: SaveOptions) -> None:
    """Give a new target the mode of the source, where it is not what a new file gets anyway."""
    if is_url(target):
        return  # they have modes of their own, or none
    mode = os.fstat(reader.fileno()).st_mode
    if _keeps_mode(target, options) or options.get("permissions") is not None or not stat.S_ISREG(mode):
        return
    umask = os.umask(0)
    os.umask(umask)
    # Where it makes no difference, the directory's default ACL stays in force.
    if mode & _PERMISSIONS & ~umask != 0o666 & ~umask:
        options["permissions"] = mode & _PERMISSIONS & ~umask


def _keeps_mode(target: str, options: SaveOptions) -> bool:
    """Whether there is an old file that gives the target its mode, and not a link that is replaced."""
    if options.get("metadata") == "fresh" or not os.path.exists(target):
        return False
    return not (options.get("symlinks") == "replace" and os.path.islink(target))


def cloned(reader: io.FileIO, file: io.BufferedWriter) -> bool:
    """Share the extents of the source. False: they must be copied."""
    return _commit.routine().share_extents(file.fileno(), reader.fileno())


class Meter:
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
        """So many more bytes were copied."""
        self._progress.update(self._task, advance=count)
        if time.monotonic() >= self._due:
            self._progress.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
