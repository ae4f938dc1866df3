"""For your own tests: record the system calls of a save, and make any of them fail.

Does a program that saves its settings survive a full disk, at whatever moment it fills? Fail every
call in turn and look::

    import durably.testing

    def test_settings_survive_every_failure(tmp_path):
        for table in durably.testing.every_failure():
            path = tmp_path / "settings.json"
            path.write_text("old")
            try:
                save_settings(path)
            except OSError:
                pass
            assert path.read_text() in ("old", "new"), table.failed

Everything that durably does on the disk goes through the table, on every thread of the process.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from durably import _commit
from durably._system.syscalls import Syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

__all__ = ["ERRORS", "Call", "FailingSyscalls", "RecordingSyscalls", "Syscalls", "every_failure", "use"]

_COMMON = (errno.EIO, errno.EACCES)

#: The errno that each call is made to fail with by `every_failure`, by the name of the call.
ERRORS: dict[str, tuple[int, ...]] = {
    "open": (errno.EACCES, errno.ENOSPC, errno.EMFILE, errno.EROFS, errno.EIO),
    "close": (errno.EIO, errno.ENOSPC),
    "dup": (errno.EMFILE,),
    "read": (errno.EIO,),
    "write": (errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.EIO, errno.EIO),
    "ftruncate": (errno.EIO,),
    "fsync": (errno.EIO, errno.ENOSPC, errno.EINVAL),
    "replace": (errno.EACCES, errno.EBUSY, errno.EXDEV, errno.EIO),
    "link": (errno.EPERM, errno.EMLINK, errno.EIO),
    "unlink": (errno.EACCES, errno.EIO),
    "renameat2": (errno.EINVAL, errno.ENOSYS, errno.EIO),
    "fchown": (errno.EPERM, errno.EIO),
    "fchmod": (errno.EPERM, errno.EIO),
    "flock": (errno.ENOLCK, errno.EIO),
    "setxattr": (errno.ENOTSUP, errno.ENOSPC),
    "sync_file_range": (errno.ENOSYS, errno.EIO),
    "fcntl": (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY, errno.EIO),
}

_PASSIVE = frozenset({"sleep", "clock"})


class Call(NamedTuple):
    """One call that went through the table.

    ``name``: str, as the table has it ("write").
    ``arguments``, ``keywords``: tuple and dict, what it was given.
    """

    name: str
    arguments: tuple[object, ...]
    keywords: dict[str, object]

    def __str__(self) -> str:
        arguments = [*map(repr, self.arguments), *(f"{k}={v!r}" for k, v in self.keywords.items())]
        return f"{self.name}({', '.join(arguments)})"


class RecordingSyscalls(Syscalls):
    """A table that writes down every call, in ``record``, a list of `Call`, and lets it pass.

    ``base``: the table whose functions are called; by default the system's own.
    """

    def __init__(self, base: Syscalls | None = None) -> None:
        super().__init__()
        self.record: list[Call] = []
        for name, function in vars(base or Syscalls()).items():
            setattr(self, name, function if name in _PASSIVE else self._watched(name, function))

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: object, **keywords: object) -> object:
            self.record.append(Call(name, arguments, keywords))
            self._before(name, arguments, keywords, function)
            return function(*arguments, **keywords)

        return watched

    def _before(
        self,
        name: str,
        arguments: tuple[object, ...],
        keywords: dict[str, object],
        function: Callable[..., Any],
    ) -> None:
        """Called before each call; may raise in its place."""

    @property
    def names(self) -> list[str]:
        """The names of the calls so far."""
        return [call.name for call in self.record]


class FailingSyscalls(RecordingSyscalls):
    """A table whose N-th call fails.

    ``at``: the number of the call that fails, from 1; 0 for none.
    ``error``: the errno that it fails with.
    ``forever``: whether every later call of the same name fails as well.
    ``base``: the table whose functions are called otherwise.

    ``failed`` is the `Call` that failed first, or None. A ``close`` that fails has closed, as on Linux.
    """

    def __init__(
        self,
        at: int = 0,
        error: int = errno.EIO,
        *,
        forever: bool = False,
        base: Syscalls | None = None,
    ) -> None:
        super().__init__(base)
        self.at = at
        self.error = error
        self.forever = forever
        self.failed: Call | None = None

    def _before(
        self,
        name: str,
        arguments: tuple[object, ...],
        keywords: dict[str, object],
        function: Callable[..., Any],
    ) -> None:
        number = len(self.record)
        again = self.forever and self.failed is not None and name == self.failed.name
        if number != self.at and not again:
            return
        self.failed = self.failed or self.record[-1]
        if name in ("close", "close_handle"):
            function(*arguments, **keywords)
        raise OSError(self.error, f"{os.strerror(self.error)} (injected)")


@contextmanager
def use(calls: Syscalls, system: str = sys.platform) -> Generator[None]:
    """Save through this table for the length of the block, in the whole process.

    ``calls``: the table: a `RecordingSyscalls`, a `FailingSyscalls`, or one of your own.
    ``system``: the ``sys.platform`` whose routine is used; by default the running one.
    """
    before = _commit.active()
    _commit.use(_commit.choose(system)(calls))
    try:
        yield
    finally:
        _commit.use(before)


def every_failure(
    errors: Mapping[str, tuple[int, ...]] | None = None,
    *,
    system: str = sys.platform,
    base: Syscalls | None = None,
) -> Iterator[FailingSyscalls]:
    """Run the loop's body again and again, each time with another call that fails.

    The first turn fails nothing, and shows which calls the body makes. Then each of them fails with
    each errno that ``errors`` (by default `ERRORS`; EIO and EACCES for others) lists for it, once and
    for ever. Yields the table of the turn: ``table.failed`` is the call that failed, None in the
    first turn.
    """
    table = FailingSyscalls(base=base)
    with use(table, system):
        yield table
    listed = ERRORS if errors is None else errors
    for number, name in enumerate(table.names, 1):
        for error in listed.get(name, _COMMON):
            for forever in (False, True):
                table = FailingSyscalls(number, error, forever=forever, base=base)
                with use(table, system):
                    yield table
