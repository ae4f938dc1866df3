"""Small saves: 4 KiB over an existing file, beside C, the recipe and other libraries; and by level."""

from __future__ import annotations

import itertools
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import counts
import durably
from calls import NO_COMPILER, running
from findings import Found, Target
from others import PLAIN, RECIPE, libraries, plain, recipe, recipe_unflushed
from places import KINDS, CannotError, drain, ext4_or_disk, fresh, memory, one_processor
from rounds import Rounds, repeated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rounds import Contender

CONTENT = b"x" * 4096
BARE = "bare five calls, in C"
SAME = "the same calls, in C"
STRAIGHT = "the same calls, straight in Python"
WRITE_BYTES = "durably.write_bytes"
OPEN = 'durably.open("wb"), one write'
BY_LEVEL = "levels"


def calls() -> Found:
    """Which system calls one save makes."""
    return counts.counts()


def on_memory(rounds: int, count: int) -> Found:
    """Replace 4 KiB on a tmpfs with durability "none", metadata preserved."""
    with one_processor(), memory() as (directory, place), running(directory) as program:
        path, figure = _target(directory), f"4 KiB replaced, {place}, none"
        contenders = {
            WRITE_BYTES: repeated(lambda: durably.write_bytes(path, CONTENT, durability="none"), count),
            OPEN: repeated(lambda: _streamed(path), count),
            RECIPE: repeated(lambda: recipe_unflushed(path, CONTENT), count),
            PLAIN: repeated(lambda: plain(path, CONTENT), count),
        }
        if program is None:
            measured = Rounds(figure, contenders, rounds)
            both = [measured.ratio(WRITE_BYTES, RECIPE), measured.ratio(OPEN, RECIPE)]
            return Found(both, left_out=[NO_COMPILER])
        if sys.platform == "linux":
            contenders[STRAIGHT] = repeated(_straight(directory), count)
        contenders[BARE] = lambda: program.save("bare", "none", directory, count)
        contenders[SAME] = lambda: program.save("same", "none", directory, count)
        measured = Rounds(figure, contenders, rounds)
        found = Found(
            [
                measured.ratio(WRITE_BYTES, SAME, Target(1.35)),
                measured.ratio(WRITE_BYTES, BARE, Target(1.65)),
                measured.ratio(OPEN, BARE, Target(2.5)),
                *(
                    measured.ratio(name, BARE)
                    for name in contenders
                    if name in (SAME, STRAIGHT, RECIPE, PLAIN)
                ),
            ]
        )
        found += _peers(figure, directory, contenders[BARE], rounds, count)
    return found


def on_disk(parent: Path, rounds: int, count: int) -> Found:
    """Replace 4 KiB on a fresh ext4, flushed to the end; on the disk at hand where none can be mounted."""
    with ext4_or_disk(parent) as (directory, place, why), memory() as (built, _), running(built) as program:
        path, figure = _target(directory), f"4 KiB replaced, {place}, durable"
        contenders = {
            WRITE_BYTES: repeated(lambda: durably.write_bytes(path, CONTENT), count),
            RECIPE: repeated(lambda: recipe(path, CONTENT), count),
        }
        if program is None:
            measured = Rounds(figure, contenders, rounds)
            return Found([measured.ratio(WRITE_BYTES, RECIPE)], left_out=[*why, NO_COMPILER])
        contenders[SAME] = lambda: program.save("same", "durable", directory, count)
        contenders[BARE] = lambda: program.save("bare", "durable", directory, count)
        measured = Rounds(figure, contenders, rounds)
        found = Found([measured.ratio(WRITE_BYTES, SAME, Target(1.05))], left_out=why)
        found.findings += [measured.ratio(name, BARE) for name in (WRITE_BYTES, RECIPE)]
        found += _peers(figure, directory, contenders[BARE], rounds, count)
    return found


def _peers(figure: str, directory: Path, bare: Contender, rounds: int, count: int) -> Found:
    """Other libraries, in rounds of their own: some leave to the next what they did not flush."""
    peers, missing = libraries()
    path = str(directory / "target")
    contenders = {
        name: _quiet(directory, repeated(partial(save, path, CONTENT), count)) for name, save in peers.items()
    }
    measured = Rounds(figure, {**contenders, BARE: _quiet(directory, bare)}, rounds)
    return Found([measured.ratio(name, BARE) for name in peers], left_out=missing)


def _quiet(directory: Path, contender: Contender) -> Contender:
    def drained() -> float:
        drain(directory)
        return contender()

    return drained


def levels(parent: Path, rounds: int, count: int, kinds: tuple[str, ...] = KINDS) -> Found:
    """What each level costs, on each file system."""
    found = Found()
    with memory() as (directory, place):
        found += _levels(directory, place, rounds, count)
    for kind in kinds:
        try:
            with fresh(kind, parent) as directory:
                found += _levels(directory, f"fresh {kind}", rounds, count)
        except CannotError as error:
            found.left_out.append(str(error))
    return found


def _levels(directory: Path, place: str, rounds: int, count: int) -> Found:
    path = _target(directory)
    contenders = {
        level.value: repeated(partial(durably.write_bytes, path, CONTENT, durability=level), count)
        for level in durably.Durability
    }
    contenders[PLAIN] = repeated(lambda: plain(path, CONTENT), count)
    measured = Rounds(f"levels, {place}", contenders, rounds, seconds=15)
    return Found(points=measured.points(BY_LEVEL, place, len(CONTENT)))


def _target(directory: Path) -> str:
    path = directory / "target"
    path.write_bytes(CONTENT)
    return str(path)


def _streamed(path: str) -> None:
    with durably.open(path, "wb", durability="none") as file:
        file.write(CONTENT)


def _straight(directory: Path) -> Callable[[], None]:
    """What CPython itself costs: the calls one after the other, and nothing decided between them."""
    path, names = str(directory), (f".durably-straight-{number:040}.tmp" for number in itertools.count())
    read = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    make = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

    def save() -> None:
        entry = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        old = os.open("target", read, dir_fd=entry)
        mode = os.fstat(old).st_mode & 0o777
        os.listxattr(old)
        os.close(old)
        name = next(names)
        new = os.open(name, make, mode, dir_fd=entry)
        os.fstat(new)
        os.listxattr(new)
        os.write(new, CONTENT)
        os.close(new)
        os.replace(name, "target", src_dir_fd=entry, dst_dir_fd=entry)
        os.close(entry)

    return save
