"""A file system for fsspec on which every write is atomic and durable::

    fsspec.filesystem("durable")            # and durable:///path, wherever fsspec's URLs go
    durably.filesystem.install()            # behind file:// and plain paths as well

A file that is written gets its name when it is closed, whole, and the old one stays when something
fails: an exception that leaves a ``with`` block discards, also where fsspec, a text or compression
layer or a client in between drops it; so does a handle that is dropped. Needs ``durably[fsspec]``.
"""

from __future__ import annotations

try:
    from durably._fsspec.file import DurableFile
    from durably._fsspec.filesystem import DurableFileSystem, DurableLocalFiles
    from durably._fsspec.fsspec_transaction import DurableTransaction
except ModuleNotFoundError as missing:
    if (missing.name or "").partition(".")[0] != "fsspec":
        raise
    message = "durably.filesystem needs fsspec, which is not installed: pip install 'durably[fsspec]'"
    raise ModuleNotFoundError(message, name=missing.name) from None

from durably._fsspec import installation

__all__ = [
    "DurableFile",
    "DurableFileSystem",
    "DurableLocalFiles",
    "DurableTransaction",
    "install",
    "uninstall",
]


def install() -> installation.Installed:
    """Have fsspec use durable files for ``file://``, ``local://`` and plain paths, in this process.

    Forked children inherit it; spawned ones, such as dask's workers, must install it themselves. File
    systems that were made before stay as they are. What a client writes past fsspec is not reached.
    Calling it again does nothing. In a ``with`` statement, the end of the block uninstalls it, but where
    it was installed before.
    """
    return installation.install(DurableLocalFiles)


def uninstall() -> None:
    """Take back `install`; nothing if it was not installed. File systems that were made stay."""
    installation.uninstall()
