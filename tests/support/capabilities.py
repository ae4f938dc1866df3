"""What this machine can do, found out by doing it. Tests are skipped by these answers, each with its reason.

A probe returns "" where the machine can, otherwise the reason why not. The marks are made of the
probes: ``@needs_root`` over a test, or ``pytestmark = needs_mount`` over a module; for a file system
that must be made first, ``@needs_file_system("xfs")``.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534
SHARED_MEMORY = Path("/dev/shm")
#: A security descriptor: self-relative, with one entry that allows everybody everything (MS-DTYP 2.4.6).
EVERYBODY = (
    bytes((1, 0, 0x04, 0x80)) + struct.pack("<4I", 0, 0, 0, 20)
    + struct.pack("<BBHHH", 2, 0, 28, 1, 0)
    + struct.pack("<BBHI", 0, 0, 20, 0x1F01FF) + bytes((1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0))
)  # fmt: skip
_MAKERS = {
    "ext2": "mkfs.ext2",
    "ext3": "mkfs.ext3",
    "ext4": "mkfs.ext4",
    "xfs": "mkfs.xfs",
    "btrfs": "mkfs.btrfs",
    "vfat": "mkfs.vfat",
    "exfat": "mkfs.exfat",
    "f2fs": "mkfs.f2fs",
}
_IN_MEMORY = {"tmpfs", "ramfs", "overlay"}
_ELSEWHERE = "/usr/sbin:/sbin:"


def find(program: str) -> str | None:
    """A program's path, also where mkfs and mount lie and an ordinary PATH does not look."""
    return shutil.which(program, path=_ELSEWHERE + os.environ.get("PATH", ""))


@cache
def linux() -> str:
    return "" if sys.platform == "linux" else "needs Linux"


@cache
def posix() -> str:
    return "needs a POSIX system" if sys.platform == "win32" else ""


@cache
def windows() -> str:
    return "" if sys.platform == "win32" else "needs Windows"


@cache
def root() -> str:
    if sys.platform == "win32":
        return posix()
    return "" if os.geteuid() == 0 else "needs root"


@cache
def unprivileged_user() -> str:
    """Whether a test can take the rights of a user who owns nothing."""
    if root():
        return root()
    try:
        subprocess.run(["true"], user=NOBODY, group=NOBODY, extra_groups=[], check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"root may not become user {NOBODY} here: {error}"
    return ""


@cache
def proc() -> str:
    return linux() or ("" if os.path.isdir("/proc/self/fd") else "needs /proc")


@cache
def mount() -> str:
    """Whether file systems can be mounted, in a mount namespace of one's own."""
    return root() or linux() or _fails("unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt")


@cache
def loop() -> str:
    """Whether an image can be mounted through a loop device."""
    return mount() or _fails("losetup", "--find")


@cache
def file_system(kind: str) -> str:
    """Whether this kernel mounts the type, and the tool that makes it is there."""
    if (loop if kind in _MAKERS else mount)():
        return (loop if kind in _MAKERS else mount)()
    with open("/proc/filesystems", encoding="ascii") as file:
        if kind not in {line.split()[-1] for line in file}:
            return f"this kernel has no {kind}"
    if kind in _IN_MEMORY or find(_MAKERS[kind]):
        return ""
    return f"{_MAKERS[kind]} is not installed"


@cache
def fuse() -> str:
    """Whether a program of ours can serve a file system."""
    if mount():
        return mount()
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    return ""


@cache
def unnamed_files() -> str:
    """Whether the temporary directory's file system has O_TMPFILE."""
    if sys.platform != "linux" or proc():
        return proc()
    try:
        os.close(os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR, 0o600))
    except OSError as error:
        return f"no unnamed files in {tempfile.gettempdir()}: {error.strerror}"
    return ""


@cache
def shared_memory() -> str:
    """Whether /dev/shm is a tmpfs that can be written."""
    if linux():
        return linux()
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        mounts = [line.split()[1:3] for line in file]
    if [str(SHARED_MEMORY), "tmpfs"] not in mounts:
        return "/dev/shm is not a tmpfs"
    return "" if os.access(SHARED_MEMORY, os.W_OK) else "/dev/shm cannot be written"


@cache
def strace() -> str:
    return linux() or _fails("strace", "-f", "-o", os.devnull, "true")


@cache
def open_files_replaced() -> str:
    """Whether a file can be replaced that the builtin open holds: it does not share deletion on Windows."""
    with tempfile.TemporaryDirectory() as place:
        new, old = Path(place, "new"), Path(place, "old")
        new.touch()
        old.touch()
        with old.open("rb"):
            try:
                new.replace(old)
            except PermissionError:
                return "no file is replaced here that the builtin open holds"
    return ""


@cache
def symlinks() -> str:
    """Whether this user can make symbolic links. Wine's call succeeds and makes none."""
    with tempfile.TemporaryDirectory() as place:
        link = Path(place, "link")
        try:
            link.symlink_to("nowhere")
        except OSError as error:
            return f"no symbolic links: {error.strerror}"
        return "" if link.is_symlink() else "no symbolic links: the call succeeds and makes none"


@cache
def modes() -> str:
    """Whether files have the permission bits of POSIX."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "file")
        path.touch()
        path.chmod(0o640)
        return "" if path.stat().st_mode & 0o777 == 0o640 else "files have no permission bits here"


@cache
def directory_flush() -> str:
    """Whether the system can open and flush directories."""
    try:
        directory = os.open(tempfile.gettempdir(), os.O_RDONLY)
    except PermissionError:
        return "directories cannot be opened to be flushed here"
    os.close(directory)
    return ""


def _tried_on_windows(act: Callable[[Any, Path], str]) -> str:
    """What ``act`` answers, given the calls of Windows and a file of its own; or that it failed."""
    if windows():
        return windows()
    from durably._system.native import win32 as win

    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "file")
        path.write_bytes(b"old")
        return act(win, path)


@cache
def posix_rename() -> str:
    """Whether FileRenameInfoEx works here: Windows 10 1607 and NTFS; Wine 8 has not got it."""

    def act(win: Any, path: Path) -> str:
        handle = win.create_file(str(path), win.DELETE, 0, win.OPEN_EXISTING, 0)
        try:
            win.rename_by_handle(handle, str(path.with_name("new")), win.FILE_RENAME_POSIX_SEMANTICS)
        except OSError as error:
            return f"no POSIX rename: Windows error {getattr(error, 'winerror', None)}"
        finally:
            win.close_handle(handle)
        return ""

    return _tried_on_windows(act)


@cache
def streams() -> str:
    """Whether files have named streams. Wine makes a file with a colon in its name."""

    def act(win: Any, path: Path) -> str:
        path.with_name("file:stream").write_bytes(b"hidden")
        try:
            listed = win.list_streams(str(path))
        except OSError as error:
            return f"no named streams: Windows error {getattr(error, 'winerror', None)}"
        return "" if listed == ["stream"] else "no named streams"

    return _tried_on_windows(act)


@cache
def hidden_files() -> str:
    """Whether the attribute "hidden" stays with a file."""

    def act(win: Any, path: Path) -> str:
        win.set_file_attributes(str(path), win.FILE_ATTRIBUTE_HIDDEN)
        hidden = win.get_file_attributes(str(path)) & win.FILE_ATTRIBUTE_HIDDEN
        return "" if hidden else "the attribute of hidden files is not kept here"

    return _tried_on_windows(act)


@cache
def access_lists() -> str:
    """Whether a file has the access list that it is made with, and not one made of the directory's."""

    def act(win: Any, path: Path) -> str:
        made = str(path.with_name("made"))
        win.close_handle(win.create_file(made, win.GENERIC_WRITE, 0, win.CREATE_NEW, 0, EVERYBODY))
        found = win.get_security(made, win.DACL_SECURITY_INFORMATION)
        return "" if found[-20:] == EVERYBODY[-20:] else "access lists are not kept here"

    return _tried_on_windows(act)


def stores() -> str:
    """Whether a server of every kind of store can be started here."""
    import servers

    return next(filter(None, map(servers.reason, servers.KINDS)), "")


@cache
def gcc() -> str:
    return "" if find("gcc") else "gcc is not installed"


def _fails(program: str, *arguments: str) -> str:
    path = find(program)
    if path is None:
        return f"{program} is not installed"
    environment = os.environ | {"PATH": _ELSEWHERE + os.environ.get("PATH", "")}
    done = subprocess.run([path, *arguments], capture_output=True, env=environment, timeout=30, check=False)
    return "" if done.returncode == 0 else f"{program} fails: {done.stderr.decode(errors='replace').strip()}"


def needs(*probes: Callable[[], str]) -> pytest.MarkDecorator:
    """The mark that skips unless every probe says that the machine can."""
    reason = next((reason for reason in (probe() for probe in probes) if reason), "")
    return pytest.mark.skipif(bool(reason), reason=reason)


def needs_file_system(*kinds: str) -> pytest.MarkDecorator:
    """The mark that skips unless file systems of these types can be made and mounted."""
    return needs(*(lambda kind=kind: file_system(kind) for kind in kinds))


needs_linux = needs(linux)
needs_posix = needs(posix)
needs_windows = needs(windows)
needs_posix_rename = needs(posix_rename)
needs_streams = needs(streams)
needs_hidden_files = needs(hidden_files)
needs_access_lists = needs(access_lists)
needs_root = needs(root)
needs_unprivileged_user = needs(unprivileged_user)
needs_proc = needs(proc)
needs_mount = needs(mount)
needs_loop = needs(loop)
needs_fuse = needs(fuse)
needs_unnamed_files = needs(unnamed_files)
needs_shared_memory = needs(shared_memory)
needs_strace = needs(strace)
needs_gcc = needs(gcc)
needs_open_files_replaced = needs(open_files_replaced)
needs_symlinks = needs(symlinks)
needs_modes = needs(modes)
needs_directory_flush = needs(directory_flush)
