"""The strategy layer: the one file that chooses how this operating system commits a file."""

from __future__ import annotations

import errno
import sys

from durably._errors import UnsupportedError
from durably._syscalls import Syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit._entries import Entries
    from durably._commit._routine import Routine
    from durably._commit._tree_routine import TreeRoutine

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
        from durably._commit._linux_trees import LinuxTrees

        return LinuxTrees(routine)  # type: ignore[arg-type] # by its name
    if routine.name == "macos":
        from durably._commit._macos_trees import MacOSTrees

        return MacOSTrees(routine)  # type: ignore[arg-type] # by its name
    if routine.name == "windows":
        from durably._commit._windows_trees import WindowsTrees

        return WindowsTrees(routine)  # type: ignore[arg-type] # by its name
    from durably._commit._trees import Trees

    return Trees(routine)  # type: ignore[arg-type] # by its name


def entries(routine: Routine) -> Entries:
    """How the routine's system works on names in open directories, for transactions."""
    if routine.name == "windows":
        from durably._commit._windows_names import WindowsEntries

        return WindowsEntries(routine)  # type: ignore[arg-type] # by its name
    from durably._commit import _entries

    by_name = {"linux": _entries.LinuxEntries, "macos": _entries.MacOSEntries}
    return by_name.get(routine.name, _entries.PosixEntries)(routine)  # type: ignore[arg-type] # by its name


def choose(platform: str) -> type[Routine]:
    """The routine for a ``sys.platform``."""
    if platform in ("linux", "android"):
        from durably._commit._linux import Linux

        return Linux
    if platform == "darwin":
        from durably._commit._macos import MacOS

        return MacOS
    if platform == "win32":
        from durably._commit._windows import Windows

        return Windows
    if platform.startswith(_BSD_AND_KIN):
        from durably._commit._posix import Posix

        return Posix
    message = f"durably has no commit routine for {platform!r}; nothing was written"
    raise UnsupportedError(errno.ENOTSUP, message)
