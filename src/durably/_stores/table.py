"""The table of stores: which routine each file system of fsspec takes. What is not in it is refused."""

from __future__ import annotations

from importlib import import_module

from durably._stores.store import Store

LOCAL = "durably"
"""Stands for the local files, which are saved to without fsspec."""

# By the file system's class, so that another package behind the same protocol is not taken for it
# (sshfs takes over sftp:// where it is installed). Subclasses are not meant: they may write otherwise.
_TABLE: dict[str, str | type[Store]] = {
    "fsspec.implementations.local.LocalFileSystem": LOCAL,
    "durably.filesystem.DurableFileSystem": LOCAL,
    "durably.filesystem.DurableLocalFiles": LOCAL,
    "s3fs.core.S3FileSystem": "object_store.S3",
    "gcsfs.core.GCSFileSystem": "object_store.GCS",
    "gcsfs.extended_gcsfs.ExtendedGcsFileSystem": "object_store.GCS",
    "adlfs.spec.AzureBlobFileSystem": "object_store.Azure",
    "fsspec.implementations.memory.MemoryFileSystem": "put.Memory",
    "fsspec.implementations.arrow.ArrowFSWrapper": "rename.Arrow",
    "fsspec.implementations.sftp.SFTPFileSystem": "sftp.Sftp",
    "sshfs.spec.SSHFileSystem": "sshfs.Sshfs",
    "fsspec.implementations.smb.SMBFileSystem": "shares.Smb",
    "webdav4.fsspec.WebdavFileSystem": "shares.WebDav",
    "fsspec.implementations.ftp.FTPFileSystem": "shares.Ftp",
}


def key(file_system: type) -> str:
    """By what a file system's class is found in the table."""
    return f"{file_system.__module__}.{file_system.__qualname__}"


def register(file_system: type | str, routine: type[Store]) -> None:
    """Have saves to an fsspec file system take a routine of your own, in this process.

    ``file_system``: its class, or the class's full name. Subclasses of it are not meant.
    ``routine``: a subclass of `Store`; `Renamed` and `Put` do most of the work for theirs.

    It takes the place of an entry of durably's. Raises TypeError for what is not a routine, or not a
    whole one: every abstract method and a ``name``.
    """
    given: object = routine
    if not (isinstance(given, type) and issubclass(given, Store)):  # pyright: ignore[reportUnnecessaryIsInstance] # callers may be untyped
        raise TypeError(f"a routine is a subclass of durably.stores.Store, not {routine!r}")
    lacks = sorted(routine.__abstractmethods__) + ([] if hasattr(routine, "name") else ["name"])
    if lacks:
        raise TypeError(f"{routine!r} is not a whole routine: it has no {', '.join(lacks)}")
    if not isinstance(file_system, (type, str)):  # pyright: ignore[reportUnnecessaryIsInstance] # as above
        raise TypeError(f"file_system must be a class, or its full name, not {file_system!r}")
    _TABLE[file_system if isinstance(file_system, str) else key(file_system)] = routine


def routine_of(file_system: type) -> type[Store] | str | None:
    """The routine for a file system's class, `LOCAL`, or None: it is not in the table."""
    found = _TABLE.get(key(file_system))
    if isinstance(found, str) and found != LOCAL:
        room, _, name = found.partition(".")
        routine: type[Store] = getattr(import_module(f"durably._stores.{room}"), name)
        return routine
    return found
