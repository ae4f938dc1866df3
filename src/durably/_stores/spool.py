"""The local copy that the modes a, r+ and w+ work on, until it is sent to the store."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import TYPE_CHECKING, Any

from durably import _commit
from durably._commit.pending import PendingFile
from durably._file.stream import opened
from durably._stores.protocol import fail
from durably._stores.store import CHUNK
from durably._types import Options

if TYPE_CHECKING:
    from durably._file.modes import Mode
    from durably._file.stream import Channel
    from durably._stores.protocol import StoreSave


class Spool:
    """A local file, unnamed unless it is given, and the file over it that the caller gets.

    ``kept``: the file that is given, empty; open for appending if the mode is.
    """

    channel: Channel
    file: Any

    def __init__(self, save: StoreSave, mode: Mode, kept: Any = None) -> None:
        self._routine = _commit.routine()
        self._is_given = kept is not None
        # Closed in `close`.
        self._kept = kept or tempfile.TemporaryFile(buffering=0, prefix="durably-")  # noqa: SIM115
        try:
            if mode.keeps:
                self._fetch(save, must_exist=mode.action == "r")
            self._open(save, mode)
        except BaseException:
            self._kept.close()
            raise

    def _fetch(self, save: StoreSave, *, must_exist: bool) -> None:
        try:
            save.store.fetch(self._kept)
            save.replaced = True
        except Exception as error:  # noqa: BLE001 # each client has its own
            # smbprotocol's is of another class, and fsspec's may have no number.
            missing = isinstance(error, FileNotFoundError) or getattr(error, "errno", None) == errno.ENOENT
            if must_exist or not missing:
                fail(error, save.path)
            save.replaced = False

    def _open(self, save: StoreSave, mode: Mode) -> None:
        calls = self._routine.calls
        self._local = local = PendingFile(save.path, Options(durability="none"), held=True)
        # A descriptor of its own: on Windows another one takes its place in order to append, and the file,
        # which has a name there, is gone with the last descriptor that it was made with.
        local.fd = os.dup(self._kept.fileno())
        if not self._is_given and isinstance(self._kept.name, str):  # needs windows
            local.staging, local.temporary = os.path.split(self._kept.name)
        try:
            if mode.action == "a" and not self._is_given:
                self._routine.append_only(local)
            elif mode.action == "r":
                calls.lseek(local.fd, 0, os.SEEK_SET)
            self.channel, self.file = opened(self._routine, local, mode)
        except BaseException:
            calls.close(local.fd)
            raise

    def pour(self, save: StoreSave) -> None:
        """Send what was written."""
        os.lseek(self._kept.fileno(), 0, os.SEEK_SET)
        pour(self._kept, save)

    def close(self) -> None:
        """Drop the copy."""
        self.channel.detach()
        self._routine.calls.close(self._local.fd)
        self._kept.close()


def pour(source: Any, save: StoreSave) -> None:
    """Begin, and send a local file."""
    save.begin()
    try:
        while chunk := source.read(CHUNK):
            save.write(memoryview(chunk))
    except BaseException as error:  # noqa: BLE001 # raised again
        save.give_up(error)
        fail(error, save.path)
