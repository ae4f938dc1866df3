"""Every way in which durably saves, as `writer(path, data)`."""

from __future__ import annotations

import os

import durably
from durably import Durability


def one_shot(path: str, data: bytes) -> None:
    """`write_bytes`, durable."""
    durably.write_bytes(path, data)


def one_shot_consistent(path: str, data: bytes) -> None:
    """`write_bytes`, whole after a cut, but perhaps old."""
    durably.write_bytes(path, data, durability="consistent")


def one_shot_none(path: str, data: bytes) -> None:
    """`write_bytes` with no promise about a cut."""
    durably.write_bytes(path, data, durability="none")


def create(path: str, data: bytes) -> None:
    """`write_bytes`, where nothing may be replaced."""
    durably.write_bytes(path, data, overwrite=False)


def tree(path: str, data: bytes) -> None:
    """`write_bytes` into directories that are not there yet."""
    durably.write_bytes(path, data, make_parents=True)


def stream(path: str, data: bytes) -> None:
    """`open`, in several writes."""
    _poured(path, data, Durability.DURABLE)


def stream_consistent(path: str, data: bytes) -> None:
    """`open`, whole after a cut, but perhaps old."""
    _poured(path, data, Durability.CONSISTENT)


def stream_create(path: str, data: bytes) -> None:
    """`open` with mode x."""
    with durably.open(path, "xb") as file:
        file.write(data)


def append(path: str, data: bytes) -> None:
    """`open` with mode a."""
    with durably.open(path, "ab") as file:
        file.write(data)


def staged(path: str, data: bytes) -> None:
    """`staged_path`, written by the builtin open."""
    with durably.staged_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def _poured(path: str, data: bytes, durability: Durability) -> None:
    with durably.open(path, "wb", buffering=8192, durability=durability) as file:
        for start in range(0, len(data), 100_000):
            file.write(data[start : start + 100_000])


#: The flag of open(2) that is refused to have streams use a named temporary.
UNNAMED = getattr(os, "O_TMPFILE", 0)
