"""The life of one object of a batch that is written piece by piece."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from durably._batch.writer import BatchWriter
from durably._stores.spool import Spool
from durably._system import fork

if TYPE_CHECKING:
    from durably._file.modes import Mode
    from durably._stores.batch import Objects, Waiting


def _made(path: str, how: Mode) -> Any:
    """A new local file, which the spool closes."""

    def opener(name: str, flags: int) -> int:
        # Windows cannot open it again for appending: Python lets nobody delete what it has open.
        return os.open(name, flags | (os.O_APPEND if how.action == "a" else 0), 0o600)

    return open(path, "x+b", buffering=0, opener=opener)


class ObjectWriter(BatchWriter[Any]):
    """One object of a batch that is written piece by piece, to its local copy."""

    __slots__ = ("_entry", "_objects")

    def __init__(self, objects: Objects, entry: Waiting, how: Mode) -> None:
        self._is_open = False
        self._generation = fork.generation
        self._objects, self._entry = objects, entry
        self._group = objects.group
        self._save: Any = entry.save
        try:
            spool = Spool(entry.save, how, _made(entry.kept, how))
        except BaseException as error:
            objects.forget(entry, error)
            if isinstance(error, OSError):
                objects.group.failed[entry.url] = error
            raise
        entry.spool = spool
        self._channel, self._file = spool.channel, spool.file
        self._is_open = True

    def add(self) -> None:
        """As `BatchWriter.add`."""
        if not self._is_open or self._generation != fork.generation:
            super().add()  # which says what is wrong
        objects, entry = self._objects, self._entry
        objects.check_open(entry.url)
        try:
            self._file.close()
            self._channel.check()
            self._decide()
            objects.add(entry)
        except BaseException as error:  # noqa: BLE001 # raised again, or told at the end
            self._decide()
            objects.drop(entry, error)

    def _give_up(self, error: BaseException) -> None:
        if self._is_open:
            self._decide()
            if self._generation == fork.generation:
                self._objects.forget(self._entry, error)

    def _decide(self) -> None:
        self._is_open = False
        self._entry.end_writing()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a BatchWriter cannot be copied or pickled: it decides about one object")
