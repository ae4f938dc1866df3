"""The write set of a transaction: what it has written, removed and renamed; and the operations it commits."""

from __future__ import annotations

import errno
import os
import stat

from durably._errors import note_leftovers, set_error_path
from durably._file.protocol import discard
from durably._system import temp_names
from durably._transaction.commit import changed
from durably._transaction.entry import File, StagedSave
from durably._transaction.flusher import Flusher
from durably._transaction.operations import Identity, Operation
from durably._transaction.overlay import Overlay
from durably._transaction.redo_undo import found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from durably._transaction.entry import Precondition, Tree
    from durably._transaction.root import Parts, Root
    from durably._types import Options


class WriteSet(Overlay):
    """The staged files and trees of one transaction."""

    files: dict[Parts, File]
    trees: dict[Parts, Tree]
    has_read_dependency: bool

    def __init__(self, root: Root) -> None:
        super().__init__(root)
        self.flusher: Flusher = Flusher(root)
        self.writing: set[Parts] = set()
        self.left: list[str] = []
        """The paths of what should have been removed by now, and could not."""

    # Writing.

    def begin(
        self, parts: Parts, path: str, options: Options, precondition: Precondition, *, private: bool = False
    ) -> StagedSave:
        """A save of a target, located. Give it to `finish`, or to `abandon`.

        Its ``name`` is that of the file as the transaction sees it, to be copied or looked at; with
        ``private=True``, that of the target.
        """
        self._check_open(path)
        save = StagedSave(path, options)
        save.parts = parts
        if parts in self.writing:
            raise OSError(errno.EBUSY, "is being written in this transaction already", path)
        if parts in self.trees:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        self.root.entries.check_name(parts[-1], path)
        directory, save.tree = self.open_place(parts, make=options.make_parents)
        self.writing.add(parts)
        save.directory = save.staging = directory
        save.where = self.root.full(self.place(parts)[0])
        try:
            self._examine(save, precondition, private=private)
        except BaseException as error:
            self.abandon(save, error)
            raise
        return save

    def _check_open(self, path: str) -> None:
        """Raise ValueError where nothing more is taken."""
        if self.root.directory is None:
            raise ValueError(f"{path!r} comes too late: its transaction is over; the file was not changed")

    def _examine(self, save: StagedSave, precondition: Precondition, *, private: bool) -> None:
        parts = save.parts
        there = self.look_up(save.directory, parts) if save.tree is None else None
        if there is not None and stat.S_ISLNK(there.st_mode) and save.options.symlinks != "replace":
            message = "is a symbolic link, and a transaction follows none; symlinks='replace' replaces it"
            raise OSError(errno.ELOOP, message, save.path)
        self.has_read_dependency |= precondition is not ...
        if precondition is not ...:
            self._check_precondition(save, precondition)
        # What was written in this transaction is the old file; after a removal there is none.
        file = self.files.get(parts)
        save.name = parts[-1] if file is None or private else (file.staged or temp_names.fresh("t"))
        self.root.routine.examine(save)

    def _check_precondition(self, save: StagedSave, precondition: Precondition) -> None:
        current = self.current(save.directory, save.tree, save.parts)
        is_so = current is None if precondition is None else current is not None
        if is_so and current is not None:
            is_so = self.content(save.directory, current) == precondition
        if not is_so:
            raise OSError(errno.ESTALE, "does not hold what was expected; no file was changed", save.path)

    def finish(self, save: StagedSave, size: int, precondition: Precondition) -> None:
        """Take a file that is written; what was staged for the target before is dropped."""
        self._check_open(save.path)
        routine, root, parts = self.root.routine, self.root, save.parts
        save.name = parts[-1]
        if save.options.permissions is not None:
            routine.seal(save)
        self.flusher.add(save, size)
        self._take(save, save.staging, precondition)
        self.writing.discard(parts)
        if save.private is not None:
            left = OSError()
            discard(routine, save, left)  # the directory, which is empty by now
            where = root.full(parts[:-1])  # a tree that it lies in will have its own name by then
            dropped: tuple[str, ...] = getattr(left, "leftovers", ())
            self.left += (os.path.join(where, os.path.basename(each)) for each in dropped)
        routine.release(save)
        root.notes.lost = tuple(dict.fromkeys((*root.notes.lost, *save.lost)))
        root.notes.skipped.update(save.skipped)

    def _take(self, save: StagedSave, directory: Any, precondition: Precondition) -> None:
        """Enter the temporary of a save as the new file of its target."""
        entries, file = self.root.entries, self.files.get(save.parts)
        assert save.temporary is not None
        new = file or File()
        if new.precondition is ... and precondition is not ... and file is None:
            new.precondition = precondition
        before, new.tree = new.staged, save.tree
        if save.tree is not None:
            entries.move(directory, save.temporary, save.directory, save.parts[-1], replace=True)
            save.temporary, before = None, None
            new.staged = save.parts[-1]
        else:
            if save.private is not None:
                name = temp_names.fresh("t")
                try:
                    entries.move(directory, save.temporary, save.directory, name, replace=True)
                except BaseException:
                    self.left += self.root.discard([(save.parts[:-1], name)])  # it may have happened
                    raise
                save.temporary = name
            new.staged, save.temporary = save.temporary, None
        self.files[save.parts] = new
        if before is not None:
            self.left += self.root.discard([(save.parts[:-1], before)])

    def abandon(self, save: StagedSave, error: BaseException) -> None:
        """Give up a file that was not taken, because of ``error``, which names what could not be removed."""
        self.writing.discard(save.parts)
        discard(self.root.routine, save, error)
        if isinstance(error, OSError):
            set_error_path(error, save.path)

    # Removing and renaming.

    def remove(self, parts: Parts, path: str, precondition: Precondition = ...) -> None:
        """Have a file removed."""
        directory, tree = self.open_place(parts)
        try:
            name = self._removable(directory, tree, parts, path)
            self.has_read_dependency |= precondition is not ...
            if precondition is not ... and (
                precondition is None or self.content(directory, name) != precondition
            ):
                raise OSError(errno.ESTALE, "does not hold what was expected; no file was changed", path)
            file = self.files.get(parts) or File()
            if precondition is not ... and parts not in self.files:
                file.precondition = precondition
            if file.staged is not None or tree is not None:
                self.root.entries.unlink(directory, name)
            file.staged, file.tree = None, None
            if tree is None:
                self.files[parts] = file
            else:
                self.files.pop(parts, None)
        finally:
            self.root.leave(directory)

    def _removable(self, directory: Any, tree: Tree | None, parts: Parts, path: str) -> str:
        if parts in self.writing:
            raise OSError(errno.EBUSY, "is being written in this transaction", path)
        name = None if parts in self.trees else self.current(directory, tree, parts)
        if parts in self.trees or (name and stat.S_ISDIR(self.root.routine.lookup(directory, name).st_mode)):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if name is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return name

    def rename(self, old: Parts, new: Parts, path: str, new_path: str, options: Options) -> None:
        """Have a file moved to another name, over what is there."""
        directory, tree = self.open_place(old)
        try:
            name = self._removable(directory, tree, old, path)
            if old == new:
                return
            save = self.begin(new, new_path, options, ...)
            try:
                save.name, save.temporary = new[-1], temp_names.fresh("t")
                # A second name of the very file: the first goes with the others, at the commit.
                self.root.entries.link(directory, name, save.directory, save.temporary)
                self._take(save, save.directory, ...)
                self.writing.discard(new)
                self.root.routine.release(save)
            except BaseException as error:
                self.abandon(save, error)
                if isinstance(error, OSError):
                    set_error_path(error, path)  # as of os.rename
                raise
        finally:
            self.root.leave(directory)
        self.remove(old, path)

    # The end.

    def operations(self) -> list[Operation]:
        """What is to be published, by directory."""
        trees = [self._tree(tree) for tree in self.trees.values()]
        files = [
            Operation(parts[:-1], parts[-1], staged=file.staged, old=self.read_set[parts])
            for parts, file in self.files.items()
            if file.tree is None and not (file.staged is None and self.read_set[parts] is None)
        ]
        # A tree that only a failed write, or a removal, has left is not published.
        full = [each for each in trees if each.inside and any(each.inside.values())]
        return sorted([*full, *files], key=lambda each: each.where)

    def _tree(self, tree: Tree) -> Operation:
        target = tree.target
        # The inner before the outer: in that order they are flushed.
        inside: dict[str, Identity | None] = {"/".join(parts): None for parts in reversed(tree.made)}
        for parts, file in self.files.items():
            if file.tree is tree:
                inside["/".join(parts[len(target) :])] = Identity(0, 0, 0)
        return Operation(target[:-1], target[-1], staged=tree.staged, inside=inside)

    def verify(self) -> None:
        """Raise where a file no longer holds what it must."""
        for parts, file in self.files.items():
            if isinstance(file.precondition, bytes):
                directory = self.root.walk(parts[:-1])
                try:
                    there = found(self.root, directory, parts[-1])
                    if there is None or self.content(directory, parts[-1]) != file.precondition:
                        raise changed(self.root, parts)
                finally:
                    self.root.leave(directory)

    def forget_published(self, operations: list[Operation]) -> None:
        """These are published: throw away the trees that are not."""
        published = {each.path for each in operations}
        self.files = {}
        self.trees = {target: tree for target, tree in self.trees.items() if target not in published}
        left = self.discard()
        if left:
            self.root.notes.skipped["remove"] = f"left over: {', '.join(left)}"

    def throw_away(self, error: BaseException) -> None:
        """Remove everything that is staged, because of ``error``, which names what could not be removed."""
        if self.root.unfinished:
            return  # the journal stands, and a recovery ends what it says
        told: tuple[str, ...] = getattr(error, "leftovers", ())
        left = tuple(path for path in self.discard() if path not in told)
        if left:
            note_leftovers(error, left)

    def discard(self) -> tuple[str, ...]:
        """Remove everything that is staged. Returns the paths of what could not be removed."""
        self.flusher.discard()
        staged = [(parts[:-1], file.staged) for parts, file in self.files.items() if file.tree is None]
        staged += [(tree.where, tree.staged) for tree in self.trees.values()]
        self.files, self.trees = {}, {}
        left = (*self.left, *self.root.discard(sorted(staged, key=lambda each: each[0])))
        self.left.clear()
        return left
