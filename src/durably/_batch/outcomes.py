"""What became of each of many files: its receipt, its error, or the temporary that is removed."""

from __future__ import annotations

import os

from durably._errors import not_durable, note_leftovers
from durably._receipts import Receipt
from durably._system import promises
from durably._types import CONSISTENT, DURABLE, LEVELS, NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from durably._batch.directories import TargetDirectory
    from durably._batch.entry import StagedEntry
    from durably._commit.pending import PendingFile
    from durably._commit.strategy import Routine
    from durably._errors import NotDurableError


def receipt(routine: Routine, place: TargetDirectory, name: str, staged: StagedEntry) -> Receipt:
    """Of a file that was published, once its directory was flushed."""
    shared, state = staged.shared, place.state
    level = shared.options.durability
    steps = (*shared.steps, *(("syncfs",) if not shared.flushed and level is not NONE else ()), "rename")
    skipped = shared.skipped | place.skipped
    kept = NONE
    if level is not NONE:
        assert place.file_system is not None
        kept, reason = promises.kept(level, routine.name, place.file_system)
        if reason:
            skipped[str(level)] = reason
        kept = min(kept, shared.limit, key=LEVELS.index)
    if level is DURABLE and state is not None:
        steps += tuple(state.steps)
        skipped |= state.skipped
        kept = min(kept, state.limit if place.failure is None else CONSISTENT, key=LEVELS.index)
    path = place.full_path(name, staged)
    return Receipt(
        path, staged.size, shared.replaced, in_place=False, durability=kept, steps=steps,
        skipped=skipped, lost=shared.lost,
    )  # fmt: skip


def unflushed(routine: Routine, place: TargetDirectory) -> Iterator[tuple[str, NotDurableError]]:
    """The errors of the files in a directory that could not be flushed, by path."""
    assert place.failure is not None
    for name, staged in place.published():
        if staged.shared.options.durability is DURABLE:
            told = receipt(routine, place, name, staged)
            yield told.path, not_durable(told.path, place.failure, told)


def remove(
    routine: Routine,
    place: TargetDirectory,
    name: str,
    staged: StagedEntry,
    error: BaseException,
    save: PendingFile | None = None,
) -> None:
    """Remove the temporary of a file that is not published. ``save``: it, if it is open."""
    try:
        place.open(routine)
        routine.remove(save or place.revive(name, staged))
    except OSError as failure:
        assert staged.temp_suffix is not None
        path = os.path.join(place.path, staged.shared.temp_prefix + staged.temp_suffix)
        note_leftovers(error, (path,), failure)


def remove_name(routine: Routine, save: PendingFile, error: BaseException) -> None:
    """Remove the temporary's name where a link has published the file, and the name may have stayed."""
    save.published = True
    temporary = save.temporary or ""
    try:
        routine.remove(save)
    except OSError as failure:
        note_leftovers(error, (os.path.join(save.where, temporary),), failure)
