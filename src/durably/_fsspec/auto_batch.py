"""Many files in one call of fsspec's: each is atomic by itself, and they share their flushes."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from durably._api.batch import Batch
from durably._errors import BatchError

if TYPE_CHECKING:
    from types import TracebackType

    from durably._batch.writer import BatchWriter
    from durably._fsspec.many import ManyFiles
    from durably._types import SaveOptions

_current: ContextVar[AutoBatch | None] = ContextVar("durably_filesystem_together", default=None)


class AutoBatch:
    """What one call saves, to be flushed and published at its end.

    An exception in the call is raised when what came before it is saved, as if each file had been saved
    by itself; one from outside (KeyboardInterrupt) throws all away. Files that cannot be saved do not
    keep the others from being: at the end the error of the one is raised, or a BatchError for several.
    """

    def __init__(self, fs: ManyFiles, options: SaveOptions) -> None:
        self.fs = fs
        self._options = options
        self._batch = self._begun()
        self._targets: set[str] = set()
        self._raised: list[OSError] = []
        self._failed: dict[str, OSError] = {}
        self._error: BatchError | None = None

    def _begun(self) -> Batch:
        return Batch(on_error="continue", **self._options).__enter__()

    def write(self, target: str, data: Any, options: SaveOptions) -> None:
        """Add a file."""
        try:
            self._batch.write_bytes(target, data, **options)
        except ValueError:  # of a file that was added before: it is to be saved twice
            self._begin_again()
            self._batch.write_bytes(target, data, **options)

    def open(self, target: str, mode: str, options: SaveOptions) -> BatchWriter[Any]:
        """Add a file that is written piece by piece."""
        try:
            try:
                writer: BatchWriter[Any] = self._batch.open(target, mode, **options)
            except ValueError:
                self._begin_again()
                writer = self._batch.open(target, mode, **options)
        except OSError as error:
            self._raised.append(error)  # the caller may go on without it
            raise
        self._targets.add(target)
        return writer

    def read(self, source: str) -> None:
        """A file is about to be read, which may have been written before."""
        if source in self._targets:
            self._begin_again()

    def _begin_again(self) -> None:
        self._save()
        self._batch = self._begun()
        self._targets.clear()

    def _save(self) -> None:
        try:
            self._batch.__exit__(None, None, None)
        except BatchError as error:
            failed = error.receipt.failed.items() if error.receipt is not None else ()
            self._failed.update(each for each in failed if each[1] not in self._raised)
            self._error = error

    def __enter__(self) -> None:
        self._before = _current.set(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.reset(self._before)
        if error is not None and not isinstance(error, Exception):
            self._batch.__exit__(kind, error, traceback)
            return
        self._save()
        if error is not None:
            for path, cause in self._failed.items():
                error.add_note(f"durably: {path} could not be saved either: {cause.strerror}")
        elif len(self._failed) == 1:
            raise next(iter(self._failed.values()))
        elif self._failed and self._error is not None:
            raise self._error


def current(fs: ManyFiles) -> AutoBatch | None:
    """The call of a file system that a save is a part of."""
    auto_batch = _current.get()
    return auto_batch if auto_batch is not None and auto_batch.fs is fs else None
