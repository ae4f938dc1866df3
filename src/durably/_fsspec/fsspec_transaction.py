"""fsspec's side of a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsspec.transaction import Transaction  # pyright: ignore[reportMissingTypeStubs] # fsspec is not typed

from durably._fsspec.transaction import TransactionCore

if TYPE_CHECKING:
    from types import TracebackType


class DurableTransaction(Transaction):  # type: ignore[misc]
    """Several files, all or none, also across a crash: ``with fs.transaction: ...``

    What is written is staged beside its target and seen by nobody, the block included, until the block
    ends; but a file that is opened again goes on from what is staged. An exception throws everything
    away. A file whose own block failed is no part of it. What is moved or removed is so at once, outside the
    transaction, as in fsspec itself; directories that are made stay. The commit raises what that of a
    `durably.Transaction` does, whose root is the directory that all files have in common; if it was
    broken off, `DurableFileSystem.recover` finishes or undoes it.

    A write is a part of the transaction if it comes from where the block was entered, or from a thread
    that Python did not start (Arrow, duckdb); other threads write for themselves, and so does a forked
    child. One transaction of a file system is open at a time: ValueError.
    """

    fs: Any
    core: TransactionCore | None = None

    def taker(self) -> TransactionCore | None:
        """What takes a write that is made here and now; None: it is not a part of this transaction."""
        return self.core if self.core is not None and self.core.takes() else None

    def start(self) -> None:
        """Begin. ValueError, and nothing changes, if one is under way, or if this one is over."""
        if self.fs is None:
            raise ValueError("this transaction is over; fs.transaction is a new one each time")
        if self.core is not None:
            raise ValueError("a transaction of this file system is under way; they cannot be nested")
        self.core = TransactionCore(self.fs.saves)
        super().start()

    def complete(self, commit: bool = True) -> None:  # fsspec's
        """End: commit, or throw everything away."""
        self._end(None if commit else RuntimeError("the transaction was given up"))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        core, self.core = self.core, None
        fs, self.fs = self.fs, None
        if fs is not None:  # ended for good
            fs._intrans, fs._transaction = False, None  # noqa: SLF001
        if core is not None:
            core.end(error)
