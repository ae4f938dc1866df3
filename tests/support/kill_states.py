"""What a killed save may leave."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import durably
import entry_points
from entry_points import EntryPoint, prepare, read

if TYPE_CHECKING:
    from pathlib import Path


STRANGERS = {".durably-f-1-2-3-4-5.tmp", ".durably-notes.tmp", ".durably-f.tmp~"}


_NEXT = b"the next save\n"


def _check_left(entry_point: EntryPoint, path: Path, old: bytes | None, told: object) -> set[str]:
    """After a kill: the target is whole, the rest is removed by a sweep, the next save works."""
    content = read(path)
    assert content in (old, entry_point.content(old)), told
    left = entry_points.beside(path) - STRANGERS
    assert all(map(entry_points.is_temporary, left)), (told, left)
    swept = durably.sweep(path.parent, older_than=0)
    assert {os.path.basename(each.path) for each in swept} == left, told
    assert all(each.removed for each in swept), (told, swept)
    assert entry_points.beside(path) == STRANGERS, told
    assert read(path) == content, told
    if entry_point.states != ("new",):
        entry_point.save(path, _NEXT)
        assert read(path) == entry_point.content(content, _NEXT), told
    return left


def _prepared(path: Path, state: str) -> bytes | None:
    old = prepare(path, state)
    for stranger in STRANGERS:
        (path.parent / stranger).write_bytes(b"")
    return old
