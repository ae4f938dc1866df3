"""The durable file system beside fsspec's own, and beside a save without fsspec."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import durably
from findings import Found, Target
from places import ext4_or_disk, memory, one_processor
from rounds import Rounds, repeated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CONTENT = b"x" * 4096
_FILES = 1000
_PIPE = "durable pipe_file"
OPEN = 'durable open("wb"), one write'
_STOCK_PIPE = "fsspec's own pipe_file"
STOCK_OPEN = 'fsspec\'s own open("wb"), one write'
_WRITE_BYTES = "durably.write_bytes"
TRANSACTION = "fs.transaction"
ONE_BY_ONE = "one by one"
_MISSING = "the file system for fsspec: fsspec is not installed"


def on_memory(rounds: int, count: int) -> Found:
    """Replace 4 KiB on a tmpfs with durability "none"."""
    made = _file_systems("none")
    if made is None:
        return Found(left_out=[_MISSING])
    own, durable = made
    with one_processor(), memory() as (directory, place):
        path = _target(directory)
        contenders = {
            _PIPE: repeated(lambda: durable.pipe_file(path, _CONTENT), count),
            OPEN: repeated(lambda: _opened(durable, path), count),
            _STOCK_PIPE: repeated(lambda: own.pipe_file(path, _CONTENT), count),
            STOCK_OPEN: repeated(lambda: _opened(own, path), count),
        }
        measured = Rounds(f"fsspec, 4 KiB replaced, {place}, none", contenders, rounds)
    return Found(
        [
            measured.ratio(_PIPE, _STOCK_PIPE, Target(2)),
            measured.ratio(OPEN, STOCK_OPEN, Target(2.5)),
        ]
    )


def on_disk(parent: Path, rounds: int, count: int) -> Found:
    """Replace 4 KiB on ext4, flushed to the end."""
    made = _file_systems("durable")
    if made is None:
        return Found(left_out=[_MISSING])
    _, durable = made
    with ext4_or_disk(parent) as (directory, place, why):
        path = _target(directory)
        contenders = {
            _PIPE: repeated(lambda: durable.pipe_file(path, _CONTENT), count),
            _WRITE_BYTES: repeated(lambda: durably.write_bytes(path, _CONTENT), count),
        }
        measured = Rounds(f"fsspec, 4 KiB replaced, {place}, durable", contenders, rounds)
    return Found([measured.ratio(_PIPE, _WRITE_BYTES, Target(1.1))], left_out=why)


def transactions(parent: Path, rounds: int, files: int = _FILES) -> Found:
    """Many files of 4 KiB in one transaction, and one by one with DURABLE."""
    made = _file_systems("durable")
    if made is None:
        return Found(left_out=[_MISSING])
    _, durable = made
    with ext4_or_disk(parent) as (directory, place, why):
        found = Found(left_out=why)
        for state in ("new", "replaced"):
            number = 0

            def somewhere(state: str = state) -> list[str]:
                nonlocal number
                number += 1
                where = directory / (f"{state}{number}" if state == "new" else state)
                where.mkdir(exist_ok=True)
                return [str(where / f"{each:04}") for each in range(files)]

            contenders = {
                TRANSACTION: lambda: _timed(lambda paths: _in_transaction(durable, paths), somewhere()),
                ONE_BY_ONE: lambda: _timed(lambda paths: _one_by_one(durable, paths), somewhere()),
            }
            measured = Rounds(
                f"fsspec, {files:,} files of 4 KiB, {state}, {place}, durable", contenders, rounds, seconds=40
            )
            found.findings.append(measured.ratio(ONE_BY_ONE, TRANSACTION, Target(5, at_least=True)))
    return found


def _file_systems(level: str) -> tuple[Any, Any] | None:
    try:
        from fsspec.implementations.local import LocalFileSystem

        from durably.filesystem import DurableFileSystem
    except ImportError:
        return None
    return LocalFileSystem(), DurableFileSystem(durability=level)


def _target(directory: Path) -> str:
    path = directory / "target"
    path.write_bytes(_CONTENT)
    return str(path)


def _timed(save: Callable[[list[str]], None], paths: list[str]) -> float:
    start = time.perf_counter()
    save(paths)
    return (time.perf_counter() - start) / len(paths)


def _opened(fs: Any, path: str) -> None:
    with fs.open(path, "wb") as file:
        file.write(_CONTENT)


def _in_transaction(fs: Any, paths: list[str]) -> None:
    with fs.transaction:
        _one_by_one(fs, paths)


def _one_by_one(fs: Any, paths: list[str]) -> None:
    for path in paths:
        fs.pipe_file(path, _CONTENT)
