"""Moving a file or a directory, also to where no rename reaches."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

from durably import _commit
from durably._errors import UnsupportedError
from durably._fsspec import names

if TYPE_CHECKING:
    from durably.filesystem import DurableFileSystem

_COPY_CHUNK = 1 << 20
_PERMISSIONS = 0o777
_DATES_OPEN_FILES = os.utime in os.supports_fd  # not on Windows


def move(fs: DurableFileSystem, source: str, target: str) -> None:
    """Rename; a file is copied and removed where the two lie on different file systems."""
    if os.path.isdir(target) and not os.path.samefile(source, target):
        target = f"{target.rstrip('/')}/{os.path.basename(source)}"
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    above = os.path.dirname(target)
    if fs.auto_mkdir and os.path.lexists(source) and not names.in_staging(target):
        names.make_directories(above, fs.level)
    core = fs.transaction_core()
    try:
        if core is None:
            names.move(source, target, fs.level)
        else:
            core.move(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV or isinstance(error, UnsupportedError):
            raise
        if core is not None or not os.path.isfile(source) or os.path.islink(source):
            message = "lies on another file system than its new place; copy and remove it"
            raise UnsupportedError(errno.EXDEV, f"{message}; nothing was changed", source) from error
    else:
        return
    _copy(fs, source, target)
    try:
        fs.rm_file(source)
    except OSError as error:
        error.add_note(f"durably: {target} is there, whole; only the removal of {source} has failed")
        raise


def _copy(fs: DurableFileSystem, source: str, target: str) -> None:
    """Copy a file with its mode, its times and its attributes, before it has its name where that can be."""
    routine = _commit.routine()
    with open(source, "rb", buffering=0) as old:
        known = os.fstat(old.fileno())
        times, mode = (known.st_atime_ns, known.st_mtime_ns), known.st_mode & _PERMISSIONS
        # What lies at the target goes, a link too, as by a rename.
        with fs.open(target, "wb", metadata="fresh", symlinks="replace", permissions=mode) as new:
            shutil.copyfileobj(old, new, _COPY_CHUNK)
            new.flush()
            routine.copy_attributes(old.fileno(), new.fileno())
            if _DATES_OPEN_FILES:
                routine.calls.utime(new.fileno(), ns=times)
    if not _DATES_OPEN_FILES:
        routine.calls.utime(target, ns=times)
