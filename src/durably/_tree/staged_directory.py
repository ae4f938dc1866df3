"""Saving a whole directory that others write."""

from __future__ import annotations

from durably import _commit
from durably._commit.pending import PendingTree
from durably._file.options import resolve_local
from durably._file.paths import local
from durably._file.staged_block import StagedBlock
from durably._system import fork
from durably._tree.protocol import abandon, discard, finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, Unpack

    from durably._file.paths import StrPath
    from durably._receipts import Receipt
    from durably._types import Options, SaveOptions


class staged_directory(StagedBlock):  # noqa: N801 # used like a function, as contextlib.suppress is
    """Save a whole directory that others write, in one step::

        with durably.staged_directory("data.parquet") as directory:
            frame.to_parquet(directory)

    Yields a `pathlib.Path` with the target's own name: an empty directory, in a private one (mode
    0700) beside the target. Any number of processes may write into it, by its path; they must have
    closed their files before the block ends, and writers on other hosts must have flushed theirs.
    Leaving the block flushes everything in it and swaps it in; any exception throws it away. One that
    is entered and dropped does so too, with a ResourceWarning. It is entered once, and cannot be copied or
    pickled.

    Whoever looks the target up meets a whole old or a whole new tree. A reader that opens ``data/a``
    and then ``data/b`` may meet both; one that opens the directory once, and goes on from the
    descriptor, meets one, and may see the old one vanish unless it is kept.

    ``path``: str, bytes or PathLike; a directory, or nothing yet. It must contain no mounted file system.
    ``keep_old``: a path, not there yet, on the same file system, that the old directory is moved to;
    by default it is removed.
    ``start_from``: "copy": begin with a copy of the old directory (sharing extents where the file
    system can) instead of an empty one.
    ``fallback``: "symlink": the target is a symbolic link to one of several versions beside it, and
    the link is replaced. This works where directories cannot be exchanged: on POSIX systems, and on
    Windows where a trial shows that one link replaces another (without ``keep_old`` and ``start_from``;
    a junction where symbolic links may not be made). The first save makes the link; a real directory is
    not replaced by one. A reader that has looked at the link when it is replaced may find the old
    version gone (FileNotFoundError), and then looks again.
    ``options``: ``durability``, ``overwrite``, ``metadata``, ``permissions`` and ``make_parents``, as
    for `durably.open`; the last but one and the mode, owner, ACL and user attributes that are carried
    over are those of the directory itself. ``allow_in_place`` cannot be kept, and of ``symlinks`` only
    "refuse", which is what is done in any case.

    ``receipt`` is set at the end; its ``size`` is that of all regular files together. ``skipped`` names
    what is left of the old directory where it could not be removed; `durably.sweep` removes it later.

    Raises at the beginning, with nothing changed: ValueError or TypeError for bad arguments,
    FileNotFoundError (no directory above it), FileExistsError (``overwrite=False``, or ``keep_old`` is
    there), NotADirectoryError, OSError with errno ELOOP for a symbolic link or EXDEV for a ``keep_old``
    on another file system, `UnsupportedError` where directories cannot be exchanged, something is
    mounted in the old one, or a real directory meets ``fallback``. At the end, with the target not
    changed: any builtin OSError, FileNotFoundError where the yielded directory is gone,
    FileExistsError under ``overwrite=False`` when another has created the target meanwhile,
    `UnsupportedError` where only the exchange itself could show that there is none (lower
    directories of overlayfs); and `NotDurableError`: the new directory is in place, the old one is
    still there, and a power cut may bring it back. An exception from outside (KeyboardInterrupt)
    leaves a whole old or a whole new directory. What could not be removed is named in
    ``error.leftovers``.
    """

    __slots__ = ("_tree", "_trees")

    def __init__(
        self,
        path: StrPath,
        *,
        keep_old: StrPath | None = None,
        start_from: Literal["copy"] | None = None,
        fallback: Literal["symlink"] | None = None,
        **options: Unpack[SaveOptions],
    ) -> None:
        super().__init__()
        target, checked = local(path), _checked(options)
        self._save = self._tree = save = PendingTree(target, checked, held=True)
        save.copies = _choice("start_from", start_from, "copy") is not None
        save.fallback = _choice("fallback", fallback, "symlink")
        save.keep_old = None if keep_old is None else local(keep_old)
        if not checked.overwrite and (save.copies or keep_old is not None):
            raise ValueError("overwrite=False allows no old directory to copy or to keep")
        self._trees = _commit.routine().trees()

    def _create(self) -> str:
        self._trees.locate(self._tree)
        fork.watch(None, self._trees.routine, self._tree)
        return self._trees.create(self._tree)

    def _finish(self) -> Receipt:
        return finish(self._trees, self._tree)

    def _discard(self, error: BaseException) -> None:
        discard(self._trees, self._tree, error)

    def _abandon(self, error: BaseException) -> None:
        abandon(self._trees, self._tree, error)


def _checked(options: SaveOptions) -> Options:
    checked = resolve_local(options)
    if checked.allow_in_place:
        raise ValueError("allow_in_place rewrites a file; there is no such thing for a directory")
    if "symlinks" in options and checked.symlinks != "refuse":
        raise ValueError(
            f"symlinks={checked.symlinks!r} is not for directories: a link is never exchanged with one"
        )
    return checked


def _choice(name: str, value: object, allowed: str) -> str | None:
    if value is None or value == allowed:
        return allowed if value else None
    raise ValueError(f"{name} must be None or {allowed!r}, not {value!r}")
