"""Copying, and saving many files in one call."""

# fsspec is not typed:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportArgumentType=false

from __future__ import annotations

import errno
import glob
import os
import shutil
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from fsspec.implementations.local import LocalFileSystem

from durably._fsspec import names
from durably._fsspec.auto_batch import AutoBatch, current
from durably._fsspec.options import saving

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from durably._fsspec.transaction import TransactionCore
    from durably._types import SaveOptions

_COPY_CHUNK = 1 << 20


class ManyFiles(LocalFileSystem):  # type: ignore[misc]
    """The methods of the file system through which several files go together."""

    if TYPE_CHECKING:
        auto_mkdir: bool
        saves: SaveOptions
        makes: SaveOptions

        def transaction_core(self) -> TransactionCore | None: ...

    def cp_file(self, path1: Any, path2: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        """Copy a file's content, or make a directory where ``path1`` is one. Options as for ``open``."""
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        if self.isdir(source):
            self.makedirs(target, exist_ok=True)
            return
        if not self.isfile(source):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        if os.path.exists(target) and os.path.samefile(source, target):
            raise shutil.SameFileError(f"{source!r} and {target!r} are the same file")
        how, options = "xb" if mode == "create" else "wb", saving(kwargs)
        auto_batch = current(self)
        if auto_batch is not None:
            auto_batch.read(source)
        with (
            open(source, "rb", buffering=0) as old,
            self.open(target, how, **options)
            if auto_batch is None or options
            else auto_batch.open(target, how, self._special(target)) as new,
        ):
            shutil.copyfileobj(old, new, _COPY_CHUNK)

    def _together(self) -> AutoBatch | None:
        """What shares the flushes of such a call; None: each file is saved by itself."""
        if (
            self.transaction_core() is not None
            or self.saves.get("allow_in_place")
            or current(self) is not None
        ):
            return None
        return AutoBatch(self, self.makes if self.auto_mkdir else self.saves)

    def _special(self, path: str) -> SaveOptions:
        """The options of a file that are not those of the others."""
        return {"make_parents": False} if self.auto_mkdir and names.in_staging(path) else {}

    def pipe(self, path: Any, value: Any = None, **kwargs: Any) -> None:
        """Save bytes under a path, or those of a dict under its paths. The flushes are shared.

        Each file is atomic by itself. One that cannot be saved does not keep the others from being:
        its error is raised at the end, or a `BatchError` for several.
        """
        auto_batch = self._together() if isinstance(path, dict) and len(path) > 1 and not kwargs else None
        if auto_batch is None:
            super().pipe(path, value, **kwargs)
            return
        with auto_batch:
            for each, data in path.items():
                target = self._strip_protocol(each)
                auto_batch.write(target, data, self._special(target))

    def put(self, lpath: Any, rpath: Any, recursive: bool = False, *arguments: Any, **kwargs: Any) -> None:
        """Copy files here; fsspec's arguments. Of many files the flushes are shared, as in `pipe`."""
        with self._shared(lpath, recursive=recursive):
            super().put(lpath, rpath, recursive, *arguments, **kwargs)

    def get(self, rpath: Any, lpath: Any, recursive: bool = False, *arguments: Any, **kwargs: Any) -> None:
        """Copy files from here; fsspec's arguments. Of many files the flushes are shared, as in `pipe`."""
        with self._shared(rpath, recursive=recursive):
            super().get(rpath, lpath, recursive, *arguments, **kwargs)

    def copy(self, path1: Any, path2: Any, recursive: bool = False, *arguments: Any, **kwargs: Any) -> None:
        """Copy files; fsspec's arguments. Of many files the flushes are shared, as in `pipe`."""
        with self._shared(path1, recursive=recursive):
            super().copy(path1, path2, recursive, *arguments, **kwargs)

    def _shared(self, source: Any, *, recursive: bool) -> AbstractContextManager[None]:
        are_many = recursive or not isinstance(source, str) or glob.has_magic(source)
        return (self._together() if are_many else None) or nullcontext()
