"""Ways to save that are wrong. If the rig does not show what is wrong with them, it shows nothing."""

from __future__ import annotations

import os
import sys
import tempfile

assert sys.platform == "linux"


def naive(path: str, data: bytes) -> None:
    """Write into the file."""
    with open(path, "wb") as file:
        file.write(data)


def in_place(path: str, data: bytes) -> None:
    """Write into the file, and flush it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def append_in_place(path: str, data: bytes) -> None:
    """Append to the file, in two writes, and flush it."""
    half = len(data) // 2
    with open(path, "ab", buffering=0) as file:
        file.write(data[:half])
        file.write(data[half:])
        os.fsync(file.fileno())


def without_fsync(path: str, data: bytes) -> None:
    """Rename a file that was not flushed; then the directory is."""
    temporary = _written(path, data, flush=False)
    os.replace(temporary, path)
    _fsync_directory(path)


def rename_only(path: str, data: bytes) -> None:
    """Rename a file that was not flushed, and flush nothing."""
    os.replace(_written(path, data, flush=False), path)


def append_only(path: str, data: bytes) -> None:
    """Append to the file, and flush nothing."""
    with open(path, "ab") as file:
        file.write(data)


def tree_rename_only(path: str, data: bytes) -> None:
    """Flush nothing, in directories made on the way."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    rename_only(path, data)


def without_directory(path: str, data: bytes) -> None:
    """Flush the file, rename it, and leave the directory alone."""
    os.replace(_written(path, data, flush=True), path)


def tree_without_directory(path: str, data: bytes) -> None:
    """The same, into directories made on the way."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    without_directory(path, data)


def rename_first(path: str, data: bytes) -> None:
    """Rename, and then flush the file and the directory."""
    os.replace(_written(path, data, flush=False), path)
    _flush(path, os.O_RDWR)
    _fsync_directory(path)


def link_first(path: str, data: bytes) -> None:
    """Give an unnamed file its final name, and then flush it and the directory."""
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    fd = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600, dir_fd=directory)
    os.write(fd, data)
    os.link(f"/proc/self/fd/{fd}", os.path.basename(path), dst_dir_fd=directory, follow_symlinks=True)
    os.fsync(fd)
    os.close(fd)
    os.fsync(directory)
    os.close(directory)


def recover_in_place(root: str) -> None:
    """A recovery that writes each file anew, in place, and flushes it."""
    for name in os.listdir(root):
        path = os.path.join(root, name)
        with open(path, "rb") as file:
            content = file.read()
        in_place(path, content)


def _written(path: str, data: bytes, *, flush: bool) -> str:
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    with open(fd, "wb") as file:
        file.write(data)
        if flush:
            file.flush()
            os.fsync(file.fileno())
    return temporary


def _flush(path: str, flags: int) -> None:
    fd = os.open(path, flags)
    os.fsync(fd)
    os.close(fd)


def _fsync_directory(path: str) -> None:
    _flush(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
