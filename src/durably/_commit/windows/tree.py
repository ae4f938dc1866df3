"""Directories on Windows: a new one is renamed into place, or a link to it; none can be exchanged."""

from __future__ import annotations

import errno
import os
import stat

from durably._commit.posix.private_dir import check_alone
from durably._commit.tree_strategy import TreeRoutine
from durably._commit.windows import target as entry
from durably._commit.windows import tree_versions as links
from durably._errors import UnsupportedError, took_place
from durably._system import temp_names
from durably._system.native import win32 as win

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingTree
    from durably._commit.windows.strategy import Windows

_NO_EXCHANGE = "cannot be replaced: Windows has no call that exchanges two directories; nothing was changed"
_NO_PART = "fallback='symlink' takes neither keep_old nor start_from on Windows; nothing was changed"
_NO_WITNESS = "others wrote the files and closed them; an earlier write error may be missed"


class WindowsTrees(TreeRoutine):
    """Windows: there is an old directory only behind a link."""

    def __init__(self, routine: Windows) -> None:
        self.routine = self.windows = routine
        self.calls = routine.calls

    def locate(self, save: PendingTree) -> None:
        if save.fallback is not None and (save.copies or save.keep_old is not None):
            raise UnsupportedError(errno.ENOTSUP, _NO_PART, save.path)
        entry.enter(self.calls, save, save.path.rstrip("/\\") or save.path)
        self._look(save)

    def _look(self, save: PendingTree) -> None:
        """See what the target is. Refuses everything but a link of ours, where links are asked for."""
        save.old, save.old_version, save.preserve_metadata = None, None, False
        found = entry.look(self.calls, save)
        if found is None:
            return
        if not save.options.overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), save.path)
        if save.fallback is not None:
            save.old_version = links.version(self.calls, save, found)
            if save.old_version is not None:
                save.replaces(found)
            return
        if not stat.S_ISDIR(found.st_mode):
            message = "is not a directory, and is not exchanged with one; nothing was changed"
            raise NotADirectoryError(errno.ENOTDIR, message, save.path)
        raise UnsupportedError(errno.ENOTSUP, _NO_EXCHANGE, save.path)

    def create(self, save: PendingTree) -> str:
        while save.staging == save.directory:
            save.private = temp_names.fresh("d" if save.fallback is None else "v")
            path = os.path.join(save.directory, save.private)
            try:
                self.calls.mkdir(path, 0o777)  # others of this access list may write: the tree keeps it
            except FileExistsError:
                save.private = None  # not ours: it must not be cleaned up
            else:
                save.staging = path
        save.lock = self.windows.files.lock_directory(save.staging)
        save.steps.append("create private directory")
        staged = os.path.join(save.staging, save.name)
        self.calls.mkdir(staged, 0o777)
        if save.fallback is not None:
            links.check_supported(self.windows, save)
        return staged

    def take_over(self, save: PendingTree) -> int:
        check_alone(save, sorted(self.calls.listdir(save.staging)))
        staged = os.path.join(save.staging, save.name)
        found = self.calls.stat(staged, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            message = "what was staged is not a directory; the target was not changed"
            raise NotADirectoryError(errno.ENOTDIR, message, save.path)
        save.identity = found.st_dev, found.st_ino
        save.steps.append("write")
        if save.fallback is not None:
            self._look(save)
            if save.preserve_metadata:
                links.carry(self.calls, save, staged)
        return sum(size for _, size in self._files(staged))

    def _files(self, directory: str) -> list[tuple[str, int]]:
        """The regular files of a tree, and their sizes; links and junctions are not followed."""
        found: list[tuple[str, int]] = []
        for name in self.calls.listdir(directory):
            path = os.path.join(directory, name)
            status = self.calls.stat(path, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                found.append((path, status.st_size))
            elif stat.S_ISDIR(status.st_mode) and not self._leads_elsewhere(path):
                found += self._files(path)
        return found

    def _leads_elsewhere(self, path: str) -> bool:
        return bool(self.calls.get_file_attributes(path) & win.FILE_ATTRIBUTE_REPARSE_POINT)

    def flush(self, save: PendingTree) -> None:
        save.skipped["witness"] = _NO_WITNESS
        files = self.windows.files
        for path, _ in self._files(os.path.join(save.staging, save.name)):
            fd = files.retry_sharing_violation(lambda path=path: files.open(path))  # type: ignore[misc] # one each
            try:
                self.calls.fsync(fd)
            finally:
                self.calls.close(fd)
        save.steps.append("fsync")

    def rename_into_place(self, save: PendingTree) -> None:
        """Rename the tree to the target, which must not exist, or a link to it. Sets ``published``."""
        try:
            if save.fallback is not None:
                links.switch(self.windows, save)
            else:
                self._appear(save)
        except OSError as error:
            if not took_place(error, save.path, lambda: self.windows.is_published(save)):
                raise
        save.published = True
        save.steps.append("rename" if save.fallback is None else "rename link")

    def _appear(self, save: PendingTree) -> None:
        save.publishing = True
        staged, target = os.path.join(save.staging, save.name), entry.target(save)
        self.windows.files.retry_sharing_violation(
            lambda: self.calls.move_file(staged, target, win.MOVEFILE_WRITE_THROUGH),
            lambda: self._refuse(save),
        )

    def _refuse(self, save: PendingTree) -> None:
        """Raise where "access denied" will not pass: there is such a directory by now."""
        found = entry.look(self.calls, save)
        if found is not None and (found.st_dev, found.st_ino) != save.identity:
            if not save.options.overwrite:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), save.path)
            raise UnsupportedError(errno.ENOTSUP, _NO_EXCHANGE, save.path)

    def keep(self, save: PendingTree) -> None:
        """Nothing: there was no old tree."""

    def remove_old(self, save: PendingTree) -> None:
        if save.fallback is not None:
            save.private = None  # it is the version that the link leads to
        try:
            if save.old_version is not None:
                self.windows.remove_entry(save.directory, save.old_version)
                save.old_version = None
        finally:
            self.windows.remove(save)

    def leftovers(self, save: PendingTree) -> tuple[str, ...]:
        is_linked = save.published and save.fallback is not None
        return self._located(save, (save.old_version if is_linked else save.private,))

    def doubtful(self, save: PendingTree) -> tuple[str, ...]:
        return self._located(save, (save.private, save.old_version))

    def _located(self, save: PendingTree, names: tuple[str | None, ...]) -> tuple[str, ...]:
        return tuple(os.path.join(save.directory, name) for name in names if name is not None)

    def discard(self, save: PendingTree) -> None:
        self.windows.remove(save)
