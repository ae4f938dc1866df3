"""Saving what another library writes to a file name."""

from __future__ import annotations

from durably import _commit
from durably._api.dispatch import resolve_target
from durably._commit.pending import PendingFile
from durably._file.protocol import abandon, discard, finish
from durably._file.staged_block import StagedBlock
from durably._system import fork
from durably._types import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Unpack

    from durably._file.paths import StrPath
    from durably._receipts import Receipt
    from durably._stores.staged_object import StagedObject
    from durably._types import SaveOptions


class staged_path(StagedBlock):  # noqa: N801 # used like a function, as contextlib.suppress is
    """Save what others write to a file name::

        with durably.staged_path("data.parquet") as temporary:
            frame.to_parquet(temporary)

    Yields a `pathlib.Path` with the target's own name, in a private directory (mode 0700) beside the
    target: savers that look at the name or replace the file work, and readers of ``*.parquet`` do
    not trip over it. The file does not exist yet. Leaving the block saves it: it must be there,
    closed, and alone; any exception throws the directory away. One that is entered and dropped does so
    too, with a ResourceWarning.

    ``path`` and ``options`` are those of `durably.open`; ``receipt`` is set at the end. Permissions
    and other metadata are as everywhere, whatever the saver gave the file; its times, and attributes that
    the old file had not, stay as the saver set them. As the private directory
    must be made, ``allow_in_place`` is of no use in a directory that may not be written.

    The errors are those of `durably.open` and `AtomicWriter.commit`, and at the end
    FileNotFoundError if nothing was written to the path, OSError if other files were left beside
    it: the target was not changed.

    The file was written through descriptors that are not ours, so a write error that came before
    the end may be missed, except on ext4, xfs and btrfs since Linux 5.8: elsewhere the receipt says
    so under "witness".

    At a store, the private directory is a local one, and the file is sent at the end of the block.
    """

    __slots__ = ("_elsewhere", "_routine")

    receipt: Receipt | None

    def __init__(self, path: StrPath, **options: Unpack[SaveOptions]) -> None:
        super().__init__()
        self._elsewhere: StagedObject | None = None
        target = resolve_target(path, options)
        if isinstance(target, str):
            self._save = PendingFile(target, resolve(options))
            self._routine = _commit.routine()
            return
        from durably._stores import api

        self._elsewhere = api.staged(target, resolve(options))

    def __enter__(self) -> Path:
        if self._elsewhere is None:
            return super().__enter__()
        self._enter_once()
        return self._elsewhere.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._elsewhere is None:
            super().__exit__(kind, error, traceback)
            return
        self._elsewhere.__exit__(kind, error, traceback)
        self.receipt = self._elsewhere.receipt

    def _create(self) -> str:
        self._routine.locate(self._save)
        fork.watch(None, self._routine, self._save)
        return self._routine.create_private(self._save)

    def _finish(self) -> Receipt:
        return finish(self._routine, self._save, self._routine.take_over(self._save))

    def _discard(self, error: BaseException) -> None:
        discard(self._routine, self._save, error)

    def _abandon(self, error: BaseException) -> None:
        abandon(self._routine, self._save, error)
