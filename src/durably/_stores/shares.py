"""Servers of files that rename over a target by their own means: SMB, WebDAV, FTP."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from importlib import import_module
from typing import Any

from durably._stores.rename import NO_FLUSH, Renamed
from durably._stores.store import promises


class Smb(Renamed):
    """SMB shares, by smbprotocol (fsspec's ``smb``)."""

    creates_only = True
    promises = promises(
        ("unknown", "the server renames; a target that others have open may be refused"),
        ("unknown", NO_FLUSH),
        ("unknown", NO_FLUSH),
    )

    def _unc(self, path: str) -> str:
        return f"\\\\{self.fs.host}{path}".replace("/", "\\")

    def replace(self, old: str, new: str) -> None:
        smbclient = import_module("smbclient")
        smbclient.replace(self._unc(old), self._unc(new), port=self._port())

    def rename(self, old: str, new: str) -> None:
        smbclient = import_module("smbclient")
        smbclient.rename(self._unc(old), self._unc(new), port=self._port())

    def _port(self) -> int:
        return 445 if self.fs.port is None else int(self.fs.port)

    def reconnect(self) -> None:
        # smbprotocol keeps one connection a server for the whole process, also a broken one; saying
        # goodbye over that fails in its turn.
        with suppress(Exception):
            import_module("smbclient").delete_session(self.fs.host, port=self._port())
        super().reconnect()


class WebDav(Renamed):
    """WebDAV, by webdav4: MOVE with ``Overwrite: T``."""

    creates_only = True
    is_concurrent = True
    promises = promises(
        ("unknown", "a server may remove the old file before it moves the new one (RFC 4918, 9.9.3)"),
        ("unknown", "a server may remove the old file before it moves the new one (RFC 4918, 9.9.3)"),
        ("unknown", NO_FLUSH),
    )

    def begin(self) -> None:
        self._refuse_directory(self.path)
        super().begin()
        # webdav4 uploads when its file is closed, and not before.
        self.left = ()

    def commit(self) -> None:
        self.left = (self.temporary,)
        super().commit()

    def replace(self, old: str, new: str) -> None:
        self._refuse_directory(new)
        self.fs.client.move(old, new, overwrite=True)

    def _refuse_directory(self, path: str) -> None:
        # MOVE with Overwrite: T removes a directory with all that is in it (RFC 4918, 9.9.3).
        if self.fs.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)

    def rename(self, old: str, new: str) -> None:
        try:
            self.fs.client.move(old, new, overwrite=False)
        except import_module("webdav4.client").ResourceAlreadyExists as error:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from error

    def close_unsent(self) -> None:
        self.file.discard()


class Ftp(Renamed):
    """FTP: RNFR and RNTO, which replace on the servers that rename as POSIX does."""

    promises = promises(
        ("unknown", "the server renames; some remove the old file first, or refuse"),
        ("unknown", NO_FLUSH),
        ("unknown", NO_FLUSH),
    )

    def replace(self, old: str, new: str) -> None:
        self.fs.ftp.rename(old, new)
        self.fs.invalidate_cache()

    def fetch(self, sink: Any) -> None:
        # Not by the client's file, which asks for a part, and then waits for an answer that does not come.
        if not self.exists(self.path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        self.fs.get_file(self.path, sink)

    def exists(self, path: str) -> bool:
        self.fs.invalidate_cache()
        return super().exists(path)

    def remove(self, path: str) -> None:
        if self.exists(path):
            self.fs.ftp.delete(path)

    def close_unsent(self) -> None:
        self.file.closed = True

    def let_go(self) -> None:
        if self.file is not None:
            self.close_unsent()
