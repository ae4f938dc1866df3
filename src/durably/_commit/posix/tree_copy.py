"""Copying a tree, with its metadata, by descriptors; extents are shared where the system can."""

from __future__ import annotations

import stat

from durably._commit.pending import PendingFile
from durably._commit.posix.flags import CREATE, DIRECTORY, NOFOLLOW, PRIVATE, READ
from durably._system.syscalls import write_all
from durably._types import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from durably._commit.pending import PendingTree
    from durably._commit.posix.tree import Trees

_CHUNK = 1 << 20
_PRIVATE_DIRECTORY = 0o700
_PLAIN, _SPECIAL = 0o777, 0o7000


def copy_tree(trees: Trees, save: PendingTree, source: int, target: int) -> None:
    """Fill an empty directory with copies of what is in another; hard links become files of their own.

    FIFOs, sockets and devices are left out, and named in ``save.skipped``.
    """
    calls = trees.calls
    for name in calls.listdir(source):
        status = calls.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _copy_directory(trees, save, source, target, name)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(trees, save, source, target, name)
        elif stat.S_ISLNK(status.st_mode):
            calls.symlink(calls.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            reason = f"neither file, directory nor link: {name}"
            save.skipped["copy"] = "; ".join(filter(None, (save.skipped.get("copy"), reason)))


def _copy_directory(trees: Trees, save: PendingTree, source: int, target: int, name: str) -> None:
    calls = trees.calls
    old = calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=source)
    try:
        calls.mkdir(name, _PRIVATE_DIRECTORY, dir_fd=target)
        new = calls.open(name, DIRECTORY | NOFOLLOW, dir_fd=target)
        try:
            copy_tree(trees, save, old, new)
            _dress(trees, save, source, name, old, new)
        finally:
            calls.close(new)
    finally:
        calls.close(old)


def _copy_file(trees: Trees, save: PendingTree, source: int, target: int, name: str) -> None:
    calls = trees.calls
    old = calls.open(name, READ, dir_fd=source)
    try:
        new = calls.open(name, CREATE, PRIVATE, dir_fd=target)
        try:
            if not trees.posix.share_extents(new, old):
                while chunk := calls.read(old, _CHUNK):
                    write_all(calls, new, memoryview(chunk))
            _dress(trees, save, source, name, old, new)
        finally:
            calls.close(new)
    finally:
        calls.close(old)


def _dress(trees: Trees, save: PendingTree, place: int, name: str, source: int, target: int) -> None:
    """Give a copy its original's owner, attributes, mode and times, as a replaced file's are carried."""
    calls = trees.calls
    metadata: Literal["preserve", "strict"] = "strict" if save.options.metadata == "strict" else "preserve"
    copy = PendingFile(save.path, resolve({"metadata": metadata}))
    copy.directory, copy.name, copy.fd = place, name, target
    old = calls.fstat(source)
    copy.replaces(old)
    trees.read_attributes(copy, source)
    trees.posix.apply_metadata(copy)
    special = old.st_mode & _SPECIAL
    if special and not copy.lost:
        calls.fchmod(target, calls.fstat(target).st_mode & _PLAIN | special)
    calls.utime(target, ns=(old.st_atime_ns, old.st_mtime_ns))
    save.lost = tuple(dict.fromkeys((*save.lost, *(f"{what} of copies" for what in copy.lost))))
