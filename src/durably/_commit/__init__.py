"""The strategy layer: the one file that chooses how this operating system commits.

What it chooses, once, is a `Routine`, which saves files, and gives what saves directories (`Routine.trees`)
and what works on names in open directories (`Routine.directory_operations`).
"""

from __future__ import annotations

import errno
import sys

from durably._errors import UnsupportedError
from durably._system.syscalls import Syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.strategy import Routine

_BSD_AND_KIN = ("freebsd", "netbsd", "openbsd", "dragonfly", "sunos", "cygwin")

_active: Routine | None = None


def routine() -> Routine:
    """The routine in use, chosen at the first save. Raises UnsupportedError on an unknown system."""
    return _active or use(choose(sys.platform)(Syscalls()))


def active() -> Routine | None:
    """The routine in use; None before the first save."""
    return _active


def use(new: Routine | None) -> Routine:
    """Put a routine in place for the whole process, as `durably.testing` does; None: choose anew."""
    global _active
    _active = new
    return new or routine()


def choose(platform: str) -> type[Routine]:
    """The routine for a ``sys.platform``."""
    if platform in ("linux", "android"):
        from durably._commit.linux.strategy import Linux

        return Linux
    if platform == "darwin":
        from durably._commit.macos.strategy import MacOS

        return MacOS
    if platform == "win32":
        from durably._commit.windows.strategy import Windows

        return Windows
    if platform.startswith(_BSD_AND_KIN):
        from durably._commit.posix.strategy import Posix

        return Posix
    message = f"durably has no commit routine for {platform!r}; nothing was written"
    raise UnsupportedError(errno.ENOTSUP, message)
