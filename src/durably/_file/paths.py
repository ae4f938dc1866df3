"""What a caller may name a target by."""

from __future__ import annotations

import errno
import os

from durably._errors import StoreNamedError

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

    Raises TypeError for what is not a path, and UnsupportedError for a URL: a ``str`` with a scheme
    of two or more letters and ``://``, or an object of fsspec or universal_pathlib that names a
    remote file. The doors that save to stores go on from that error.
    """
    if type(path) is not str:
        return _converted(path)
    if "://" in path and _is_url(path):
        raise _remote(path)
    return path


def _converted(path: StrPath) -> str:
    if isinstance(path, bytes):
        return os.fsdecode(path)
    # fsspec's OpenFile and universal_pathlib's paths have the file system they belong to.
    if hasattr(path, "fs") and getattr(path, "protocol", None) not in _LOCAL_PROTOCOLS:
        raise _remote(path)
    if isinstance(path, str):
        return local(_plain(path))
    named: os.PathLike[str] = path  # type: ignore[assignment] # TypeError for what is no path
    return _plain(os.fsdecode(os.fspath(named)))


def _plain(path: str) -> str:
    # Not str(path): a member of a (str, Enum) shows itself by its name, and open() takes its value.
    return str.__str__(path)


def _is_url(path: str) -> bool:
    scheme = path.partition("://")[0]
    return len(scheme) > 1 and scheme[0].isalpha() and _SCHEME.issuperset(scheme)


def _remote(path: object) -> StoreNamedError:
    message = (
        "names a store, which has no way to do this in one step; save single objects there, and many that "
        "belong together through a table format (Delta Lake, Apache Iceberg); nothing was written"
    )
    if str(path).startswith(_LOCAL_URLS):
        message = "is a URL, and a local directory is named by its path here; nothing was written"
    return StoreNamedError(errno.ENOTSUP, message, str(path))
