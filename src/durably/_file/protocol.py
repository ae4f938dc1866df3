"""The protocol of every save: stage, then commit it, or leave no trace."""

from __future__ import annotations

import errno
import os
import sys
import warnings

from durably._commit.pending import CLOSED
from durably._errors import not_durable, note_leftovers, set_error_path
from durably._file.in_place import NO_RENAME, NO_ROOM, may_rewrite, rewrite, staged_at
from durably._file.stream import opened
from durably._receipts import Receipt
from durably._system import promises
from durably._types import CONSISTENT, DURABLE, LEVELS, NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from durably._commit.pending import PendingFile
    from durably._commit.strategy import Routine
    from durably._file.modes import Mode
    from durably._file.stream import Channel
    from durably._types import Durability


def stage(routine: Routine, save: PendingFile) -> None:
    """Make the temporary of a located save."""
    try:
        if save.held:
            routine.create_unnamed(save)
        else:
            routine.create(save)
    except OSError as error:
        if not may_rewrite(save) or save.fd != CLOSED or error.errno not in NO_ROOM:
            raise
        save.temporary = None
        routine.create_in_fallback_dir(save)


def stage_stream(routine: Routine, save: PendingFile, how: Mode) -> tuple[Channel, Any]:
    """Make the temporary of a located save, with what the mode keeps of the old file; and the caller's file.

    Raises FileNotFoundError where the mode updates a file that is not there.
    """
    if how.action == "r" and save.old is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), save.path)
    stage(routine, save)
    if how.keeps and save.old is not None:
        routine.copy_old(save)
    if how.action == "a":
        routine.append_only(save)
    elif how.action == "r":
        routine.calls.lseek(save.fd, 0, os.SEEK_SET)
    return opened(routine, save, how)


def finish(routine: Routine, save: PendingFile, size: int) -> Receipt:
    """Commit what was staged. Any exception: call `abandon`."""
    level = save.options.durability
    if save.options.permissions is not None and not save.in_fallback_dir:
        routine.seal(save)
    if save.temporary is None:
        routine.link(save)
    if level is not NONE:
        if save.private is None:
            routine.flush(save)
        else:
            routine.flush_unwitnessed(save)
    if save.in_fallback_dir:
        rewrite(routine, save)
    else:
        try:
            routine.rename_into_place(save)
        except OSError as error:
            if not may_rewrite(save) or error.errno not in NO_RENAME:
                raise
            rewrite(routine, save)
    return finalize(routine, save, size)


def finalize(routine: Routine, save: PendingFile, size: int) -> Receipt:
    """Make a published save durable, close everything, and say what was done."""
    level = save.options.durability
    failure = None
    if save.private is not None or save.in_place:
        _tidy(routine, save)
    if level is DURABLE and not save.in_place:
        try:
            routine.fsync_directory(save)
        except OSError as error:
            failure = error
    kept = NONE if level is NONE else achieved_level(routine, save)
    routine.release(save)
    replaced = save.old is not None
    steps = tuple(save.steps)
    receipt = Receipt(save.path, size, replaced, save.in_place, kept, steps, save.skipped, save.lost)
    if failure is not None:
        kept = min(receipt.durability, CONSISTENT, key=LEVELS.index)
        raise not_durable(save.path, failure, receipt._replace(durability=kept))
    return receipt


def _tidy(routine: Routine, save: PendingFile) -> None:
    left = staged_at(routine, save)
    try:
        routine.remove(save)
    except OSError as error:
        save.skipped["remove"] = f"{left} is left over: {error.strerror}"


def achieved_level(routine: Routine, save: PendingFile) -> Durability:
    """The level that a published save has kept here; notes the reason where it is less than asked."""
    if save.in_place:
        return NONE
    level = save.options.durability
    kept, reason = promises.kept(level, routine.name, routine.file_system(save.directory))
    if reason:
        save.skipped[str(level)] = reason
    return min(kept, save.limit, key=LEVELS.index)


# Giving up.


def abandon(routine: Routine, save: PendingFile, error: BaseException) -> None:
    """Undo a save that broke off with ``error``, or finish one that was published by then.

    Nothing is raised by a failure here: see `discard`. An error of the system gets the path of the
    target in place of the temporary's.
    """
    if save.in_place and not save.published:
        note_leftovers(error, (staged_at(routine, save),), "it holds the whole new content")
        routine.release(save)
    else:
        if was_published(routine, save):
            _finish_quietly(routine, save)
        discard(routine, save, error)
    if isinstance(error, OSError):
        set_error_path(error, save.path)
        if not (save.published or save.in_place):
            error.add_note("durably: the target was not changed")


def discard(routine: Routine, save: PendingFile, error: BaseException) -> None:
    """Remove what is staged, and close everything.

    Nothing is raised: what cannot be removed is named in ``error.leftovers`` and in a note.
    """
    try:
        routine.remove(save)
    except OSError as failure:
        left = (save.private,) if save.private else (save.temporary, save.second)
        paths = (routine.location(save, name) for name in left if name is not None)
        note_leftovers(error, tuple(paths), failure)
    routine.release(save)


def was_published(routine: Routine, save: PendingFile) -> bool:
    """Whether a publication that was interrupted has happened, as far as can be told."""
    if not save.published:
        try:
            save.published = routine.is_published(save)
        except OSError:
            return False
    return save.published


def _finish_quietly(routine: Routine, save: PendingFile) -> None:
    # Without a directory the save was concluded: its settling has failed, and is not repeated.
    if save.options.durability is DURABLE and not save.in_place and save.directory is not None:
        try:
            routine.fsync_directory(save)
        except OSError:
            pass  # another exception is on its way, and promises nothing


def warn_dropped(said: str, dropped: BaseException, source: object) -> None:
    """Warn of what was dropped undecided, and name what could not be removed: the notes of ``dropped``."""
    left = "".join(getattr(dropped, "__notes__", ()))
    # A warning with a source is lost while the interpreter ends (CPython's _warnings.c).
    source = None if sys.is_finalizing() else source
    warnings.warn(f"{said} {left}".rstrip(), ResourceWarning, stacklevel=3, source=source)
