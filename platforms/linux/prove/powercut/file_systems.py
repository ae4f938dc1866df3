"""The file systems: how each is made, mounted and checked."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NamedTuple

_MEBI = 1 << 20
_PATH = "/usr/sbin:/sbin:" + os.environ.get("PATH", "/usr/bin:/bin")


class FileSystem(NamedTuple):
    """One type.

    ``size`` of the disk in bytes; ``make`` and ``check``: commands that take the disk's path;
    ``options``: of mount, whatever else is asked for; ``package``: what holds the commands, in Debian.
    """

    kind: str
    size: int
    make: tuple[str, ...]
    check: tuple[str, ...]
    options: str
    package: str


FILE_SYSTEMS = {
    one.kind: one
    for one in (
        FileSystem(
            "ext4",
            96 * _MEBI,
            ("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
            ("e2fsck", "-fn"),
            "",
            "e2fsprogs",
        ),
        FileSystem(
            "xfs",
            320 * _MEBI,
            ("mkfs.xfs", "-q", "-f"),
            ("xfs_repair", "-n", "-f"),
            "nouuid",  # several states of one file system are mounted at a time
            "xfsprogs",
        ),
        FileSystem(
            "btrfs",
            160 * _MEBI,
            ("mkfs.btrfs", "-q", "-f"),
            ("btrfs", "check"),
            "",
            "btrfs-progs",
        ),
    )
}

# Mounted for the controls: without it ext4 writes a replaced file out early, which hides what they lack.
REVEALING = {"ext4": "noauto_da_alloc"}


def options_of(kind: str, asked: str) -> str:
    """The options to mount with."""
    return ",".join(option for option in (FILE_SYSTEMS[kind].options, asked) if option)


def find(program: str) -> str | None:
    """The path of a program, also where mkfs lies and an ordinary PATH does not look."""
    return shutil.which(program, path=_PATH)


def run(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run one of the commands, with its output. Raises FileNotFoundError if it is not installed."""
    program = find(command[0])
    if program is None:
        raise FileNotFoundError(f"{command[0]} is not installed")
    return subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, errors="replace", check=False
    )


def make(kind: str, device: str) -> None:
    """Make a file system. Raises RuntimeError with the tool's message."""
    done = run((*FILE_SYSTEMS[kind].make, device))
    if done.returncode != 0:
        raise RuntimeError(f"{FILE_SYSTEMS[kind].make[0]}: {done.stderr.strip()}")


def damage(kind: str, path: str) -> str:
    """What the checker of the file system finds wrong; "" if nothing."""
    done = run((*FILE_SYSTEMS[kind].check, path))
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()[-400:]
