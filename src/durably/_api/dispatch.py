"""What a caller named: a file of this machine, or an object of a store."""

from __future__ import annotations

from durably._file.paths import as_text, is_remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._file.paths import StrPath
    from durably._stores.target import Target
    from durably._types import SaveOptions


def is_local(path: StrPath, options: SaveOptions) -> bool:
    """Whether a file of this machine is named, as far as can be told without fsspec."""
    if options and (options.get("storage_options") is not None or options.get("fs") is not None):
        return False
    return (type(path) is str and "://" not in path) or not is_remote(path)


def resolve_target(path: StrPath, options: SaveOptions) -> str | Target:
    """A local path as text, or the object of a store, whose client may connect for it.

    Takes ``storage_options`` and ``fs`` out of the options. Raises TypeError for what is no path, and
    UnsupportedError where a store has no routine or fsspec is not installed.
    """
    if type(path) is str and "://" not in path and "fs" not in options and "storage_options" not in options:
        return path
    here = is_local(path, options)
    storage, fs = options.pop("storage_options", None), options.pop("fs", None)
    if here:
        return as_text(path)
    from durably._stores.target import located

    return located(path, options, storage, fs)
