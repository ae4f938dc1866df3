"""What a save keeps in a directory, before anything is saved there."""

from __future__ import annotations

import os

from durably import _commit
from durably._api.dispatch import resolve_target
from durably._receipts import Guarantees, Promise
from durably._system.promises import promises

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from durably._file.paths import StrPath


def probe(path: StrPath, *, storage_options: Mapping[str, Any] | None = None, fs: Any = None) -> Guarantees:
    """Find out what a durable save to ``path`` keeps, and what the file system there supports.

    ``path``: a str, bytes or PathLike, or what names a store. An existing directory is looked at
    itself; for anything else, whether it exists or not, the directory that a save to it would use (a
    symbolic link is followed).

    The three promises come from a table, by operating system, type of file system and mount options;
    what is not in the table is "unknown". ``supports`` is measured: each thing is done in a private
    directory, which is removed again. It is empty where the directory cannot be written.

    Returns a `Guarantees`. Raises FileNotFoundError or NotADirectoryError where there is no such
    directory, PermissionError where it may be neither read nor written, UnsupportedError for an unknown
    operating system, TypeError for what is not a path, and OSError where the device fails. Nothing
    is left on the disk, unless that error itself says that a directory could not be removed.

    For a store (``storage_options``, ``fs``: see `durably.open`) the promises are its routine's, and it
    is asked nothing. UnsupportedError: durably has no routine for it.
    """
    text = resolve_target(path, {"storage_options": storage_options, "fs": fs})
    if not isinstance(text, str):
        from durably._stores import api

        return api.probe(text)
    routine = _commit.routine()
    directory, unflushed = routine.visit_directory(_directory(text))
    try:
        file_system = routine.file_system(directory)
        supports = routine.supports(directory)
    finally:
        routine.close_directory(directory)
    readers, crash, durable = promises(routine.name, file_system)
    if unflushed:
        durable = Promise("no", unflushed)
    return Guarantees(
        text,
        file_system.kind,
        file_system.options,
        routine.name,
        readers,
        crash,
        durable,
        supports,
    )


def _directory(path: str) -> str:
    if os.path.isdir(path):
        return path
    if os.path.islink(path):
        path = os.path.realpath(path)
    return os.path.dirname(path) or "."
