"""What a caller may name a store's object by: a URL, an OpenFile, a UPath, or a path with ``fs=``."""

from __future__ import annotations

import errno
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from durably._errors import UnsupportedError
from durably._stores.protocol import fail
from durably._stores.table import key, routine_of
from durably._types import resolve

try:
    fsspec: Any = import_module("fsspec")
except ImportError as missing:
    _MISSING = "names a store, and those are reached through fsspec, which is not installed"
    _REMEDY = "nothing was written; pip install 'durably[fsspec]'"
    raise UnsupportedError(errno.ENOTSUP, f"{_MISSING}; {_REMEDY}") from missing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durably._stores.store import Store
    from durably._types import SaveOptions

_ASYNCHRONOUS = "its file system was made with asynchronous=True, for coroutines alone; leave that out"


class Target:
    """One object of one store."""

    __slots__ = ("fs", "path", "routine", "url")

    def __init__(self, routine: type[Store], fs: Any, path: str, url: str) -> None:
        self.routine = routine
        self.fs = fs
        self.path = path
        self.url = url


def located(named: Any, options: SaveOptions, storage: Mapping[str, Any] | None, fs: Any) -> Target | str:
    """Find the store of what `durably.open` takes for one. ``options``: the others, checked before all else.

    A str: a path of the local files after all. Raises UnsupportedError, TypeError or ValueError, and
    what the client raises when it connects; nothing is written.
    """
    resolve(options)
    if fs is None and isinstance(named, str):
        target = _of_url(str.__str__(named), storage)  # an Enum's member shows its name, and means its value
        if isinstance(target, str) and storage:
            raise ValueError("storage_options go with a URL of a store, and this is a local file")
        return target
    if storage is not None:
        raise ValueError("storage_options go with a URL; what names its own file system takes none")
    if fs is None:
        return _of_object(named)
    if not isinstance(fs, fsspec.AbstractFileSystem):
        raise TypeError(f"fs must be a file system of fsspec, not {fs!r}")
    return _of_path(fs, os.fsdecode(named))  # pyright: ignore[reportUnknownArgumentType] # as given


def _of_url(url: str, storage: Mapping[str, Any] | None) -> Target | str:
    if "::" in url:
        raise _refused("names a store through other file systems: save to it directly", url)
    try:
        routine = _routine(fsspec.get_filesystem_class(fsspec.utils.get_protocol(url)), url)
    except (ImportError, ValueError) as error:
        raise _refused(f"names a store that fsspec cannot reach here ({error})", url) from error
    try:
        fs, path = fsspec.core.url_to_fs(url, **(storage or {}))
    except (TypeError, ValueError, ImportError):
        raise
    except Exception as error:  # noqa: BLE001 # raised again
        fail(error, url)  # it connects
    return _checked(routine, fs, path, url)


def _of_object(named: Any) -> Target | str:
    fs = named.fs
    if isinstance(named, fsspec.core.OpenFile):
        if named.compression is not None:
            raise _refused(
                "names a store with a compression: put the compressor over durably's file", named.full_name
            )
        url = str(named.full_name)
    else:
        url = str(named)
    return _checked(_routine(fs.__class__, url), fs, str(named.path), url)


def _of_path(fs: Any, path: str) -> Target | str:
    stripped = fs._strip_protocol(path)  # noqa: SLF001 # how fsspec's own clients ask
    url = str(fs.unstrip_protocol(stripped)) + "/" * (path.endswith("/") and not stripped.endswith("/"))
    return _checked(_routine(fs.__class__, url), fs, stripped, url)


def _routine(file_system: type, url: str) -> type[Store] | str:
    routine = routine_of(file_system)
    if routine is None:
        why = f"names a store that has no routine ({key(file_system)}); durably.stores.register takes one"
        raise _refused(why, url)
    return routine


def _checked(routine: type[Store] | str, fs: Any, path: str, url: str) -> Target | str:
    if isinstance(routine, str):
        return path  # local files
    reason = _ASYNCHRONOUS if getattr(fs, "asynchronous", False) else routine.check(fs)
    if reason:
        raise _refused(f"names a store that cannot be saved to atomically: {reason}", url)
    return Target(routine, fs, path, url)


def _refused(why: str, url: str) -> UnsupportedError:
    return UnsupportedError(errno.ENOTSUP, f"{why}; nothing was written", url)
