"""Directories to save in: memory, fresh file systems in images, the disk at hand."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import durably

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("ext4", "xfs", "btrfs")
_SHARED_MEMORY = Path("/dev/shm")  # a tmpfs on every Linux
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS of linux/sched.h
_IMAGE_MIB = 2048
_FOR_A_MILLION = ("-N", "1200000")  # inodes; mkfs.ext4 would give one for 16 KiB


class CannotError(Exception):
    """This machine has no such place; the message says why."""


@cache
def mounts_of_our_own() -> str | None:
    """See to it that what is mounted is seen by this process and its children only, and ends with them.

    Call it before there are threads; a second call does nothing. Returns what this machine lacks for it,
    or None.
    """
    if sys.platform != "linux":
        return "loop mounts are Linux's"
    if os.geteuid() != 0:
        return "loop mounts take root"
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS) != 0:
        return f"no mount namespace of one's own: {os.strerror(ctypes.get_errno())}"
    done = subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True, text=True)
    return done.stderr.strip() or None


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
        yield Path(directory), f"the machine's {durably.probe(directory).file_system}"


@contextmanager
def fresh(kind: str, parent: Path, *, many: bool = False) -> Iterator[Path]:
    """A fresh file system in an image on the disk that ``parent`` lies on. Raises CannotError.

    ``many``: with room for a million files.
    """
    if why := mounts_of_our_own():
        raise CannotError(f"fresh {kind}: {why}")
    if shutil.which(f"mkfs.{kind}") is None:
        raise CannotError(f"fresh {kind}: there is no mkfs.{kind}")
    options = _FOR_A_MILLION if many else ()
    with disk(parent) as (directory, _):
        image, mountpoint = directory / "image", directory / kind
        mountpoint.mkdir()
        with image.open("wb") as file:
            file.truncate(_IMAGE_MIB << 20)
        run(f"fresh {kind}", f"mkfs.{kind}", "-q", *options, str(image))
        run(f"fresh {kind}", "mount", "-o", "loop", str(image), str(mountpoint))
        try:
            yield mountpoint
        finally:
            _unmount(mountpoint)


@contextmanager
def ext4_or_disk(parent: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """A fresh ext4, or the disk at hand; what it is, and why it is no fresh ext4, if it is none."""
    with ExitStack() as stack:
        why: list[str] = []
        try:
            directory, place = stack.enter_context(fresh("ext4", parent)), "fresh ext4"
        except CannotError as error:
            directory, place = stack.enter_context(disk(parent))
            why = [str(error)]
        yield directory, place, why


def run(what: str, *command: str) -> None:
    """Raises CannotError if the command fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1]
        # A reason is kept, and a path is nobody's business.
        for path in (each for each in command if each.startswith("/") or os.path.isabs(each)):
            said = said.replace(path, os.path.basename(path))
        raise CannotError(f"{what}: {command[0]}: {said}")


def _unmount(mountpoint: Path) -> None:
    """At once, or, if something in there is still open, when it is closed: the namespace ends with us."""
    done = subprocess.run(["umount", mountpoint], check=False, capture_output=True)
    if done.returncode != 0:
        subprocess.run(["umount", "--lazy", mountpoint], check=True)


def drain(directory: Path) -> None:
    """Have written what others have left there: it is not the next contender's to write."""
    if sys.platform == "linux":
        from durably._system.native import linux

        fd = os.open(directory, os.O_RDONLY)
        try:
            linux.syncfs(fd)
        finally:
            os.close(fd)
    elif sys.platform != "win32":
        os.sync()
