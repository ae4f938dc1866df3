"""Rewriting the old file itself, where no rename is possible and the caller allows it.

None of the three promises remains. The staged copy is flushed before the first byte of the old file is
overwritten, and kept until the new content is flushed: a rewrite that breaks off leaves a TornError that
names the copy.
"""

from __future__ import annotations

import errno
import os

from durably._errors import TornError
from durably._system.syscalls import write_all
from durably._types import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingFile
    from durably._commit.strategy import InPlace

# Where no rename is possible: a mount point, another file system beneath, a sticky directory.
NO_RENAME = {errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES}
# Where no file can be made beside the target.
NO_ROOM = {errno.EPERM, errno.EACCES, errno.EROFS}
_CHUNK = 1 << 20


def staged_at(routine: InPlace, save: PendingFile) -> str:
    """Where the temporary lies, for a message."""
    return routine.location(save, save.private or save.temporary or "")


def may_rewrite(save: PendingFile) -> bool:
    """Whether the caller allows it, and there is an old file."""
    return save.options.allow_in_place and save.old is not None


def rewrite(routine: InPlace, save: PendingFile) -> None:
    """Write the staged copy into the old file itself; it is kept until that is flushed."""
    calls = routine.calls
    source = routine.open_staged(save)
    try:
        if save.options.durability is NONE:
            calls.fsync(source)
        _overwrite(routine, save, source)
    finally:
        try:
            calls.close(source)
        except OSError as error:
            save.skipped["close"] = str(error.strerror)  # it was only read
    save.steps.append("rewrite in place")


def _overwrite(routine: InPlace, save: PendingFile, source: int) -> None:
    target = routine.open_target(save)
    mode = save.options.permissions
    try:
        try:
            if mode is not None:
                routine.set_mode(target, mode)  # before the first byte, which not all may be meant to read
            save.in_place = True
            _pour(routine, source, target, mode)
        finally:
            routine.calls.close(target)
    except OSError as error:
        if not save.in_place:
            raise
        raise _torn(routine, save, error) from error
    save.published = True
    save.lost = ()  # by the copy: the file itself has kept everything


def _pour(routine: InPlace, source: int, target: int, mode: int | None) -> None:
    calls = routine.calls
    size = 0
    while chunk := calls.read(source, _CHUNK):
        write_all(calls, target, memoryview(chunk))
        size += len(chunk)
    calls.ftruncate(target, size)
    if mode is not None:
        routine.set_mode(target, mode)  # write(2): setuid and setgid are gone
    calls.fsync(target)


def _torn(routine: InPlace, save: PendingFile, error: OSError) -> TornError:
    staged = staged_at(routine, save)
    if save.private is not None:
        staged = os.path.join(staged, save.name)
    message = f"a rewrite in place broke off ({error.strerror}); the whole new content is in {staged}"
    return TornError(error.errno or errno.EIO, message, save.path, staged)
