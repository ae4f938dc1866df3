"""SFTP by asyncssh (the package sshfs), which has the server flush the file."""

from __future__ import annotations

import errno
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from durably._stores.rename import Renamed
from durably._stores.store import promises

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

asyncssh: Any = import_module("asyncssh")
asyn: Any = import_module("fsspec.asyn")


class Sshfs(Renamed):
    """SFTP by sshfs."""

    creates_only = True
    is_concurrent = True
    promises = promises(
        ("yes", "posix-rename@openssh.com puts the whole new file in place in one step"),
        ("unknown", "flushed by fsync@openssh.com before the rename; the server's file system decides"),
        ("unknown", "the server's directory is not flushed: SFTP has no way to ask for it"),
    )

    def locate(self) -> None:
        # A path that is not absolute starts at the user's home directory.
        self.path = self._ask(lambda channel: channel.realpath(self.path))

    def create(self, path: str) -> Any:
        file = super().create(path)
        try:
            status = self._ask(lambda channel: channel.stat(self.path))
        except FileNotFoundError:
            return file
        self._ask(lambda channel: channel.chmod(path, status.permissions & 0o777))
        return file

    def flush(self) -> None:
        try:
            self.file.fsync()
            self.steps.append("fsync")
        except asyncssh.SFTPOpUnsupported:
            self.skipped["fsync"] = "the server does not know fsync@openssh.com"

    def replace(self, old: str, new: str) -> None:
        # Not fs.mv(), which copies where a server has no posix-rename@openssh.com.
        self._ask(lambda channel: channel.posix_rename(old, new))

    def rename(self, old: str, new: str) -> None:
        try:
            self._ask(lambda channel: channel.rename(old, new))
        except OSError as error:
            if self.exists(new) and self.exists(old):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from error
            raise

    def exists(self, path: str) -> bool:
        try:
            self._ask(lambda channel: channel.lstat(path))
        except FileNotFoundError:
            return False
        return True

    def remove(self, path: str) -> None:
        try:
            self._ask(lambda channel: channel.unlink(path))
        except FileNotFoundError:
            pass

    def _ask(self, request: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        async def ask() -> Any:
            async with self.fs._pool.get() as channel:  # noqa: SLF001 # sshfs gives it out nowhere else
                return await request(channel)

        try:
            return asyn.sync(self.fs.loop, ask)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path) from error
        except asyncssh.SFTPPermissionDenied as error:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.path) from error
        except asyncssh.Error as error:
            raise OSError(errno.EIO, f"{type(error).__name__}: {error}", self.path) from error
