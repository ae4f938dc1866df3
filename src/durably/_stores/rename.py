"""Stores with a rename: a temporary beside the target, then one rename over it."""

from __future__ import annotations

import errno
import os
import posixpath
from typing import Any

from durably._stores.store import Store, promises
from durably._system import temp_names

NO_FLUSH = "the client cannot have the server flush the file before it is renamed"


class Renamed(Store):
    """Any store that renames over a file in one step: by ``fs.open`` and ``fs.mv``, or better ones."""

    name = "rename"
    has_directories = True
    promises = promises(("unknown", "the server renames"), ("unknown", NO_FLUSH), ("unknown", NO_FLUSH))

    def __init__(self, fs: Any, path: str, *, fresh: bool = False) -> None:
        super().__init__(fs, path, fresh=fresh)
        self.temporary = ""
        self.file: Any = None
        self.renaming = False

    def begin(self) -> None:
        self.locate()
        if self.fresh and self.exists(self.path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path)
        temporary = posixpath.join(posixpath.dirname(self.path), temp_names.fresh("f"))
        self.temporary, self.left = temporary, (temporary,)
        self.file = self.create(temporary)
        self.steps.append("create")

    def write(self, data: memoryview) -> None:
        self.file.write(data)

    def commit(self) -> None:
        self.flush()
        self.file.close()
        self.renaming = True
        if self.fresh:
            self.rename(self.temporary, self.path)
        else:
            self.replace(self.temporary, self.path)
        self.temporary, self.left = "", ()
        self.steps.append("rename")

    def discard(self) -> None:
        if not self.temporary:
            return
        try:
            if self.file is not None:
                self.close_unsent()
            self.remove(self.temporary)
        except Exception:  # noqa: BLE001 # each client has errors of its own, and a connection that broke
            self.reconnect()
            self.remove(self.temporary)
        self.temporary, self.left = "", ()

    def landed(self, error: Exception) -> bool | None:  # noqa: ARG002 # it is asked, whatever happened
        if not self.renaming:
            return False
        try:
            there = self.exists(self.temporary)
        except Exception:  # noqa: BLE001 # as in discard
            self.reconnect()
            there = self.exists(self.temporary)
        # Its name is of our own making, so whoever has taken it away was the rename.
        return not there

    # What is done at the store, and may be done better by a client's own means.

    def locate(self) -> None:
        """Follow the path to the file itself, where it may lead over a symbolic link."""

    def create(self, path: str) -> Any:
        """Open a new file for writing."""
        return self.fs.open(path, "wb", autocommit=True)

    def flush(self) -> None:
        """Have the server bring the file to its disk, where it can be asked to."""

    def replace(self, old: str, new: str) -> None:
        """Rename over the target."""
        self.fs.mv(old, new)

    def rename(self, old: str, new: str) -> None:
        """Rename where there is no target; FileExistsError if there is one."""
        raise NotImplementedError  # `creates_only` is False

    def remove(self, path: str) -> None:
        """Remove a file; nothing if there is none."""
        try:
            self.fs.rm_file(path)
        except OSError as error:
            if error.errno != errno.ENOENT and not isinstance(error, FileNotFoundError):
                raise  # as in `exists`

    def exists(self, path: str) -> bool:
        """Whether there is a file; raises if the store cannot be asked."""
        try:
            self.fs.info(path)
        except OSError as error:
            if error.errno != errno.ENOENT and not isinstance(error, FileNotFoundError):
                raise  # fsspec's have no number, smbprotocol's are of another class
            return False
        return True

    def close_unsent(self) -> None:
        """Close the temporary that is to be removed."""
        self.file.close()

    def reconnect(self) -> None:
        """Get another connection: what broke off one save must not keep it from being cleaned up."""
        fs = self.fs
        self.fs = type(fs)(*fs.storage_args, **{**fs.storage_options, "skip_instance_cache": True})


class Arrow(Renamed):
    """Arrow's local files, by fsspec's wrapper."""

    is_concurrent = True
    promises = promises(
        ("yes", "a rename puts the whole new file in place in one step"),
        ("no", "Arrow flushes nothing; save to the path itself, without Arrow"),
        ("no", "Arrow flushes nothing; save to the path itself, without Arrow"),
    )

    @classmethod
    def check(cls, fs: Any) -> str:
        kind = getattr(fs.fs, "type_name", "")
        # apache/arrow, cpp/src/arrow/filesystem/hdfs.cc: a target is deleted, then the file is renamed;
        # s3fs.cc, gcsfs.cc: a move is a copy and a removal.
        return "" if kind == "local" else f"Arrow's {kind} files have no rename that replaces in one step"

    def locate(self) -> None:
        self.path = os.path.realpath(self.path)

    def replace(self, old: str, new: str) -> None:
        self.fs.fs.move(old, new)

    def reconnect(self) -> None:
        """There is no connection."""
