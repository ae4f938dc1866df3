"""The objects of a batch: kept in a local directory until its end, and then sent, some at a time."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any

from durably._errors import OutcomeUnknownError, note_leftovers
from durably._receipts import BatchReceipt, Receipts
from durably._stores.object_writer import ObjectWriter
from durably._stores.protocol import StoreSave
from durably._stores.spool import pour
from durably._system import fork

if TYPE_CHECKING:
    from durably._batch.group_commit import Group
    from durably._file.modes import Mode
    from durably._receipts import Receipt
    from durably._stores.spool import Spool
    from durably._stores.target import Target
    from durably._types import Options

_AT_ONCE = 8
"""Objects that are on their way at a time."""

making = threading.Lock()
"""Held while a batch gets its `Objects`."""


class Waiting:
    """One object of a batch."""

    __slots__ = ("added", "begun", "kept", "key", "receipt", "save", "spool")

    def __init__(self, save: StoreSave, key: object, kept: str) -> None:
        self.save = save
        self.key = key
        self.kept = kept
        """Its local copy."""
        self.spool: Spool | None = None
        """Through which it is still written."""
        self.added = self.begun = False
        self.receipt: Receipt | None = None

    @property
    def url(self) -> str:
        """As the receipt has it."""
        return self.save.path

    def end_writing(self) -> None:
        """Close what it is written through, and flush nothing."""
        spool, self.spool = self.spool, None
        if spool is not None:
            spool.close()


class Objects:
    """All objects of one batch. Their errors go to the group's, by URL."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self._directory = os.path.abspath(
            tempfile.mkdtemp(prefix="durably-batch-")
        )  # it is, since Python 3.12
        self._all: dict[object, Waiting] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._is_stopped = False
        fork.register_group(self, self.close_after_fork)

    # Adding.

    def write_bytes(self, target: Target, view: bytes | memoryview, options: Options) -> None:
        """`durably.Batch.write_bytes`."""
        entry = self._enter(StoreSave(target, options))
        try:
            with open(entry.kept, "xb") as file:
                file.write(view)
            self.add(entry)
        except BaseException as error:  # noqa: BLE001 # raised again
            self.drop(entry, error)

    def open(self, target: Target, how: Mode, options: Options) -> ObjectWriter:
        """`durably.Batch.open`."""
        return ObjectWriter(self, self._enter(StoreSave(target, options)), how)

    def _enter(self, save: StoreSave) -> Waiting:
        fs: Any = save.store.fs
        # Not the file system itself: each thread has another one for the same place.
        place = repr((fs.storage_args, sorted(fs.storage_options.items(), key=str)))
        key = (fs.__class__, place, save.store.path)
        with self._lock:
            self.check_open(save.path)
            if key in self._all:
                raise ValueError(f"{save.path!r} leads to an object that was added already")
            self._count += 1
            entry = Waiting(save, key, os.path.join(self._directory, str(self._count)))
            self._all[key] = entry
        return entry

    def check_open(self, url: str) -> None:
        """Raise ValueError where nothing more is taken."""
        if self.group.over:
            raise ValueError(f"{url!r} comes too late: what it was to be saved with is over")

    def add(self, entry: Waiting) -> None:
        """Take an object whose local copy is written."""
        with self._lock:
            self.check_open(entry.url)
            entry.added = True
            self.group.failed.pop(entry.url, None)  # tried again, with success

    def drop(self, entry: Waiting, error: BaseException) -> None:
        """Give up an object that ``error`` broke off. Raises it, unless it is told at the end."""
        self.forget(entry, error)
        if isinstance(error, OSError):
            message = f"could not be kept locally until the end of the batch ({error.strerror})"
            told = OSError(error.errno, message, entry.url)
            told.__cause__ = error
            self.group.failed[entry.url] = told
            if self.group.continue_on_error:
                return
            raise told
        raise error

    def forget(self, entry: Waiting, error: BaseException) -> None:
        """Remove an object from the batch, and its copy."""
        entry.end_writing()
        if self._all.get(entry.key) is entry:
            del self._all[entry.key]
        try:
            os.unlink(entry.kept)
        except FileNotFoundError:
            pass  # it failed before there was one, or the batch has ended
        except OSError as failure:
            note_leftovers(error, (entry.kept,), failure)

    # The end.

    def send(self) -> None:
        """Send all that was added; after a failure no more are begun, unless the group goes on."""
        with self._lock:  # whoever adds now comes too late
            entries = list(self._all.values())
        for entry in entries:
            if not entry.added:
                error = OSError(errno.EBUSY, "was still open when its batch ended", entry.url)
                self.forget(entry, error)
                self.group.failed[entry.url] = error
        lanes: dict[int, list[Waiting]] = {}
        for entry in self._all.values():
            store = entry.save.store
            lanes.setdefault(id(entry if store.is_concurrent else store.fs), []).append(entry)
        pool = ThreadPoolExecutor(_AT_ONCE, "durably")
        try:
            for done in [pool.submit(self._send_each, lane) for lane in lanes.values()]:
                done.result()
        finally:
            self._is_stopped = True  # an interrupt: what is on its way ends, and no more is begun
            pool.shutdown()

    def _send_each(self, lane: list[Waiting]) -> None:
        for entry in lane:
            if self._is_stopped or (self.group.failed and not self.group.continue_on_error):
                return
            entry.begun = True
            try:
                with open(entry.kept, "rb", buffering=0) as file:
                    pour(file, entry.save)
                entry.receipt = entry.save.finish()
            except OSError as error:
                self.group.failed[entry.url] = error

    def outcome(self) -> BatchReceipt:
        """What became of every file and every object."""
        group = self.group
        saved = [entry.receipt for entry in self._all.values() if entry.receipt is not None]
        unsaved: list[str] = []
        for entry in self._all.values():
            if entry.receipt is None and entry.url not in group.failed and entry.added:
                if entry.begun:
                    message = "was on its way when the batch was broken off; look, or save again"
                    group.failed[entry.url] = OutcomeUnknownError(errno.EINTR, message, entry.url)
                else:
                    unsaved.append(entry.url)
        receipts = Receipts(group.count() + len(saved), lambda: chain(group.receipts(), saved))
        return BatchReceipt(receipts, group.failed, (*group.unsaved(), *unsaved))

    def close(self, error: BaseException) -> None:
        """Remove the copies. Nothing is raised: what cannot be removed is named in ``error.leftovers``."""
        self.close_after_fork()
        fork.unregister_group(self)
        try:
            shutil.rmtree(self._directory)
        except FileNotFoundError:
            pass  # it was closed before
        except OSError as failure:
            note_leftovers(error, (self._directory,), failure)

    def close_after_fork(self) -> None:
        """Close what is still written to; in a forked child, that is all."""
        for entry in self._all.values():
            entry.end_writing()
