"""What a caller may name a target by."""

from __future__ import annotations

import errno
import os

from durably._errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Located(Protocol):
        """What names a file system of fsspec and a path there: its OpenFile, or a UPath."""

        @property
        def fs(self) -> Any: ...
        @property
        def path(self) -> str: ...

    StrPath = str | bytes | os.PathLike[str] | os.PathLike[bytes] | Located

_SCHEME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-:")
_LOCAL_PROTOCOLS = ("", "file", "local")
_LOCAL_URLS = ("file:", "local:", "durable:")


def local(path: StrPath) -> str:
    """The path as text, bytes that are not valid in the file system's encoding as surrogates.

    Raises TypeError for what is not a path, and UnsupportedError for what names a store: see `is_remote`.
    """
    if type(path) is str and "://" not in path:
        return path
    if is_remote(path):
        raise _remote(path)
    return as_text(path)


def as_text(path: StrPath) -> str:
    """A local path as text."""
    named: os.PathLike[str] = path  # type: ignore[assignment] # TypeError for what is no path
    return _plain(os.fsdecode(named))


def is_remote(path: StrPath) -> bool:
    """Whether a store is named: by a URL, or an object of fsspec or universal_pathlib."""
    # Those have the file system they belong to.
    if hasattr(path, "fs") and getattr(path, "protocol", None) not in _LOCAL_PROTOCOLS:
        return True
    return isinstance(path, str) and is_url(path)


def is_url(path: str) -> bool:
    """Whether a text has a scheme of two or more letters and ``://``."""
    scheme, colon, _ = path.partition("://")
    return bool(colon) and len(scheme) > 1 and scheme[0].isalpha() and _SCHEME.issuperset(scheme)


def _plain(path: str) -> str:
    # Not str(path): a member of a (str, Enum) shows itself by its name, and open() takes its value.
    return str.__str__(path)


def _remote(path: object) -> UnsupportedError:
    message = (
        "names a store, which has no way to do this in one step; save single objects there, and many that "
        "belong together through a table format (Delta Lake, Apache Iceberg); nothing was written"
    )
    named = _plain(path) if isinstance(path, str) else str(path)
    if named.startswith(_LOCAL_URLS):
        message = "is a URL, and a local directory is named by its path here; nothing was written"
    return UnsupportedError(errno.ENOTSUP, message, named)
