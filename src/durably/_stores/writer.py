"""The AtomicWriter of a store."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from durably._file.writer import AtomicWriter
from durably._stores.protocol import StoreSave
from durably._stores.raw import opened
from durably._stores.spool import Spool
from durably._system import fork
from durably._types import resolve

if TYPE_CHECKING:
    from durably._file.modes import Mode
    from durably._receipts import Receipt
    from durably._stores.target import Target
    from durably._types import SaveOptions

_OPEN, _COMMITTED, _DISCARDED = "open", "committed", "discarded"


class StoreWriter(AtomicWriter[Any]):
    """The life of one save to a store.

    In the modes w and x what is written goes to the store as it comes, and the file cannot seek; in
    the others it is kept in a local file until the commit.
    """

    __slots__ = ("__weakref__", "_spool")

    def __init__(self, target: Target, how: Mode, options: SaveOptions) -> None:
        self._state = _DISCARDED
        self.receipt = None
        self._entered = False
        self._spool: Spool | None = None
        save = StoreSave(target, resolve(options))
        self._save: Any = save
        self._generation = fork.generation
        self._stage(how)
        self._state = _OPEN
        fork.register_group(save, _CloseAfterFork(self._channel, save))
        _undecided.add(self)
        # The last to be registered is the first to run: before the client's own.
        atexit.unregister(_discard_all)
        atexit.register(_discard_all)

    def _stage(self, how: Mode) -> None:
        if how.reads or how.keeps:
            self._spool = spool = Spool(self._save, how)
            self._channel, self._file = spool.channel, spool.file
            return
        self._save.begin()
        channel: Any
        channel, self._file = opened(self._save, how)
        self._channel = channel

    def commit(self) -> Receipt:
        """As `AtomicWriter.commit`. Raises `OutcomeUnknownError` where the answer was lost for good."""
        if self._state is not _OPEN or self._generation != fork.generation:
            return super().commit()
        try:
            self._file.close()
            self._channel.check()
            if self._spool is not None:
                self._spool.pour(self._save)
        except BaseException as error:
            self._give_up(error)
            raise
        try:
            receipt: Receipt = self._save.finish()
        except BaseException:
            self._decide(_DISCARDED)
            raise
        self.receipt = receipt
        self._decide(_COMMITTED)
        return receipt

    def _give_up(self, error: BaseException) -> None:
        if self._state is _OPEN:
            self._decide(_DISCARDED)
            if self._generation == fork.generation:
                self._save.give_up(error)

    def _decide(self, state: str) -> None:
        self._state = state
        self._channel.detach()
        if self._spool is not None:
            self._spool.close()
        fork.unregister_group(self._save)
        _undecided.discard(self)


_undecided: WeakSet[StoreWriter] = WeakSet()


def _discard_all() -> None:
    """Discard what is still open when the interpreter ends.

    Not later, by the finalizers: the threads of fsspec's event loop and of paramiko have stopped by then, and
    whoever asks them for something waits for ever.
    """
    for writer in list(_undecided):
        writer.__del__()


class _CloseAfterFork:
    """What a forked child does with a save of its parent. It must not refer to the writer."""

    def __init__(self, channel: Any, save: StoreSave) -> None:
        self._channel = channel
        self._save = save

    def __call__(self) -> None:
        self._channel.detach()
        self._save.store.let_go()
