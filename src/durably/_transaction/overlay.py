"""Read your writes: a directory as the transaction sees it, what it has staged over what is on the disk."""

from __future__ import annotations

import errno
import os
import stat

from durably._errors import set_error_path
from durably._system import temp_names
from durably._transaction.entry import File, Tree
from durably._transaction.operations import Identity, identity
from durably._transaction.redo_undo import found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from durably._transaction.root import Parts, Root

_CHUNK = 1 << 20


class Overlay:
    """What is staged, and what was met on the disk."""

    def __init__(self, root: Root) -> None:
        self.root: Root = root
        self.files: dict[Parts, File] = {}
        self.trees: dict[Parts, Tree] = {}
        self.read_set: dict[Parts, Identity | None] = {}
        """What the transaction has found on the disk when it first met a name."""
        self.has_read_dependency: bool = False
        """Whether what is written may rest on what was found: on a content, or on there being a file."""

    # Finding.

    def place(self, parts: Parts) -> tuple[Parts, Tree | None]:
        """The directory on the disk, from the root, that a target lies in, and the tree that is part of."""
        where: Parts = ()
        tree = None
        for number, name in enumerate(parts[:-1], 1):
            here = self.trees.get(parts[:number])
            tree, where = (here, (*here.where, here.staged)) if here else (tree, (*where, name))
        return where, tree

    def open_place(self, parts: Parts, *, make: bool = False) -> tuple[Any, Tree | None]:
        """Open the directory of a target. ``make``: stage one where there is none."""
        for number in range(1, len(parts)):
            file = self.files.get(parts[:number])
            if file is not None and file.staged is not None:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.root.full(parts))
        where, tree = self.place(parts)
        try:
            return self.root.walk(where), tree
        except FileNotFoundError:
            if not make:
                raise
        self._make_above(parts)
        where, tree = self.place(parts)
        return self.root.walk(where), tree

    def _make_above(self, parts: Parts) -> None:
        """Make the missing directories above a target: the first as a tree, the others in it."""
        for number in range(1, len(parts)):
            where, tree = self.place((*parts[:number], ""))
            above, name = where[:-1], where[-1]
            directory = self.root.walk(above)
            try:
                if found(self.root, directory, name) is None:
                    self.root.entries.check_name(parts[number - 1], self.root.full(parts))
                    if tree is None:
                        name = temp_names.fresh("t")
                        self.trees[parts[:number]] = Tree(parts[:number], above, name)
                    elif tree.target != parts[:number]:
                        tree.made.append(parts[len(tree.target) : number])
                    self.root.entries.make(directory, name)
            except OSError as error:
                self.root.set_error_path(error, parts)
                raise
            finally:
                self.root.leave(directory)

    def look_up(self, directory: Any, parts: Parts) -> os.stat_result | None:
        """What lies at a target on the disk; remembered from the first time on."""
        there = found(self.root, directory, parts[-1])
        if parts not in self.read_set:
            self.read_set[parts] = None if there is None else identity(there)
        return there

    def current(self, directory: Any, tree: Tree | None, parts: Parts) -> str | None:
        """The name, in the target's directory, of the file as the transaction sees it; None: no file."""
        file = self.files.get(parts)
        if file is not None:
            return file.staged
        there = self.look_up(directory, parts) if tree is None else found(self.root, directory, parts[-1])
        return None if there is None else parts[-1]

    # Reading.

    def read(self, parts: Parts) -> bytes:
        """The content as the transaction sees it."""
        self.has_read_dependency = True
        directory, tree = self.open_place(parts)
        try:
            name = self.current(directory, tree, parts)
            if name is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return self.content(directory, name)
        except OSError as error:
            set_error_path(error, self.root.full(parts))  # not the name it is staged under
            raise
        finally:
            self.root.leave(directory)

    def content(self, directory: Any, name: str) -> bytes:
        """The content of a file, links not followed."""
        calls = self.root.routine.calls
        fd = self.root.entries.open(directory, name)
        try:
            mode = calls.fstat(fd).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
            if not stat.S_ISREG(mode):
                raise OSError(errno.EINVAL, "is not a regular file", name)
            chunks: list[bytes] = []
            while chunk := calls.read(fd, _CHUNK):
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            self.root.dismiss(fd)

    def exists(self, parts: Parts) -> bool:
        """Whether there is a file or a directory, as the transaction sees it."""
        self.has_read_dependency = True
        if parts in self.trees:
            return True
        try:
            directory, tree = self.open_place(parts)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            return self.current(directory, tree, parts) is not None
        finally:
            self.root.leave(directory)
