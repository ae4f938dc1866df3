"""What a file in a transaction may be named by."""

from __future__ import annotations

import errno
import os

from durably._file.paths import local
from durably._system import temp_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._file.paths import StrPath

    Parts = tuple[str, ...]

_SEPARATORS = os.sep + (os.altsep or "")


def parts_below(root: str, path: StrPath) -> Parts:
    """The components of a path below a root, which is absolute. A relative path is seen from the root.

    Raises ValueError for a path outside the root, with "..", or of the journal, and IsADirectoryError
    for the root itself or a path that ends in a separator.
    """
    text = local(path)
    if not text:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
    # isabs alone does not tell: since Python 3.13 "\\x" is not absolute on Windows.
    below = _relative(root, text) if text[0] in _SEPARATORS or os.path.isabs(text) else text
    if os.path.splitdrive(below)[0]:  # needs windows
        raise ValueError(f"{text!r} has a drive, and does not lie under the root {root!r}")
    found = split(below)
    if ".." in found:
        raise ValueError(f"{text!r} has a '..', and no path of a transaction may leave its root")
    if not found or text[-1] in _SEPARATORS or text.endswith(("/.", os.sep + ".")):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), text)
    if found[-1] in (temp_names.JOURNAL, temp_names.LOCK):
        raise ValueError(f"{text!r} has a name that durably keeps for itself")
    return found


def split(path: str) -> Parts:
    """The components of a path, without the empty and the dots."""
    for separator in _SEPARATORS:
        path = path.replace(separator, "/")
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _relative(root: str, path: str) -> str:
    above, given = split(root), split(path)
    below = os.path.normcase("/".join(given[: len(above)])) == os.path.normcase("/".join(above))
    if not below or _drive(root) != _drive(path):
        raise ValueError(f"{path!r} does not lie under the root {root!r}")
    return "/".join(given[len(above) :])


def _drive(path: str) -> str:
    return os.path.normcase(os.path.splitdrive(path)[0])
