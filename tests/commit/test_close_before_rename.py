"""Errors that only close(2) reports, as on network mounts, come before the file is renamed into place."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_posix
from durably._system import temp_names
from durably.testing import RecordingSyscalls, use

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = needs_posix


class LateError(RecordingSyscalls):
    """Closing the descriptor of a temporary reports that it was not written, and has closed it."""

    def __init__(self) -> None:
        super().__init__()
        self.temporaries: set[int] = set()
        self._open, self.open = self.open, self._opened
        self._close, self.close = self.close, self._closed

    def _opened(self, path: Any, *arguments: Any, **keywords: Any) -> int:
        fd = self._open(path, *arguments, **keywords)
        if temp_names.parse(os.fsdecode(path)) is not None:
            self.temporaries.add(fd)
        return fd

    def _closed(self, fd: int) -> None:
        self._close(fd)
        if fd in self.temporaries:
            self.temporaries.remove(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))


def in_a_batch(path: Path, data: bytes, **options: Any) -> None:
    with durably.Batch(**options) as batch:
        batch.write_bytes(path, data)


def in_a_transaction(path: Path, data: bytes, **options: Any) -> None:
    with durably.Transaction(path.parent, **options) as txn:
        txn.write_bytes(path.name, data)


@pytest.mark.parametrize("level", ["none", "consistent", "durable"])
@pytest.mark.parametrize("save", [durably.write_bytes, in_a_batch, in_a_transaction])
def test_an_error_of_close_leaves_the_target_as_it_was(
    tmp_path: Path, save: Callable[..., object], level: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    table = LateError()
    with use(table), pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
        save(path, b"new", durability=level)
    assert not isinstance(caught.value, durably.NotDurableError)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
    assert not {"replace", "renameat2"} & set(table.names)
