"""Commits of the file system between a writer's own steps.

An order of steps that is wrong shows only if the file system commits between two of them. Left alone
it seldom does. But a commit also flushes what the writer forgot to flush, and so hides it: one or two a
save are right, and some runs have none.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import sys
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from durably.testing import RecordingSyscalls

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

_START_SYNC, _WAIT_SYNC = 0x80089418, 0x40089416
_PER_SAVE = 1.5
_FIRST_GUESS = 12
_libc = ctypes.CDLL(None, use_errno=True)
# What a program calls that changes the disk: the names of the functions as Python knows them.
_OPENING = {"open", "mkdir", "mkstemp", "link", "symlink"}
_WRITING = {
    "write",
    "writelines",
    "flush",
    "truncate",
    "ftruncate",
    "sendfile",
    "fsync",
    "fdatasync",
    "close",
}
_MOVING = {"replace", "rename", "unlink", "remove", "chmod", "fchmod", "utime"}
_STEPS = _OPENING | _WRITING | _MOVING


class Noise:
    """Commits the file system of a directory at random steps.

    ``directory``: where a file of the noise's own lies. ``kind``: of the file system.
    ``loud``: False: never. ``seed``: of when.
    """

    def __init__(self, directory: str, kind: str, *, loud: bool, seed: int) -> None:
        self._random = Random(seed)
        self.loud = loud
        self.last = 0
        """The step at which the process kills itself; 0: none."""
        self._busy = False
        self._steps = 0
        self._usual = _FIRST_GUESS
        self._fd = os.open(os.path.join(directory, "noise"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._ways = [self._sync_other_file, self._sync_all]
        if kind == "btrfs":
            # A commit that writes no data out: the one kind that shows a missing flush there.
            self._ways = [self._commit_only, self._commit_only, self._sync_all]

    def begin(self) -> None:
        """A save begins."""
        self._usual = self._steps or self._usual
        self._steps = 0

    def step(self) -> None:
        """A step of the writer is done, or is about to be."""
        if self._busy:
            return
        self._steps += 1
        if self._steps == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.loud and self._random.random() < min(0.5, _PER_SAVE / self._usual):
            self._busy = True
            try:
                self._random.choice(self._ways)()
            except OSError as error:
                if error.errno != errno.ENOSPC:  # some workloads fill the disk
                    raise
            finally:
                self._busy = False

    def close(self) -> None:
        """Let go of the file system."""
        os.close(self._fd)

    def _sync_other_file(self) -> None:
        os.pwrite(self._fd, os.urandom(16), 0)
        os.fsync(self._fd)

    def _sync_all(self) -> None:
        if _libc.syncfs(self._fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs")

    def _commit_only(self) -> None:
        os.pwrite(self._fd, os.urandom(16), 0)
        transaction = bytearray(8)
        fcntl.ioctl(self._fd, _START_SYNC, transaction)
        fcntl.ioctl(self._fd, _WAIT_SYNC, bytes(transaction))


class NoisyCalls(RecordingSyscalls):
    """The product's table of calls, with noise before each."""

    def __init__(self, noise: Noise, refused: int = 0) -> None:
        super().__init__()
        self._noise = noise
        self._refused = refused

    def _before(
        self,
        name: str,
        arguments: tuple[Any, ...],
        keywords: dict[str, object],  # noqa: ARG002 # as in the base class
        function: Callable[..., Any],  # noqa: ARG002
    ) -> None:
        self.record.clear()
        self._noise.step()
        if name == "open" and self._refused and arguments[1] & self._refused == self._refused:
            raise OSError(errno.EOPNOTSUPP, "refused by the rig")


@contextmanager
def around(noise: Noise) -> Generator[None]:
    """Make noise after each step of whatever runs in the block, without its help.

    Durably's own calls are left to the table, which makes noise before each.
    """

    def watch(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_return" and getattr(function, "__name__", "") in _STEPS and not _is_ours(frame):
            noise.step()

    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(None)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "durably"
