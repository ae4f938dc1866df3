"""Many small files: Batch, Transaction and staged_directory, beside the recipe in a loop and beside C.

On fresh file systems, so that an old root disk does not decide. All contenders of a figure run in each of
its rounds, each in a directory of its own, and the disk is quiet before each.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import durably
from calls import NO_COMPILER, running_many
from findings import Found, Target
from others import recipe
from places import KINDS, CannotError, drain, fresh, memory
from rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from calls import Many

    Save = Callable[[Path, int], object]

CONTENT = b"x" * 4096
BATCH = "durably.Batch"
TRANSACTION = "durably.Transaction"
TREE = "durably.staged_directory"
ONE_BY_ONE = "durably.write_bytes in a loop"
RECIPE = "the classic recipe in a loop"
SAME = "the batch's calls, in C"
FEW = 10
# Times faster than the recipe, with new files and with replaced ones.
_FASTER = {"ext4": (12.0, 10.0), "xfs": (8.0, 7.0), "btrfs": (15.0, 10.0)}


def batch(directory: Path, count: int) -> None:
    """Group commit."""
    with durably.Batch() as files:
        for number in range(count):
            files.write_bytes(f"{directory}/{number}", CONTENT)


def transaction(directory: Path, count: int) -> None:
    """All or none."""
    with durably.Transaction(directory) as files:
        for number in range(count):
            files.write_bytes(str(number), CONTENT)


def tree(directory: Path, count: int) -> None:
    """In one step."""
    with durably.staged_directory(directory) as staged:
        place = os.fspath(staged)
        for number in range(count):
            with open(f"{place}/{number}", "wb", buffering=0) as file:
                file.write(CONTENT)


def one_by_one(directory: Path, count: int) -> None:
    """Each for itself."""
    for number in range(count):
        durably.write_bytes(f"{directory}/{number}", CONTENT)


def recipes(directory: Path, count: int) -> None:
    """Each by the classic recipe."""
    for number in range(count):
        recipe(f"{directory}/{number}", CONTENT)


ENTRY_POINTS: dict[str, Save] = {
    BATCH: batch,
    TRANSACTION: transaction,
    TREE: tree,
    ONE_BY_ONE: one_by_one,
    RECIPE: recipes,
}


def on_each(parent: Path, rounds: int, count: int, kinds: tuple[str, ...] = KINDS) -> Found:
    """The figures of each file system."""
    found = Found()
    with memory() as (built, _), running_many(built) as program:
        if program is None:
            found.left_out.append(NO_COMPILER)
        for kind in kinds:
            try:
                with fresh(kind, parent) as place:
                    found += _thousand(kind, place, program, rounds, count)
                    found += _few(kind, place, rounds * 2)
            except CannotError as error:
                found.left_out.append(str(error))
    return found


def _thousand(kind: str, place: Path, program: Many | None, rounds: int, count: int) -> Found:
    """Those that take long are beside the batch in fewer rounds of their own."""
    found = Found()
    for replaced, faster in enumerate(_FASTER[kind]):

        def once(
            name: str, save: Save, *, where: Path = place, again: bool = bool(replaced)
        ) -> Callable[[], float]:
            return _once(where / f"{name}-{again:d}", save, count, replaced=again)

        figure = f"{count:,} files of 4 KiB, {'replaced' if replaced else 'new'}, fresh {kind}, durable"
        slow = {name: once(f"slow {name}", ENTRY_POINTS[name]) for name in (BATCH, ONE_BY_ONE, RECIPE)}
        measured = Rounds(figure, slow, rounds, seconds=30, warm=False)
        found.findings += [
            measured.ratio(RECIPE, BATCH, Target(faster, at_least=True)),
            measured.ratio(ONE_BY_ONE, BATCH),
        ]
        fast = {name: once(name, ENTRY_POINTS[name]) for name in (BATCH, TRANSACTION, TREE)}
        if program is not None:
            fast[SAME] = once("c", program.save)
        measured = Rounds(figure, fast, rounds * 3, seconds=15)
        found.findings += [
            measured.ratio(TRANSACTION, BATCH, Target(1.6)),
            measured.ratio(TREE, BATCH, Target(1.2)),
        ]
        if program is not None:
            found.findings.append(measured.ratio(BATCH, SAME, Target(1.3)))
    return found


def _few(kind: str, place: Path, rounds: int) -> Found:
    found = Found()
    for replaced in (False, True):
        contenders = {
            name: _once(place / f"few-{number}-{replaced}", save, FEW, replaced=replaced)
            for number, (name, save) in enumerate(((BATCH, batch), (TRANSACTION, transaction)))
        }
        what = f"{FEW} files of 4 KiB, {'replaced' if replaced else 'new'}, fresh {kind}, durable"
        measured = Rounds(what, contenders, rounds, seconds=10)
        found.findings.append(measured.ratio(TRANSACTION, BATCH, Target(2.2)))
    return found


def _once(directory: Path, save: Save, count: int, *, replaced: bool) -> Callable[[], float]:
    def contender() -> float:
        if directory.exists() and not replaced:
            shutil.rmtree(directory)
        if save is not tree:
            directory.mkdir(mode=0o755, exist_ok=True)
        drain(directory.parent)
        start = time.perf_counter()
        save(directory, count)
        return time.perf_counter() - start

    if replaced:
        directory.mkdir(mode=0o755, exist_ok=True)
        save(directory, count)
    return contender
