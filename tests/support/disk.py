"""What the tests of behaviour look at on the disk, and tables that go wrong at a chosen call."""

from __future__ import annotations

import errno
import os
import stat
import struct
import subprocess
import sys
import tempfile
import traceback
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from capabilities import NOBODY, linux, needs, proc, root
from durably.testing import RecordingSyscalls, use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OLD = b"the old content\n"
NEW = b"the new content, which is longer\n"
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
_UNDEFINED = 0xFFFFFFFF
_ENTRY = struct.Struct("<HHI")
_TAGS = {"owner": 0x01, "user": 0x02, "group": 0x04, "named group": 0x08, "mask": 0x10, "other": 0x20}


def names(directory: Path) -> list[str]:
    """Everything in a directory, hidden or not."""
    return sorted(os.listdir(directory))


def mode(path: Path | int) -> int:
    """The permissions, with setuid, setgid and sticky bits."""
    return stat.S_IMODE(os.stat(path).st_mode)


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


# Access control lists, as the kernel stores them (acl(5), <linux/posix_acl_xattr.h>).


def acl(*entries: tuple[str, int] | tuple[str, int, int]) -> bytes:
    """``("owner", 6)``, ``("user", 6, 1000)``, ``("group", 4)``, ``("mask", 6)``, ``("other", 0)``..."""
    packed = (_ENTRY.pack(_TAGS[tag], rights, *(who or [_UNDEFINED])) for tag, rights, *who in entries)
    return struct.pack("<I", 2) + b"".join(packed)


def entries(value: bytes) -> list[tuple[str, int, int]]:
    """The tag, the rights and the id of each entry."""
    tags = {number: tag for tag, number in _TAGS.items()}
    return [(tags[tag], rights, who) for tag, rights, who in _ENTRY.iter_unpack(value[4:])]


def attribute(path: Path | int, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return None


# What this machine can do.


@cache
def acls() -> str:
    """Whether the temporary directory's file system has POSIX ACLs and user attributes."""
    if linux():
        return linux()
    with tempfile.NamedTemporaryFile() as file:
        try:
            os.setxattr(
                file.name, ACCESS, acl(("owner", 6), ("user", 4, 1), ("group", 4), ("mask", 4), ("other", 0))
            )
            os.setxattr(file.name, "user.durably", b"")
        except OSError as error:
            return f"no ACLs or user attributes in {tempfile.gettempdir()}: {error.strerror}"
    return ""


@cache
def process_spaces() -> str:
    """Whether a process can be started that sees other process numbers."""
    if root() or proc():
        return root() or proc()
    try:
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False
        )
    except OSError as error:
        return f"unshare cannot be run: {error}"
    return "" if done.returncode == 0 else f"unshare fails: {done.stderr.decode(errors='replace').strip()}"


needs_acls = needs(acls)
needs_process_spaces = needs(process_spaces)


# Other processes and other users.


def run(program: str, *arguments: object, **keywords: Any) -> subprocess.CompletedProcess[str]:
    """A Python program in a process of its own, with every warning shown."""
    command = [sys.executable, "-X", "dev", "-W", "always", "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **keywords)


def as_nobody(directory: Path, body: Callable[[], None]) -> None:
    """Run ``body`` in a child that has given up every right; an exception there fails here.

    ``directory``: where it may go; what is above, as far as it is ours, is opened to all to pass.
    """
    for above in directory.parents:
        if above.stat().st_uid == os.getuid() and not above.stat().st_mode & stat.S_IXOTH:
            above.chmod(above.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            body()
        except BaseException:  # noqa: BLE001 # nothing may leave the child
            os.write(write, traceback.format_exc()[-60000:].encode())
            os._exit(1)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        report = pipe.read().decode()
    os.waitpid(child, 0)
    assert not report, report


# Tables.


class Refusing(RecordingSyscalls):
    """A table in which the calls of these names fail, always, with these errnos."""

    def __init__(self, **errors: int) -> None:
        super().__init__()
        self.errors = errors

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name in self.errors:
            if name == "close":
                function(*arguments, **keywords)  # a close that fails has closed, as on Linux
            raise OSError(self.errors[name], os.strerror(self.errors[name]))


class Without(RecordingSyscalls):
    """A table of a file system that lacks these: "unnamed" files, rename "no-replace", hard "links"."""

    def __init__(self, *features: str) -> None:
        super().__init__()
        self.features = features

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        unnamed = name == "open" and arguments[1] & os.O_TMPFILE == os.O_TMPFILE
        lacks = {"unnamed": unnamed, "no-replace": name == "renameat2", "links": name == "link"}
        for feature, met in lacks.items():
            if met and feature in self.features:
                number = {"unnamed": errno.EOPNOTSUPP, "no-replace": errno.EINVAL, "links": errno.EPERM}[
                    feature
                ]
                raise OSError(number, os.strerror(number))


class After(RecordingSyscalls):
    """A table that calls ``look`` after every call, with the call's name."""

    def __init__(self, look: Callable[[str], None]) -> None:
        super().__init__()
        self.look = look

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        call = super()._watched(name, function)

        def watched(*arguments: object, **keywords: object) -> object:
            try:
                return call(*arguments, **keywords)
            finally:
                self.look(name)

        return watched


@contextmanager
def untouched(directory: Path) -> Iterator[None]:
    """Nothing that changes a disk is called in this block, and the directory stays as it is."""
    table = RecordingSyscalls()
    before = names(directory)
    with use(table):
        yield
    assert table.names == []
    assert names(directory) == before
