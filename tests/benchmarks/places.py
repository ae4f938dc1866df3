"""Directories to save in: memory, a fresh ext4, the disk at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHARED_MEMORY = Path("/dev/shm")  # a tmpfs on every Linux
_IMAGE_MIB = 256


@contextmanager
def one_processor() -> Iterator[None]:
    """Keep this process and its children on one processor: what one has cached, the next one finds."""
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def memory() -> Iterator[tuple[Path, str]]:
    """A directory on a tmpfs, or the system's temporary one where there is none."""
    known = sys.platform == "linux" and os.access(_SHARED_MEMORY, os.W_OK)
    with tempfile.TemporaryDirectory(prefix="durably-", dir=_SHARED_MEMORY if known else None) as directory:
        yield Path(directory), "tmpfs" if known else "temporary directory"


@contextmanager
def disk(parent: Path) -> Iterator[tuple[Path, str]]:
    """A directory on the disk that ``parent`` lies on."""
    with tempfile.TemporaryDirectory(prefix=".durably-benchmark-", dir=parent) as directory:
        yield Path(directory), f"disk of {parent}"


@contextmanager
def ext4(parent: Path) -> Iterator[tuple[Path, str]]:
    """A fresh ext4 in an image, where this user may mount one; else a directory on the disk."""
    with disk(parent) as (directory, _):
        mounted = _mount(directory)
        if mounted is None:
            yield directory, f"disk of {parent} (no ext4 could be mounted)"
            return
        try:
            yield mounted, "fresh ext4"
        finally:
            subprocess.run(["umount", mounted], check=True)


def _mount(directory: Path) -> Path | None:
    image, mountpoint = directory / "ext4.img", directory / "ext4"
    tools = all(map(shutil.which, ("mkfs.ext4", "mount", "umount")))
    if not tools or sys.platform == "win32" or os.geteuid() != 0:
        return None
    mountpoint.mkdir()
    with image.open("wb") as file:
        file.truncate(_IMAGE_MIB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    mount = subprocess.run(["mount", "-o", "loop", image, mountpoint], check=False, capture_output=True)
    return mountpoint if mount.returncode == 0 else None
