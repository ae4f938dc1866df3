"""What a forked child must do with the writers of its parent: close them, and nothing else."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from durably._commit.pending import PendingFile
    from durably._commit.strategy import Routine
    from durably._file.stream import Channel

generation: int = 0
"""How many forks lie between this process and the one that imported durably."""

_live: dict[int, tuple[Channel | None, Routine, PendingFile]] = {}
_many: dict[int, Callable[[], None]] = {}


def watch(channel: Channel | None, routine: Routine, save: PendingFile) -> None:
    """Remember a save that is open, and the channel of its file."""
    _live[id(save)] = channel, routine, save


def forget(save: PendingFile) -> None:
    """The save is decided."""
    _live.pop(id(save), None)


def register_group(owner: object, let_go: Callable[[], None]) -> None:
    """Remember what holds many files open, and how it closes them, without waiting for a lock."""
    _many[id(owner)] = let_go


def unregister_group(owner: object) -> None:
    """It holds none any more."""
    _many.pop(id(owner), None)


def _in_child() -> None:
    global generation
    generation += 1
    for channel, routine, save in _live.values():
        if channel is not None:
            channel.detach()  # first: what is buffered must not be flushed into the parent's temporary
        routine.release(save)
    _live.clear()
    for let_go in list(_many.values()):
        let_go()
    _many.clear()


_register = getattr(os, "register_at_fork", None)  # Windows has no fork
if _register is not None:
    _register(after_in_child=_in_child)
