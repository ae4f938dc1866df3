"""Recovering all that lies below a directory: a transaction of fsspec's has no root that its caller names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from durably._receipts import Recovered
from durably._system import temp_names
from durably._transaction.recover import recover

if TYPE_CHECKING:
    from collections.abc import Iterator


def recover_below(path: str) -> Recovered:
    """`durably.recover` for a directory and each one below it, on the same file system."""
    found = [(below, recover(os.path.join(path, below))) for below in _interrupted(path)]
    outcomes = {each.outcome for _, each in found}
    files = tuple(f"{below}/{name}" if below else name for below, each in found for name in each.files)
    if "undone" in outcomes:
        return Recovered(path, "undone", files)
    return Recovered(path, "finished" if "finished" in outcomes else "nothing", files)


def _interrupted(top: str) -> Iterator[str]:
    """The directories, as paths below the top, in which a journal stands, the upper first."""
    device = os.stat(top).st_dev
    waiting = [""]
    while waiting:
        below = waiting.pop()
        directory = os.path.join(top, below)
        if os.path.lexists(os.path.join(directory, temp_names.JOURNAL)):
            yield below
        # Only now: what a recovery has put there is looked at as well.
        with os.scandir(directory) as entries:
            waiting += [
                f"{below}/{entry.name}" if below else entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and _may_look(entry, device)
            ]


def _may_look(entry: os.DirEntry[str], device: int) -> bool:
    """Whether it lies on the same file system, and can be read: nobody else has committed anything there."""
    return entry.stat(follow_symlinks=False).st_dev == device and os.access(entry.path, os.R_OK | os.X_OK)
