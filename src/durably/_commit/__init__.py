"""The strategy layer: the one file that chooses how this operating system commits a file."""

from __future__ import annotations

import errno
import sys

from durably._errors import UnsupportedError
from durably._system.syscalls import Syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.posix.dirops import DirectoryOperations
    from durably._commit.strategy import Routine
    from durably._commit.tree_strategy import TreeRoutine

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


def trees(routine: Routine) -> TreeRoutine:
    """How the routine's system saves whole directories."""
    if routine.name == "linux":
        from durably._commit.linux.tree import LinuxTrees

        return LinuxTrees(routine)  # type: ignore[arg-type] # by its name
    if routine.name == "macos":
        from durably._commit.macos.tree import MacOSTrees

        return MacOSTrees(routine)  # type: ignore[arg-type] # by its name
    if routine.name == "windows":
        from durably._commit.windows.tree import WindowsTrees

        return WindowsTrees(routine)  # type: ignore[arg-type] # by its name
    from durably._commit.posix.tree import Trees

    return Trees(routine)  # type: ignore[arg-type] # by its name


def entries(routine: Routine) -> DirectoryOperations:
    """How the routine's system works on names in open directories, for transactions."""
    if routine.name == "windows":
        from durably._commit.windows.dirops import WindowsDirectoryOperations

        return WindowsDirectoryOperations(routine)  # type: ignore[arg-type] # by its name
    from durably._commit.posix import dirops

    by_name = {"linux": dirops.LinuxDirectoryOperations, "macos": dirops.MacOSDirectoryOperations}
    return by_name.get(routine.name, dirops.PosixDirectoryOperations)(routine)  # type: ignore[arg-type] # by its name


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
