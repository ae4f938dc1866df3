"""SFTP by paramiko (fsspec's own ``sftp``), which cannot have the server flush the file."""

from __future__ import annotations

import errno
import os
from typing import Any, cast

from durably._stores.rename import Renamed
from durably._stores.store import promises


class Sftp(Renamed):
    """SFTP by paramiko."""

    creates_only = True
    promises = promises(
        ("yes", "posix-rename@openssh.com puts the whole new file in place in one step"),
        ("no", "paramiko cannot have the server flush the file before it is renamed; sshfs can"),
        ("no", "paramiko cannot have the server flush the file before it is renamed; sshfs can"),
    )

    def locate(self) -> None:
        self.path = self.fs.ftp.normalize(self.path)

    def create(self, path: str) -> Any:
        file = super().create(path)
        mode = self._old_mode()
        if mode is not None:
            file.chmod(mode)
        return file

    def _old_mode(self) -> int | None:
        try:
            return cast("int", self.fs.ftp.stat(self.path).st_mode) & 0o777
        except FileNotFoundError:
            return None

    def replace(self, old: str, new: str) -> None:
        self.fs.ftp.posix_rename(old, new)

    def rename(self, old: str, new: str) -> None:
        try:
            self.fs.ftp.rename(old, new)
        except OSError as error:
            raise _refused(error, self, new) from error

    def exists(self, path: str) -> bool:
        try:
            self.fs.ftp.lstat(path)
        except FileNotFoundError:
            return False
        return True

    def remove(self, path: str) -> None:
        try:
            self.fs.ftp.remove(path)
        except FileNotFoundError:
            pass


def _refused(error: OSError, store: Renamed, target: str) -> OSError:
    """SFTP says no more than "failure" where a target is in the way."""
    if error.errno is None and store.exists(target) and store.exists(store.temporary):
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    return error
