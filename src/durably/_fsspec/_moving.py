"""Moving a file or a directory, also to where no rename reaches."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

from durably._errors import UnsupportedError
from durably._fsspec import _entries

if TYPE_CHECKING:
    from durably.filesystem import DurableFileSystem


def move(fs: DurableFileSystem, source: str, target: str) -> None:
    """Rename; a file is copied and removed where the two lie on different file systems."""
    if os.path.isdir(target) and not os.path.samefile(source, target):
        target = f"{target.rstrip('/')}/{os.path.basename(source)}"
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    above = os.path.dirname(target)
    if fs.auto_mkdir and os.path.lexists(source) and not os.path.isdir(above):
        fs.makedirs(above, exist_ok=True)
    core = fs.transaction_core()
    try:
        if core is None:
            _entries.move(source, target, fs.level)
        else:
            core.move(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _carry_over(fs, source, target)


def _carry_over(fs: DurableFileSystem, source: str, target: str) -> None:
    if not os.path.isfile(source) or os.path.islink(source):
        message = "lies on another file system than its new place; copy and remove it; nothing was changed"
        raise UnsupportedError(errno.EXDEV, message, source)
    fs.cp_file(source, target)
    shutil.copystat(source, target)
    fs.rm_file(source)
