"""What Windows makes of a path: which names it gives to something else, and how long one may be."""

from __future__ import annotations

import errno
import os

from durably._errors import UnsupportedError

_MAX_PATH = 260
_TEMPORARY = 80  # characters of the longest temporary's name, with a separator
_PREFIX = "\\\\?\\"
_PORTS = (port + number for port in ("com", "lpt") for number in "0123456789\u00b9\u00b2\u00b3")
_DEVICES = frozenset(("con", "prn", "aux", "nul", "conin$", "conout$", *_PORTS))
_FORBIDDEN = frozenset('<>"|?*' + "".join(map(chr, range(1, 32))))


def split(path: str) -> tuple[str, str]:
    """The directory, absolute, and the last component of a path. Refuses what names no plain file.

    Raises FileNotFoundError for an empty path, IsADirectoryError for one that ends in a separator,
    UnsupportedError for a device, a stream, or a name that Windows would change, and OSError with
    errno EINVAL for a name that cannot be.
    """
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if path.replace("/", "\\").startswith("\\\\.\\"):
        raise _unsupported("is the path of a device", path)
    head, name = os.path.split(path)
    if name in ("", ".", ".."):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    _check(name, path)
    directory = os.path.abspath(head) if head else os.getcwd()
    return extended(directory, _TEMPORARY + len(name)), name


def extended(directory: str, room: int) -> str:
    r"""The directory's path, with ``\\?\`` before it where a name of ``room`` makes it too long."""
    if len(directory) + 1 + room < _MAX_PATH or directory.startswith(_PREFIX):
        return directory
    if directory.startswith("\\\\"):
        return f"{_PREFIX}UNC{directory[1:]}"
    return _PREFIX + directory if directory[1:3] == ":\\" else directory


def _check(name: str, path: str) -> None:
    if ":" in name:
        raise _unsupported("names a stream of another file", path)
    if not _FORBIDDEN.isdisjoint(name):
        message = "has a character that no name on Windows may have; nothing was written"
        raise OSError(errno.EINVAL, message, path)
    if path.startswith(_PREFIX):
        return  # taken literally
    if name[-1] in ". ":
        raise _unsupported("ends in a dot or a space, which Windows would drop from the name", path)
    if name.partition(".")[0].rstrip(" ").lower() in _DEVICES:
        raise _unsupported("is the name of a device on Windows", path)


def _unsupported(what: str, path: str) -> UnsupportedError:
    return UnsupportedError(errno.ENOTSUP, f"{what}; nothing was written", path)
