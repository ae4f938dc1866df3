"""Real file systems for tests, mounted where only this process sees them: they vanish with it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from capabilities import find
from durably._system import mounts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NEW_MOUNTS = 0x20000
_MEBI = 1 << 20
_SIZES = {"xfs": 320 * _MEBI, "btrfs": 128 * _MEBI}


@contextmanager
def mounted(kind: str, directory: Path, *, make: tuple[str, ...] = (), options: str = "") -> Iterator[Path]:
    """Make a file system of this type, and mount it on ``directory`` for the length of the block.

    ``make``: arguments for mkfs. ``options``: of mount(8). An image lies beside the directory.
    """
    directory.mkdir(exist_ok=True)
    if kind in ("tmpfs", "ramfs", "overlay"):
        source = "none"
    else:
        source = str(_image(kind, directory, make))
        options = f"loop,{options}" if options else "loop"
    with _mount("-t", kind, *(("-o", options) if options else ()), source, directory=directory):
        yield directory


@contextmanager
def bound(source: Path, target: Path) -> Iterator[Path]:
    """Show a file or a directory at a second place for the length of the block."""
    with _mount("--bind", str(source), directory=target):
        yield target


@contextmanager
def _mount(*arguments: str, directory: Path) -> Iterator[None]:
    _leave()
    _run("mount", *arguments, str(directory))
    # The kernel gives the number of a mount that is gone to the next; durably remembers for a second.
    mounts._cache.clear()
    try:
        yield
    finally:
        _run("umount", str(directory))
        mounts._cache.clear()


def _image(kind: str, directory: Path, make: tuple[str, ...]) -> Path:
    image = directory.with_name(directory.name + ".image")
    with image.open("wb") as file:
        file.truncate(_SIZES.get(kind, 16 * _MEBI))
    quiet = () if kind == "vfat" else ("-q",)
    _run(f"mkfs.{kind}", *quiet, *make, str(image))
    return image


@cache
def _leave() -> None:
    """Leave the machine's mount namespace: what is mounted from now on is seen by this process only."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _run("mount", "--make-rprivate", "/")


def _run(program: str, *arguments: str) -> None:
    path = find(program)
    assert path is not None, f"{program} is not installed; the test lacks its mark"
    done = subprocess.run([path, *arguments], capture_output=True, check=False)
    assert done.returncode == 0, f"{program} {arguments}: {done.stderr.decode(errors='replace')}"
