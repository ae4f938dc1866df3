"""Finding and removing what killed processes left behind."""

from __future__ import annotations

import os
import stat
import time

from durably import _commit
from durably._api.dispatch import resolve_target
from durably._errors import UnsupportedError
from durably._receipts import Swept
from durably._system import temp_names
from durably._types import flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from durably._commit.strategy import Routine
    from durably._file.paths import StrPath
    from durably._system.temp_names import Maker


# Mounted by one kernel alone: what is from before its boot has no living maker anywhere.
_LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "ramfs", "overlay", "vfat", "exfat"}


def sweep(
    directory: StrPath,
    older_than: float = 3600,
    dry_run: bool = False,
    *,
    storage_options: Mapping[str, Any] | None = None,
    fs: Any = None,
) -> list[Swept]:
    """Remove the temporaries that killed processes left in a directory.

    ``directory``: str, bytes or PathLike. Its subdirectories are not visited.
    ``older_than``: seconds since the leftover was last changed; younger ones are left. By default an
    hour.
    ``dry_run``: True: remove nothing, and tell what would be removed. False by default.

    Only names of durably's own exact pattern are looked at, and only what is proven dead is removed:
    its process is gone, or was of an earlier boot of this machine's kernel (on a file system that
    one kernel mounts alone), or its lock is free. What cannot be proven, such as a temporary of
    another host on a network mount, stays, and says why.

    Returns what was found, as a list of `Swept`. Raises OSError if the directory cannot be read; a
    leftover that cannot be removed is reported, not raised. ValueError for a negative ``older_than`` and
    TypeError for arguments of another type: nothing was looked at.

    At a store (a URL; ``storage_options``, ``fs``: see `durably.open`) these are the uploads under a
    prefix that were not completed, or the temporaries in a directory. Nobody can tell there whether
    their maker lives: whatever is older goes, of other programs too in the case of uploads, so
    ``older_than`` must be longer than the longest save. UnsupportedError where a store does not list
    them.
    """
    if not older_than >= 0:
        raise ValueError(f"older_than must be a number of seconds from 0 up, not {older_than!r}")
    dry_run = flag("dry_run", dry_run)
    path = resolve_target(directory, {"storage_options": storage_options, "fs": fs})
    if not isinstance(path, str):
        from durably._stores import leftovers

        return [Swept(*one) for one in leftovers.sweep(path, older_than, dry_run=dry_run)]
    routine = _commit.routine()
    opened = routine.open_directory(path)
    try:
        return _swept(_Place(routine, opened, path), older_than, dry_run)
    finally:
        routine.close_directory(opened)


class _Place:
    """The directory that is swept, and what can be told of it once."""

    __slots__ = ("directory", "here", "is_local", "needed", "path", "routine")

    def __init__(self, routine: Routine, directory: Any, path: str) -> None:
        self.routine = routine
        self.directory = directory
        self.path = path
        self.here = temp_names.this_process()
        self.is_local = routine.file_system(directory).kind in _LOCAL
        self.needed: dict[str, bool] = {}
        """Whether a journal may need what a maker has left, who is dead and writes no other."""


def _swept(place: _Place, older_than: float, dry_run: bool) -> list[Swept]:
    found: list[Swept] = []
    names: list[str] = place.routine.calls.listdir(place.directory)
    for name in sorted(names):
        made = temp_names.parse(name)
        if made is not None:
            removed, reason = _treat(place, name, made, older_than, dry_run)
            found.append(Swept(os.path.join(place.path, name), removed, reason))
    return found


def _treat(
    place: _Place, name: str, made: tuple[temp_names.Kind, Maker], older_than: float, dry_run: bool
) -> tuple[bool, str]:
    kind, maker = made
    try:
        status = place.routine.lookup(place.directory, name)
        age = time.time() - max(status.st_mtime, status.st_ctime)
        if age < older_than:
            return False, f"changed {age:.0f} seconds ago"
        if not _is_of_kind(kind, status.st_mode):
            return False, "not what durably makes under such a name"
        dead, reason = _is_dead(place, kind, maker)
        if dead is None:
            return _take(place, kind, name, dry_run)
        retained = place.routine.retention_reason(place.directory, name) if dead else ""
        if dead and kind == "t" and _is_needed(place, maker):
            retained = "the journal of an interrupted transaction may need it: durably.recover its root"
        dead, reason = dead and not retained, retained or reason
        if dead and not dry_run:
            place.routine.remove_entry(place.directory, name)
    except FileNotFoundError:
        return True, "gone by itself"
    except OSError as error:
        return False, f"could not be removed: {error.strerror}"
    return dead, reason


def _is_of_kind(kind: temp_names.Kind, mode: int) -> bool:
    if kind == "t":
        return stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode)
    return stat.S_ISDIR(mode) if kind in ("d", "v") else stat.S_ISREG(mode)


def _is_needed(place: _Place, dead: Maker) -> bool:
    key = str(dead)
    if key not in place.needed:
        place.needed[key] = _is_needed_above(place)
    return place.needed[key]


def _is_needed_above(place: _Place) -> bool:
    """Whether a transaction's journal is in the directory or in one above on the same mount."""
    routine = place.routine
    entries = routine.directory_operations()
    directory = entries.enter(place.directory, ".")
    try:
        while not _has_journal(routine, directory):
            try:
                above = entries.enter(directory, "..")
            except UnsupportedError:
                return False  # another mount, and a transaction keeps to one
            directory, below = above, directory
            at_the_top = routine.identify(directory) == routine.identify(below)
            routine.close_directory(below)
            if at_the_top:
                return False
    finally:
        routine.close_directory(directory)
    return True


def _has_journal(routine: Routine, directory: Any) -> bool:
    try:
        routine.lookup(directory, temp_names.JOURNAL)
    except FileNotFoundError:
        return False
    return True


def _is_dead(place: _Place, kind: temp_names.Kind, maker: Maker) -> tuple[bool | None, str]:
    """Whether the maker is proven dead, and why, or why not. None: only a lock can tell."""
    here = place.here
    if maker.boot == here.boot != temp_names.UNKNOWN and maker.space == here.space:
        running = place.routine.is_running(maker)
        state = "still runs" if running else "is gone"
        return not running, f"its process, {maker.process}, {state}"
    if maker.boot != here.boot and temp_names.UNKNOWN not in (maker.boot, here.boot) and place.is_local:
        return True, "it is from before the last boot"
    if kind in ("f", "t"):
        return False, "its process cannot be seen from here"
    return None, ""


def _take(place: _Place, kind: temp_names.Kind, name: str, dry_run: bool) -> tuple[bool, str]:
    """Remove what nobody has locked."""
    try:
        if kind == "b":
            lock = place.routine.try_lock_directory(place.directory)
        else:
            lock = place.routine.try_lock(place.directory, name)
    except FileNotFoundError:
        return True, "gone by itself"
    except OSError as error:
        return False, f"its lock cannot be tested: {error.strerror}"
    if lock is None:
        return False, "it is locked by a process that cannot be seen from here"
    try:
        retained = place.routine.retention_reason(place.directory, name)
    except BaseException:
        place.routine.unlock_claimed(lock)
        raise
    if dry_run or retained:
        place.routine.unlock_claimed(lock)
        return not retained, retained or "its lock is free"
    place.routine.remove_locked(place.directory, name, lock)
    return True, "its lock is free"
