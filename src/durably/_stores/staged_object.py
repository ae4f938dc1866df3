"""What `durably.staged_path` yields for an object of a store."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

from durably._errors import note_leftovers
from durably._file.protocol import warn_dropped
from durably._stores.spool import pour
from durably._system import fork

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from durably._receipts import Receipt
    from durably._stores.protocol import StoreSave


class StagedObject:
    """A local file in a private directory, that is sent to the store at the end of the block."""

    def __init__(self, save: StoreSave) -> None:
        self._save = save
        self._directory = ""
        self._generation = fork.generation
        self.receipt: Receipt | None = None

    def __enter__(self) -> Path:
        from pathlib import Path

        self._generation = fork.generation
        self._directory = os.path.abspath(tempfile.mkdtemp(prefix="durably-"))  # it is, since Python 3.12
        return Path(self._path())

    def _path(self) -> str:
        name = os.path.basename(self._save.store.path)
        return os.path.join(self._directory, name if name not in ("", ".", "..") else "object")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._generation != fork.generation:
            if error is None:
                raise RuntimeError(f"a forked child cannot commit its parent's save of {self._save.path!r}")
            return
        if error is not None:
            self._drop(error)
            return
        try:
            self.receipt = self._sent()
        except BaseException as failure:
            self._drop(failure)
            raise
        left = self._directory
        failed = self._remove()
        if failed is not None:
            self.receipt.skipped["remove"] = f"{left} is left over: {failed.strerror}"

    def _sent(self) -> Receipt:
        path = self._path()
        if not os.path.isfile(path):
            message = "nothing was written to the staged path; the store was not changed"
            raise FileNotFoundError(errno.ENOENT, message, self._save.path)
        beside = sorted(set(os.listdir(self._directory)) - {os.path.basename(path)})
        if beside:
            message = f"other files were left beside it ({', '.join(beside)}); the store was not changed"
            raise OSError(errno.ENOTEMPTY, message, self._save.path)
        with open(path, "rb", buffering=0) as file:
            pour(file, self._save)
        return self._save.finish()

    def _drop(self, error: BaseException) -> None:
        """Remove the directory, because of an error. If it stays, that is said in ``error.leftovers``."""
        left = self._directory
        failed = self._remove()
        if failed is not None:
            note_leftovers(error, (left,), failed)

    def _remove(self) -> OSError | None:
        """Remove the directory. What went wrong."""
        directory, self._directory = self._directory, ""
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            return None  # somebody else has
        except OSError as error:
            return error
        return None

    def __del__(self) -> None:
        if self._directory and self._generation == fork.generation:
            dropped = RuntimeError()
            self._drop(dropped)
            said = f"unfinished save of {self._save.path!r} was discarded: use it in a with block"
            warn_dropped(said, dropped, self)
