"""Compression and text over a handle, which tell it whether they are left by an exception."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from durably._fsspec.file import DurableFile
    from durably._receipts import Receipt


class CompressedFile(io.BufferedIOBase):
    """A compressor over a handle: closing it ends the compressed data, and then the handle.

    The compressors of fsspec leave the file under them open when they are closed.
    """

    def __init__(self, compressor: Any, handle: DurableFile) -> None:
        self._compressor = compressor
        self._handle = handle
        vars(self)["write"] = compressor.write  # without a call of ours for each piece
        self.path = self.name = handle.path
        self.mode = handle.mode
        self.fs = handle.fs

    @property
    def closed(self) -> bool:
        """Whether the handle is closed."""
        return self._handle.closed

    @property
    def receipt(self) -> Receipt | None:
        """The handle's."""
        return self._handle.receipt

    def close(self) -> None:
        """Write the end of the compressed data, and close the handle."""
        if not self.closed:
            self._finish()
            self._handle.close()

    def commit(self) -> Receipt | None:
        """Close if need be, and put the file in the target's place. See `DurableFile.commit`."""
        if not self.closed:
            self._finish()
        return self._handle.commit()

    def discard(self) -> None:
        """Throw away what was written. See `DurableFile.discard`."""
        if not self.closed:
            self._handle.doom()
            self._finish()
        self._handle.discard()

    def _finish(self) -> None:
        try:
            self._compressor.close()
        except BaseException:
            self._handle.discard()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.closed:
            return
        if error is None:
            self._finish()
        else:
            self._give_up(error)
        self._handle.__exit__(kind, error, traceback)

    def _give_up(self, error: BaseException) -> None:
        # The compressor is closed, or its finalizer would write to a file that is gone.
        self._handle.doom()
        try:
            self._compressor.close()
        except Exception as failure:  # noqa: BLE001 # whatever a compressor raises; the file is thrown away
            error.add_note(f"durably: closing the compressor failed as well: {failure!r}")

    def _dealloc_warn(self, source: object) -> None:
        self._handle.give_up(source)

    def __del__(self) -> None:
        if not self.closed:
            self._handle.give_up(self)
            self.close()

    def write(self, data: Any, /) -> int:
        """Write bytes; returns their number."""
        return int(self._compressor.write(data))

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """Whether the compressor can leave something out, as gzip can."""
        return bool(self._compressor.seekable())

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go on further behind, in what the compressor counts."""
        return int(self._compressor.seek(offset, whence))

    def flush(self) -> None:
        """Hand what is buffered to the layer below."""
        self._compressor.flush()

    def tell(self) -> int:
        """How much was written, as the compressor counts it."""
        return int(self._compressor.tell())

    def fileno(self) -> int:
        """The descriptor of the temporary."""
        return self._handle.fileno()


class TextFile(io.TextIOWrapper):
    """Text over a handle or a compressor. A ``with`` block that fails discards."""

    def __init__(self, binary: DurableFile | CompressedFile, **text: Any) -> None:
        super().__init__(binary, **text)
        self._binary = binary
        self.path, self.fs = binary.path, binary.fs
        self.mode = binary.mode.replace("b", "")  # type: ignore[misc] # as the builtin open does

    @property
    def receipt(self) -> Receipt | None:
        """The handle's."""
        return self._binary.receipt

    def commit(self) -> Receipt | None:
        """Close if need be, and put the file in the target's place. See `DurableFile.commit`."""
        if not self.closed:
            self.flush()
        return self._binary.commit()

    def discard(self) -> None:
        """Throw away what was written. See `DurableFile.discard`."""
        self._binary.discard()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None and not self.closed:
            try:
                self.flush()
            except BaseException as failure:
                self._binary.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._binary.__exit__(kind, error, traceback)
