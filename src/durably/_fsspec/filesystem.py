"""The file system: fsspec's methods, each of which saves atomically and durably."""

# fsspec is not typed:
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, cast

from fsspec.compression import compr
from fsspec.core import get_compression

from durably._api.oneshot import write_bytes
from durably._file.writer import AtomicWriter
from durably._fsspec import move as _moving
from durably._fsspec import names
from durably._fsspec import touch as _touching
from durably._fsspec.file import DurableFile
from durably._fsspec.fsspec_transaction import DurableTransaction
from durably._fsspec.layers import CompressedFile, TextFile
from durably._fsspec.many import ManyFiles
from durably._fsspec.options import OPTIONS, SINGLE, OneSpelling, saving, writes
from durably._fsspec.recovery import recover_below
from durably._types import resolve

if TYPE_CHECKING:
    from durably._fsspec.transaction import TransactionCore
    from durably._receipts import Recovered
    from durably._types import SaveOptions

_TEXT = ("encoding", "errors", "newline")


class DurableFileSystem(ManyFiles, metaclass=OneSpelling):
    """The local files, each written atomically and durably. Protocol ``durable``.

    ``auto_mkdir``: True (fsspec's own local file system: False): where the directory of a file that
    is written is missing, make it, and those above it. A temporary of durably's that is gone is not
    made again.
    ``durability``, ``metadata``, ``symlinks``, ``permissions``, ``allow_in_place``: as for
    `durably.open`; they can be given to what writes single files as well, and so can ``overwrite``.

    The file systems of equal options are one instance, pickle, and go through ``to_json``. Writing
    raises what `durably.open` and `durably.AtomicWriter.commit` raise. What makes, moves and removes
    names flushes their directory: `durably.NotDurableError` where that fails after the change. ``ls``,
    ``find``, ``glob`` and ``walk`` leave out the temporaries of saves that are under way, so a directory
    that they show as empty may not be (``rmdir`` then says so).
    """

    __module__ = "durably.filesystem"  # where pickles, and fsspec's JSON, find it
    protocol: tuple[str, ...] = ("durable",)
    transaction_type = DurableTransaction

    def __init__(
        self,
        auto_mkdir: bool = True,  # as LocalFileSystem's
        *,
        durability: str = "durable",
        metadata: str = "preserve",
        symlinks: str = "follow",
        permissions: int | None = None,
        allow_in_place: bool = False,
        **others: Any,
    ) -> None:
        options = (durability, metadata, symlinks, permissions, allow_in_place)
        self.saves: SaveOptions = saving(dict(zip(OPTIONS, options, strict=True)))
        self.level = resolve(self.saves).durability
        self.makes: SaveOptions = {**self.saves, "make_parents": True}
        super().__init__(auto_mkdir=auto_mkdir, **others)

    # Writing files.

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file: fsspec's arguments, and the options of the file system.

        Gives a `DurableFile` in the modes that write, or a text or compressed layer over one.
        Compressed files are not updated in place: ValueError for mode r+ with a ``compression``.
        """
        if not writes(mode):
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        if compression is None and "b" in mode:
            return self._open(path, mode, block_size, **kwargs)
        target = self._strip_protocol(path)
        text = {name: kwargs.pop(name) for name in _TEXT if name in kwargs} if "b" not in mode else None
        if compression is not None:
            compression = get_compression(target, compression)
            if compression is not None and "r" in mode:
                raise ValueError(f"mode {mode!r} cannot update a compressed file; write a new one")
        binary = mode if text is None else mode.replace("t", "") + "b"
        file: Any = self._open(target, binary, block_size, **kwargs)
        if compression is not None:
            file = CompressedFile(compr[compression](file, mode=mode[0]), file)
        if text is not None:
            file = TextFile(file, **text)
        return file

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        **kwargs: Any,
    ) -> Any:
        if not writes(mode):
            return super()._open(path, mode=mode, block_size=block_size, **kwargs)
        target = self._strip_protocol(path)
        core = self.transaction_core() if self._intrans else None
        if core is None:
            writer = AtomicWriter(target, mode, **self._saving(target, kwargs))
            return DurableFile(writer, target, mode, self, autocommit=autocommit)
        return DurableFile(core.open(target, mode, self._saving(target, kwargs)), target, mode, self)

    def transaction_core(self) -> TransactionCore | None:
        """The transaction that a write here and now belongs to."""
        transaction = cast("DurableTransaction | None", self._transaction)
        return transaction.taker() if self._intrans and transaction is not None else None

    def start_transaction(self) -> DurableTransaction:
        """Begin a transaction; ``end_transaction`` commits it."""
        self.transaction.start()
        return cast("DurableTransaction", self._transaction)

    def recover(self, path: Any) -> Recovered:
        """Finish or undo what crashes have interrupted: `durably.recover`, for each directory from here down.

        Links are not followed, and nothing beyond a mount is looked at. Returns one `Recovered`, whose
        outcome is "undone" if anything was. Raises what `durably.recover` raises.
        """
        return recover_below(self._strip_protocol(path))

    def _saving(self, path: str, given: dict[str, Any]) -> SaveOptions:
        options = self.makes if self.auto_mkdir and not names.in_staging(path) else self.saves
        return {**options, **saving(given)} if given else options

    def pipe_file(self, path: Any, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        """Save bytes. ``mode="create"``: FileExistsError if the target exists, without a race."""
        target = self._strip_protocol(path)
        if kwargs and not kwargs.keys() <= set(SINGLE):
            with self.open(target, "xb" if mode == "create" else "wb", **kwargs) as file:
                file.write(value)
            return
        options = self._saving(target, kwargs)
        if mode == "create":
            options = cast("SaveOptions", {**options, "overwrite": False})
        core = self.transaction_core()
        if core is None:
            write_bytes(target, value, **options)
        else:
            core.write(target, value, options)

    def touch(self, path: Any, truncate: bool = True, **kwargs: Any) -> None:
        """Make an empty file, or with ``truncate=False`` set the times of one that is there."""
        target = self._strip_protocol(path)
        if truncate:
            self.pipe_file(target, b"", **kwargs)
        else:
            _touching.touch(self, target, kwargs)

    # Names.

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if type(path) is str and os.sep == "/" and path.startswith("/"):
            return path.rstrip("/") or "/"
        return super()._strip_protocol(names.without_protocol(path, cls.protocol))

    def unstrip_protocol(self, name: Any) -> str:
        """The URL of a path; LocalFileSystem's own may be one of file://, up to fsspec 2025.9 at least."""
        return f"{self.protocol[0]}://{self._strip_protocol(name)}"

    def mkdir(self, path: Any, create_parents: bool = True, **kwargs: Any) -> None:
        """Make a directory; FileExistsError if there is anything of that name."""
        mode = 0o777 if create_parents else kwargs.get("mode", 0o777)
        names.make_directory(self._strip_protocol(path), self.level, parents=create_parents, mode=mode)

    def makedirs(self, path: Any, exist_ok: bool = False) -> None:
        """Make a directory and those above it. FileExistsError if it is there, unless ``exist_ok``."""
        target = self._strip_protocol(path)
        if exist_ok:
            names.make_directories(target, self.level)
        else:
            names.make_directory(target, self.level, parents=True)

    def rmdir(self, path: Any) -> None:
        """Remove an empty directory. OSError with errno ENOTEMPTY for another."""
        names.remove_directory(self._strip_protocol(path), self.level)

    def rm_file(self, path: Any) -> None:
        """Remove a file. FileNotFoundError if there is none, IsADirectoryError for a directory."""
        target = self._strip_protocol(path)
        if os.path.isdir(target) and not os.path.islink(target):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
        self._remove(target)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files, and with ``recursive`` directories. Nothing beyond a mount is removed.

        ValueError for a directory without ``recursive``, and for the working directory; FileNotFoundError.
        """
        for each in path if isinstance(path, list) else [path]:
            target = self._strip_protocol(each)
            if os.path.isdir(target) and not os.path.islink(target):
                if not recursive:
                    raise ValueError("Cannot delete directory, set recursive=True")
                if os.path.abspath(target) == os.getcwd():
                    raise ValueError("Cannot delete current working directory")
            self._remove(target)

    def _remove(self, target: str) -> None:
        core = self.transaction_core()
        if core is None:
            names.remove(target, self.level)
        else:
            core.remove(target)

    def mv(self, path1: Any, path2: Any, recursive: bool = True, **kwargs: Any) -> None:
        """Rename a file or directory, into ``path2`` where that is a directory.

        A file is copied and removed where the two lie on different file systems; a directory is not:
        UnsupportedError, and nothing was changed.
        """
        _moving.move(self, self._strip_protocol(path1), self._strip_protocol(path2))

    def link(self, src: Any, dst: Any, **kwargs: Any) -> None:
        """Make a hard link."""
        source, target = self._strip_protocol(src), self._strip_protocol(dst)
        names.name(target, self.level, lambda calls: calls.link(source, target, **kwargs))

    def symlink(self, src: Any, dst: Any, **kwargs: Any) -> None:
        """Make a symbolic link."""
        source, target = self._strip_protocol(src), self._strip_protocol(dst)
        names.name(target, self.level, lambda _: os.symlink(source, target, **kwargs))

    # Reading.

    def ls(self, path: Any, detail: bool = False, **kwargs: Any) -> list[Any]:
        """List a directory, without the temporaries of saves that are under way."""
        found: list[Any] = super().ls(path, detail=detail, **kwargs)
        return [each for each in found if not names.is_temporary(each["name"] if detail else each)]


class DurableLocalFiles(DurableFileSystem):
    """What `install` puts behind ``file://`` and ``local://``. As fsspec's own, it makes no directories."""

    __module__ = "durably.filesystem"
    protocol = ("file", "local")

    def __init__(self, auto_mkdir: bool = False, **options: Any) -> None:
        super().__init__(auto_mkdir=auto_mkdir, **options)
