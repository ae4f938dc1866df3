"""The mounts of this kernel: layers, file systems that a program serves, a file, one that is read-only."""

from __future__ import annotations

import shlex
import subprocess
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import capabilities
import entry_points
import fuse
import mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

_SIZE = 32 << 20
_PATIENCE = 10.0
_NULL = subprocess.DEVNULL


class Mount(NamedTuple):
    """``made(place)`` mounts it for the length of a block, and yields the directory of the target."""

    name: str
    lacks: Callable[[], str]
    made: Callable[[Path], AbstractContextManager[Path]]
    options: Mapping[str, Any] = MappingProxyType({})
    fixed: bool = False
    """Whether the target itself is the mount point."""
    program: bool = False
    """Whether a program that somebody else wrote serves it."""
    inside: bool = False
    """Whether it is one of User Mode Linux."""
    writable: Callable[[Path], AbstractContextManager[object]] = lambda _: nullcontext()
    """A block in which the target can be made."""


@contextmanager
def _overlay(place: Path, options: str = "") -> Generator[Path]:
    with mounts.mounted("tmpfs", place / "layers") as layers:
        for name in ("lower", "upper", "work"):
            (layers / name).mkdir()
        where = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work{options}"
        with mounts.mounted("overlay", place / "merged", options=where) as merged:
            yield merged


def _bare_fuse(place: Path) -> AbstractContextManager[Path]:
    return fuse.served(place / "served")


@contextmanager
def _one_file(place: Path) -> Generator[Path]:
    with mounts.mounted("tmpfs", place / "below") as below:
        (below / "source").write_bytes(entry_points.OLD)
        (below / "mounted").mkdir()
        target = below / "mounted" / "target"
        target.touch()
        with mounts.bound(below / "source", target):
            yield target.parent


@contextmanager
def _read_only(place: Path) -> Generator[Path]:
    with mounts.mounted("tmpfs", place / "fixed", options="ro,mode=755") as fixed:
        yield fixed


@contextmanager
def _remounted(directory: Path) -> Generator[None]:
    _run("mount", "-o", "remount,rw", str(directory))
    try:
        yield
    finally:
        _run("mount", "-o", "remount,ro", str(directory))


@contextmanager
def _served(place: Path, command: tuple[str, ...], maker: tuple[str, ...] = ()) -> Generator[Path]:
    """A file system that a program serves: over an image, or over other directories."""
    directory = place / "served"
    directory.mkdir()
    # Its image, or the directories that it passes through, lie in memory.
    with mounts.mounted("tmpfs", place / "below") as below:
        for name in ("lower", "upper", "work"):
            (below / name).mkdir()
        with (below / "image").open("wb") as image:
            image.truncate(_SIZE)
        if maker:
            _run(*maker, str(below / "image"))
        with _looped(below / "image") if "{device}" in command else nullcontext("") as device:
            words = [word.format(below=below, device=device, directory=directory) for word in command]
            with _serving(words, directory):
                yield directory


@contextmanager
def _serving(command: list[str], directory: Path) -> Generator[None]:
    with subprocess.Popen(command, stdin=_NULL, stdout=_NULL, stderr=_NULL) as program:
        try:
            deadline = time.monotonic() + _PATIENCE
            while not directory.is_mount():
                if time.monotonic() > deadline or program.poll() is not None:
                    raise OSError(f"{shlex.join(command)} does not mount")
                time.sleep(0.01)
            yield
            _run("umount", str(directory))
            program.wait(_PATIENCE)
        finally:
            program.kill()


@contextmanager
def _looped(image: Path) -> Generator[str]:
    command = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield device
    finally:
        _run("losetup", "--detach", device)


def _run(program: str, *arguments: str) -> None:
    path = capabilities.find(program)
    assert path is not None
    subprocess.run([path, *arguments], check=True, stdin=_NULL, stdout=_NULL, stderr=_NULL)


def _has(*programs: str) -> str:
    missing = [program for program in programs if capabilities.find(program) is None]
    return f"{missing[0]} is not installed" if missing else capabilities.fuse()


def _program(name: str, programs: tuple[str, ...], *command: str, **how: Any) -> Mount:
    return Mount(name, partial(_has, *programs), partial(_served, command=command, **how), program=True)


HERE = (
    Mount("overlay", partial(capabilities.file_system, "overlay"), _overlay),
    Mount(
        "overlay, volatile",
        partial(capabilities.file_system, "overlay"),
        partial(_overlay, options=",volatile"),
    ),
    Mount(
        "FUSE without fsync, renameat2, links and attributes",
        capabilities.fuse,
        _bare_fuse,
    ),
    _program(
        "exFAT, by exfat-fuse",
        ("mount.exfat-fuse", "mkfs.exfat"),
        "mount.exfat-fuse", "-d", "{device}", "{directory}",
        maker=("mkfs.exfat",),
    ),
    _program(
        "NTFS, by ntfs-3g",
        ("ntfs-3g", "mkfs.ntfs"),
        "ntfs-3g", "-o", "no_detach", "{below}/image", "{directory}",
        maker=("mkfs.ntfs", "-q", "-F"),
    ),
    _program(
        "ext4, by fuse2fs",
        ("fuse2fs", "mkfs.ext4"),
        "fuse2fs", "-f", "-o", "fakeroot", "{below}/image", "{directory}",
        maker=("mkfs.ext4", "-q"),
    ),
    _program(
        "overlay, by fuse-overlayfs",
        ("fuse-overlayfs",),
        "fuse-overlayfs", "-f", "-o",
        "lowerdir={below}/lower,upperdir={below}/upper,workdir={below}/work", "{directory}",
    ),
    _program("bindfs", ("bindfs",), "bindfs", "-f", "{below}/upper", "{directory}"),
    _program("mergerfs", ("mergerfs",), "mergerfs", "-f", "{below}/lower:{below}/upper", "{directory}"),
    Mount("a file that is mounted", capabilities.mount, _one_file, fixed=True),
    Mount(
        "a file that is mounted, allow_in_place",
        capabilities.mount,
        _one_file,
        options={"allow_in_place": True},
        fixed=True,
    ),
    Mount("read-only", capabilities.mount, _read_only, writable=_remounted),
)  # fmt: skip
