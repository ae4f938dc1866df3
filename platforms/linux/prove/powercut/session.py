"""What a workload is given: a directory on the disk, contents to save, and marks around each save."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import contextmanager, nullcontext
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import durably.testing
from durably import NotDurableError

from . import system
from .history import ABSENT, digest_of, digest_of_all
from .noise import Noise, NoisyCalls, around

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    Writer = Callable[..., object]

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
        return self._act([number], lambda: writer(os.path.join(self.root, name), data))

    def save_all(
        self, contents: Mapping[str, bytes | None], act: Callable[[], object], *, together: bool
    ) -> bool:
        """Have one act save several files. False: it said that it could not.

        ``contents``: by name; None: the file is removed. ``together``: True: all or none, also after a
        crash; the names must then be the same in each call, those that stay as they are included. False:
        each for itself; after a failure each may be old or new.
        """
        digests = {name: ABSENT if data is None else digest_of(data) for name, data in contents.items()}
        if together:
            label = "+".join(sorted(digests))
            number = self._begin(
                label, digest_of_all(digests), durable=self._durable, members=sorted(digests)
            )
            return self._act([number], act)
        numbers = [self._begin(name, digest, durable=self._durable) for name, digest in digests.items()]
        return self._act(numbers, act, partly=True)

    def save_tree(self, name: str, contents: Mapping[str, bytes], writer: Writer) -> bool:
        """Have ``writer(path, contents)`` put a whole directory in place. False: it said that it could not.

        ``contents``: by path within the directory.
        """
        digest = digest_of_all({path: digest_of(data) for path, data in contents.items()})
        number = self._begin(name, digest, durable=self._durable)
        return self._act([number], lambda: writer(os.path.join(self.root, name), contents))

    def _act(self, numbers: list[str], act: Callable[[], object], *, partly: bool = False) -> bool:
        durable = True
        try:
            act()
        except NotDurableError:
            durable = False
        except OSError as error:
            if error.errno not in _FULL and not self.tolerant:
                raise
            for number in numbers if not partly else ():
                self.mark("failed", id=number)
            return False
        for number in numbers:
            self.mark("done", id=number, durable=durable)
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
        self._act([number], lambda: os.unlink(os.path.join(self.root, name)))

    def sweep(self) -> None:
        """Sweep up in the directory."""
        try:
            durably.sweep(self.root, older_than=0)
        except OSError:
            if not self.tolerant:
                raise

    def _begin(self, name: str, digest: str, *, durable: bool, **more: object) -> str:
        self._noise.begin()
        self._count += 1
        number = f"{os.getpid()}.{self._count}"
        self.mark("start", id=number, path=name, digest=digest, durable=durable, **more)
        return number

    def mark(self, event: str, **content: object) -> None:
        """Write a mark into the disk's log."""
        os.pwrite(self._mark, json.dumps({"event": event, **content}).encode(), 0)

    def share(self, number: int, work: Callable[[int], object]) -> None:
        """Run so many processes at the same time, each told its number. Raises RuntimeError if one fails."""
        processes = [system.child(partial(work, each)) for each in range(number)]
        for process in processes:
            system.wait(process, "a concurrent writer")


@contextmanager
def noisy(noise: Noise, *, refused: int = 0) -> Generator[None]:
    """The context in which a writer runs: durably through its table, others watched from outside."""
    with durably.testing.use(NoisyCalls(noise, refused)), around(noise) if noise.loud else nullcontext():
        yield
