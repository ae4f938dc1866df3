"""What a workload is given: a directory on the disk, contents to save, and marks around each save."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import nullcontext
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import durably.testing
from durably import NotDurableError

from . import system
from .history import ABSENT, digest_of
from .noise import Noise, NoisyCalls, around

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Callable

    Writer = Callable[[str, bytes], object]

#: The sizes of the files: within a block, a block and a bit, many, and more than one write to the disk.
SIZES = (8, 100, 4096, 5000, 70_000, 300_000, 1 << 20)
_STEPS = 16
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Session:
    """One process's part in a workload.

    ``root``: the directory; ``mark``: a descriptor of the disk's marks; ``rounds``: how many saves the
    workload is to make; ``durable``: whether their return promises that nothing older comes back.
    """

    def __init__(self, root: str, mark: int, seed: int, rounds: int, noise: Noise, *, durable: bool) -> None:
        self.root = root
        self.rounds = rounds
        self.random = Random(seed)
        self._mark = mark
        self._noise = noise
        self._durable = durable
        self._count = 0
        self.tolerant = False
        """Whether a save may fail for any reason of the system's, not only for want of room."""

    def content(self, size: int | None = None) -> bytes:
        """A new content; no page of it occurs in any other. ``size``: in bytes; by default, a usual one."""
        size = self.random.choice(SIZES) if size is None else size
        pattern = os.urandom(max(16, min(size, 1 << 16)))
        return (pattern * (size // len(pattern) + 1))[:size]

    def save(self, name: str, data: bytes, writer: Writer, *, whole: bytes | None = None) -> bool:
        """Have a writer save a file of the directory. False: it said that it could not.

        ``data``: what the writer is given. ``whole``: what the file then holds; by default, the same.
        Raises whatever else goes wrong.
        """
        number = self._begin(name, digest_of(data if whole is None else whole), durable=self._durable)
        try:
            writer(os.path.join(self.root, name), data)
        except NotDurableError:
            self.mark("done", id=number, durable=False)
        except OSError as error:
            if error.errno not in _FULL and not self.tolerant:
                raise
            self.mark("failed", id=number)
            return False
        else:
            self.mark("done", id=number, durable=True)
        return True

    def save_killed(self, name: str, data: bytes, writer: Writer) -> None:
        """Have a writer save a file in a process that kills itself at some step, or gets done before."""

        def doomed() -> None:
            self._noise.last = self.random.randint(1, _STEPS)
            self.save(name, data, writer)

        os.waitpid(system.child(doomed), 0)
        self.random.random()  # the child drew from a copy

    def delete(self, name: str) -> None:
        """Remove a file of the directory. Nothing promises that it stays away."""
        number = self._begin(name, ABSENT, durable=False)
        os.unlink(os.path.join(self.root, name))
        self.mark("done", id=number, durable=False)

    def _begin(self, name: str, digest: str, *, durable: bool) -> str:
        self._noise.begin()
        self._count += 1
        number = f"{os.getpid()}.{self._count}"
        self.mark("start", id=number, path=name, digest=digest, durable=durable)
        return number

    def mark(self, event: str, **content: object) -> None:
        """Write a mark into the disk's log."""
        os.pwrite(self._mark, json.dumps({"event": event, **content}).encode(), 0)

    def share(self, number: int, work: Callable[[int], object]) -> None:
        """Run so many processes at the same time, each told its number. Raises RuntimeError if one fails."""
        processes = [system.child(partial(work, each)) for each in range(number)]
        for process in processes:
            system.wait(process, "a concurrent writer")


def noisy(noise: Noise, *, product: bool, refused: int = 0) -> Any:
    """The context in which a writer runs: the product through its table, others watched from outside."""
    if product:
        return durably.testing.use(NoisyCalls(noise, refused))
    return around(noise) if noise.loud else nullcontext()
