"""The mount table of Linux, read by mount number (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import time

from durably._system.promises import FileSystem

_MOUNTINFO = "/proc/self/mountinfo"
_FRESH_SECONDS = 1.0

_cache: dict[int, tuple[float, FileSystem]] = {}


def mount(number: int) -> FileSystem:
    """The file system of a mount. Remembered for a second: a save asks at each commit.

    Raises OSError where the mount table cannot be read. Unknown numbers are "unknown".
    """
    expires, known = _cache.get(number, (0.0, None))
    now = time.monotonic()
    if known is None or now >= expires:
        known = _read(number)
        _cache[number] = (now + _FRESH_SECONDS, known)
    return known


def below(path: str) -> list[str]:
    """The mount points at ``path`` or anywhere below it, bind mounts of the same device included.

    ``path``: absolute, as /proc/self/fd shows it. Raises OSError where the table cannot be read.
    """
    wanted = os.fsencode(path)
    with open(_MOUNTINFO, "rb") as file:
        points = [_unescaped(line.split()[4]) for line in file]
    return sorted(
        os.fsdecode(point) for point in points if point == wanted or point.startswith(wanted + b"/")
    )


def _unescaped(field: bytes) -> bytes:
    # Space, tab, newline, backslash and # are octal in the table (proc_pid_mountinfo(5)).
    first, *rest = field.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)


def _read(number: int) -> FileSystem:
    with open(_MOUNTINFO, "rb") as file:
        for line in file:
            before, _, after = line.partition(b" - ")
            fields = before.split()
            if int(fields[0]) == number:
                return _parsed(fields, after.split())
    return FileSystem("unknown")


def _parsed(fields: list[bytes], after: list[bytes]) -> FileSystem:
    of_mount = fields[5].decode("ascii", "replace").split(",")
    kind, _, *rest = (word.decode("utf-8", "replace") for word in after)
    of_super = rest[0].split(",") if rest else []
    return FileSystem(kind, tuple(dict.fromkeys(of_mount + of_super)), fields[2].decode("ascii"))
