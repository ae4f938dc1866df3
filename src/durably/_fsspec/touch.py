"""Setting the times of a file, or making an empty one, and never emptying one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from durably import _commit

if TYPE_CHECKING:
    from durably.filesystem import DurableFileSystem


def touch(fs: DurableFileSystem, target: str, options: dict[str, Any]) -> None:
    """Set the times to now, unflushed; where there is no file, make one."""
    try:
        _commit.routine().calls.utime(target)
    except FileNotFoundError:
        _make(fs, target, options)


def _make(fs: DurableFileSystem, target: str, options: dict[str, Any]) -> None:
    if fs.transaction_core() is not None or os.path.islink(target):
        fs.open(target, "ab", **options).close()  # what is staged already, and what a link names
        return
    try:
        fs.pipe_file(target, b"", mode="create", **options)
    except FileExistsError:
        _commit.routine().calls.utime(target)  # another has made it meanwhile
