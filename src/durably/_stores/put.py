"""Stores that take a whole object in one step: it is kept here until then."""

from __future__ import annotations

import errno
import os
import tempfile
from importlib import import_module
from typing import Any

from durably._stores.store import Store, promises


class Put(Store):
    """Any store whose ``put_file`` is atomic: spooled locally, then sent in one step."""

    name = "put"

    def __init__(self, fs: Any, path: str, *, fresh: bool = False) -> None:
        super().__init__(fs, path, fresh=fresh)
        self.spool: Any = None
        self.is_sent = False
        """Whether the store may have been asked."""

    def begin(self) -> None:
        if self.fresh and self.fs.exists(self.path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path)
        spool = tempfile.NamedTemporaryFile(prefix="durably-", delete=False)  # noqa: SIM115 # closed by the save
        self.spool = spool

    def write(self, data: memoryview) -> None:
        self.spool.write(data)

    def commit(self) -> None:
        self.spool.close()  # Windows opens it once at a time
        self.is_sent = True
        self.fs.put_file(self.spool.name, self.path, **({"mode": "create"} if self.fresh else {}))
        self.steps.append("put")
        try:
            self.discard()
        except OSError as error:
            self.skipped["remove"] = f"{error.filename} is left over: {error.strerror}"

    def landed(self, error: Exception) -> bool | None:  # noqa: ARG002 # what it is cannot be told by that
        return None if self.is_sent else False

    def discard(self) -> None:
        if self.spool is not None:
            spool, self.spool = self.spool, None
            try:
                spool.close()
            finally:  # what it holds may not fit on the disk
                os.unlink(spool.name)


class Memory(Store):
    """fsspec's memory: the new file takes the place of the old one in its dictionary."""

    name = "memory"
    creates_only = True
    is_concurrent = True
    promises = promises(
        ("yes", "the name leads to the old file's bytes until it leads to the new one's"),
        ("no", "the files lie in this process's memory"),
        ("no", "the files lie in this process's memory"),
    )

    def __init__(self, fs: Any, path: str, *, fresh: bool = False) -> None:
        super().__init__(fs, path, fresh=fresh)
        self.new: Any = None

    def begin(self) -> None:
        if self.fs.isdir(self.path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        self.new = import_module("fsspec.implementations.memory").MemoryFile(self.fs, self.path)

    def write(self, data: memoryview) -> None:
        self.new.write(data)

    def commit(self) -> None:
        # Past the file system's open(), which replaces first and is filled afterwards.
        if not self.fresh:
            self.new.commit()
        elif self.fs.store.setdefault(self.path, self.new) is not self.new:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path)
        self.steps.append("put")

    def discard(self) -> None:
        self.new = None

    def landed(self, error: Exception) -> bool | None:  # noqa: ARG002 # it is asked, whatever happened
        return self.fs.store.get(self.path) is self.new
