"""Small saves: 4 KiB over an existing file, without flushes on a tmpfs and with both on ext4."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import durably
from calls import running
from places import ext4, memory, one_processor
from rounds import Ratio, Rounds, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from calls import Calls, Level, What

_CONTENT = b"x" * 4096
_BARE = "bare five calls, in C"
_SAME = "the same calls, in C"
_STRAIGHT = "the same calls, straight in Python"
_WRITE_BYTES = "durably.write_bytes"
_OPEN = 'durably.open("wb"), one write'
_RECIPE = "the classic recipe, in Python"
_PLAIN = "builtin open, not atomic"


def on_memory(rounds: int, count: int) -> list[Ratio]:
    """Replace 4 KiB on a tmpfs with durability "none", metadata preserved."""
    with one_processor(), memory() as (directory, place), running(directory) as calls:
        path = _target(directory)
        contenders = {
            _WRITE_BYTES: _repeat(lambda: durably.write_bytes(path, _CONTENT, durability="none"), count),
            _OPEN: _repeat(lambda: _streamed(path), count),
            _RECIPE: _repeat(lambda: _recipe(path), count),
            _PLAIN: _repeat(lambda: _plain(path), count),
        }
        if calls is not None and sys.platform == "linux":
            contenders[_STRAIGHT] = _repeat(_straight(directory), count)
            contenders[_BARE] = _in_c(calls, "bare", "none", directory, count)
            contenders[_SAME] = _in_c(calls, "same", "none", directory, count)
        measured = Rounds(f"4 KiB replace, {place}, none", contenders, rounds)
    if calls is None:
        return [measured.ratio(_WRITE_BYTES, _RECIPE), measured.ratio(_OPEN, _RECIPE)]
    return [
        measured.ratio(_WRITE_BYTES, _SAME, Target(1.35)),
        measured.ratio(_WRITE_BYTES, _BARE, Target(1.65)),
        measured.ratio(_OPEN, _BARE, Target(2.5)),
        measured.ratio(_SAME, _BARE),
        measured.ratio(_STRAIGHT, _BARE),
        measured.ratio(_RECIPE, _BARE),
        measured.ratio(_PLAIN, _BARE),
    ]


def on_ext4(parent: Path, rounds: int, count: int) -> list[Ratio]:
    """Replace 4 KiB on ext4, flushed to the end."""
    with ext4(parent) as (directory, place), memory() as (built, _), running(built) as calls:
        path = _target(directory)
        contenders = {_WRITE_BYTES: _repeat(lambda: durably.write_bytes(path, _CONTENT), count)}
        if calls is not None:
            contenders[_SAME] = _in_c(calls, "same", "durable", directory, count)
            contenders[_BARE] = _in_c(calls, "bare", "durable", directory, count)
        measured = Rounds(f"4 KiB replace, {place}, durable", contenders, rounds)
    if calls is None:
        return []
    return [
        measured.ratio(_WRITE_BYTES, _SAME, Target(1.05)),
        measured.ratio(_WRITE_BYTES, _BARE),
    ]


def _target(directory: Path) -> str:
    path = directory / "target"
    path.write_bytes(_CONTENT)
    return str(path)


def _repeat(save: Callable[[], object], count: int) -> Callable[[], float]:
    def contender() -> float:
        start = time.perf_counter()
        for _ in range(count):
            save()
        return (time.perf_counter() - start) / count

    return contender


def _in_c(calls: Calls, what: What, level: Level, directory: Path, count: int) -> Callable[[], float]:
    return lambda: calls.save(what, level, directory, count)


def _streamed(path: str) -> None:
    with durably.open(path, "wb", durability="none") as file:
        file.write(_CONTENT)


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
        os.write(new, _CONTENT)
        os.close(new)
        os.replace(name, "target", src_dir_fd=entry, dst_dir_fd=entry)
        os.close(entry)

    return save


def _recipe(path: str) -> None:
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with open(fd, "wb") as file:
            file.write(_CONTENT)
            file.flush()
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _plain(path: str) -> None:
    with open(path, "wb") as file:
        file.write(_CONTENT)
