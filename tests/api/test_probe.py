"""`probe`, on every kind of file system that this machine can mount."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import (
    NOBODY,
    SHARED_MEMORY,
    file_system,
    needs_file_system,
    needs_linux,
    needs_mount,
    needs_posix,
    needs_shared_memory,
    needs_unprivileged_user,
)
from durably import UnsupportedError, _commit
from durably._api.probe import probe
from durably.testing import FailingSyscalls, RecordingSyscalls, use
from mounts import bound, mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BASIC = {"unnamed", "no-replace", "exchange", "xattrs"}
YES, NO, UNKNOWN = "yes", "no", "unknown"
NOJOURNAL = ("-O", "^has_journal")


@needs_shared_memory
def test_memory() -> None:
    found = probe(SHARED_MEMORY)
    assert (found.path, found.file_system, found.routine) == ("/dev/shm", "tmpfs", "linux")
    assert (found.readers, found.crash, found.durable) == (YES, NO, NO)
    assert "memory" in found.crash.reason
    assert "rw" in found.options
    assert found.supports >= {"no-replace", "exchange"}
    assert "reflink" not in found.supports


@needs_linux
def test_the_root_file_system_is_named_as_the_system_names_it() -> None:
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        kind = [line.split()[2] for line in file if line.split()[1] == "/"][-1]
    assert probe("/").file_system == kind


@pytest.mark.parametrize(
    ("kind", "make", "options", "promised", "supports"),
    [
        ("ext4", (), "", (YES, YES, YES), BASIC),
        ("ext4", (), "data=writeback", (YES, YES, YES), BASIC),
        ("ext4", (), "nobarrier", (YES, NO, NO), BASIC),
        ("ext4", (), "barrier=0", (YES, NO, NO), BASIC),
        ("ext4", NOJOURNAL, "", (YES, NO, UNKNOWN), BASIC),
        ("ext3", (), "", (YES, YES, YES), BASIC),
        ("ext2", (), "", (YES, NO, UNKNOWN), BASIC),
        ("xfs", (), "", (YES, YES, YES), BASIC | {"reflink"}),
        ("xfs", ("-m", "reflink=0"), "", (YES, YES, YES), BASIC),
        ("btrfs", (), "", (YES, YES, YES), BASIC | {"reflink"}),
        ("btrfs", (), "nobarrier", (YES, NO, NO), BASIC | {"reflink"}),
        ("vfat", (), "", (YES, NO, UNKNOWN), {"no-replace", "exchange"}),
        ("tmpfs", (), "", (YES, NO, NO), BASIC),
        ("ramfs", (), "", (YES, NO, NO), BASIC - {"xattrs"}),
    ],
)
def test_a_mounted_file_system(
    kind: str,
    make: tuple[str, ...],
    options: str,
    promised: tuple[str, str, str],
    supports: set[str],
    tmp_path: Path,
) -> None:
    if reason := file_system(kind):
        pytest.skip(reason)
    with mounted(kind, tmp_path / "disk", make=make, options=options) as disk:
        before = _listing(disk)
        found = probe(disk)
        assert found.file_system == kind
        assert (found.readers, found.crash, found.durable) == promised
        # Whether tmpfs keeps extended attributes and ext2 exchanges names depends on the kernel.
        assert found.supports ^ supports <= ({"xattrs"} if kind == "tmpfs" else set()) | (
            {"exchange"} if kind == "ext2" else set()
        )
        assert _listing(disk) == before
        receipt = durably.write_bytes(disk / "file", b"content")
        assert (str(receipt.durability) == "durable") == (promised == (YES, YES, YES))


@needs_file_system("overlay")
@pytest.mark.parametrize(
    ("option", "promised"),
    [("", (YES, UNKNOWN, UNKNOWN)), (",volatile", (YES, NO, NO))],
    ids=["plain", "volatile"],
)
def test_overlay(option: str, promised: tuple[str, str, str], tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "layers") as layers:
        for name in ("lower", "upper", "work"):
            (layers / name).mkdir()
        options = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work{option}"
        with mounted("overlay", tmp_path / "merged", options=options) as merged:
            found = probe(merged)
            assert found.file_system == "overlay"
            assert (found.readers, found.crash, found.durable) == promised
            assert _listing(merged) == []
        assert _listing(layers / "upper") == []


@needs_mount
def test_a_bind_mount_is_told_apart_from_what_lies_around_it(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with mounted("tmpfs", tmp_path / "memory") as memory, bound(memory, inside):
        assert probe(inside).file_system == "tmpfs"
        assert probe(inside / "file").file_system == "tmpfs"
        assert probe(tmp_path / "file").file_system == probe(tmp_path).file_system


@needs_mount
def test_a_read_only_mount_supports_nothing(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "disk", options="ro") as disk:
        found = probe(disk)
        assert found.supports == frozenset()
        assert "ro" in found.options


@needs_mount
def test_a_full_disk_supports_nothing(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "disk", options="nr_inodes=1") as disk:
        assert probe(disk).supports == frozenset()


@needs_linux
def test_a_place_where_nothing_can_be_made() -> None:
    found = probe("/proc")
    assert (found.file_system, found.readers, found.supports) == ("proc", UNKNOWN, frozenset())


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user reaches; those of tmp_path lie below a private one."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@needs_unprivileged_user
def test_a_directory_that_may_not_be_written(public: Path) -> None:
    found = _as_nobody(lambda: ",".join(probe(public).supports) + probe(public).file_system)
    assert found == probe(public).file_system
    public.chmod(0o700)
    assert _as_nobody(lambda: _error(public)) == "PermissionError"
    assert _listing(public) == []


@needs_unprivileged_user
def test_a_directory_that_may_be_written_but_not_read(public: Path) -> None:
    expected = probe(public)
    os.chown(public, NOBODY, NOBODY)
    public.chmod(0o300)

    def ask() -> str:
        found = probe(public / "file")
        assert (found.readers, found.crash, found.supports) == (
            expected.readers,
            expected.crash,
            expected.supports,
        )
        skipped = durably.write_bytes(public / "file", b"").skipped["fsync directory"]
        return (
            f"{found.durable}: {found.durable.reason}, as in the receipt: {skipped == found.durable.reason}"
        )

    durably.write_bytes(public / "file", b"")  # what nobody could not import
    said = "no: the directory may be written but not read, as in the receipt: True"
    assert _as_nobody(ask) == said
    assert _listing(public) == ["file"]


@needs_linux
@pytest.mark.parametrize("writable", [True, False])
def test_only_what_may_be_written_is_probed_unread(
    writable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreadable(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "open" and arguments[0] == str(tmp_path) and not arguments[1] & os.O_PATH:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), arguments[0])

    monkeypatch.setattr(os, "access", lambda *_: writable)
    with use(Unreadable()):
        if writable:
            assert probe(tmp_path).durable == NO
        else:
            assert _error(tmp_path) == "PermissionError"


def _as_nobody(ask: Callable[[], str]) -> str:
    """The answer of a child that has become nobody; its modules are imported already."""
    if sys.platform == "win32":
        pytest.skip("needs fork")
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writer, ask().encode())
        except BaseException as error:  # noqa: BLE001 # a child of a test ends here
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read().decode()
    os.waitpid(child, 0)
    return answer


def _error(path: Path) -> str:
    try:
        probe(path)
    except OSError as error:
        return type(error).__name__
    return ""


def test_a_file_and_a_name_that_is_free_stand_for_their_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    here = probe(tmp_path)
    for name in ("file", "free"):
        found = probe(tmp_path / name)
        assert found.path == str(tmp_path / name)
        assert (found.file_system, found.supports) == (here.file_system, here.supports)
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_relative_name_stands_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert probe("free").file_system == probe(b".").file_system == probe(tmp_path).file_system
    assert probe(b"free").path == "free"


@needs_mount
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stands_for_the_place_it_leads_to(exists: bool, tmp_path: Path) -> None:
    with mounted("ramfs", tmp_path / "disk") as disk:
        if exists:
            (disk / "file").write_bytes(b"")
        (tmp_path / "link").symlink_to("disk/file")
        assert probe(tmp_path / "link").file_system == "ramfs"


def test_what_cannot_be_probed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileNotFoundError):
        probe(tmp_path / "missing" / "file")
    with pytest.raises(NotADirectoryError):
        probe(tmp_path / "file" / "below")
    with pytest.raises(UnsupportedError):
        probe("http://host/file")
    with pytest.raises(TypeError):
        probe(7)  # type: ignore[arg-type]


@needs_posix
def test_another_posix_system_promises_nothing(tmp_path: Path) -> None:
    with use(RecordingSyscalls(), "freebsd14"):
        found = probe(tmp_path)
    assert (found.file_system, found.routine, found.supports) == ("unknown", "posix", frozenset())
    assert (found.readers, found.crash, found.durable) == (UNKNOWN, UNKNOWN, UNKNOWN)


# The private directory, and what goes wrong in it.


@needs_linux
def test_the_directory_of_the_trials_is_private(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    class Watching(RecordingSyscalls):
        def _before(self, name: str, *_: object, **__: object) -> None:
            if name == "renameat2":
                seen.extend((path.name, path.stat().st_mode) for path in tmp_path.iterdir())

    with use(Watching()):
        probe(tmp_path)
    assert {stat.S_IMODE(mode) for _, mode in seen} == {0o700}
    assert {name[:11] for name, _ in seen} == {".durably-d-"}
    assert _listing(tmp_path) == []


@needs_linux
@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("error", [errno.EIO, errno.EINVAL, errno.EPERM, errno.ENOSPC])
def test_whatever_fails_nothing_is_left_behind(error: int, forever: bool, tmp_path: Path) -> None:
    table = RecordingSyscalls()
    with use(table):
        whole = probe(tmp_path).supports
    for number in range(1, len(table.record) + 1):
        failing = FailingSyscalls(number, error, forever=forever)
        descriptors = _descriptors()
        try:
            with use(failing):
                assert probe(tmp_path).supports <= whole
            left: list[str] = []
        except OSError as caught:
            assert caught.errno == error
            left = list(getattr(caught, "leftovers", ()))
        assert _listing(tmp_path) == left
        assert _descriptors() == descriptors
        _clear(tmp_path)
        assert failing.failed is not None
        if left:
            assert failing.failed.name in ("listdir", "unlink", "rmdir")


@needs_linux
def test_a_refusal_takes_away_one_thing_only(tmp_path: Path) -> None:
    whole = probe(tmp_path).supports
    for call, what in (
        ("renameat2", {"no-replace", "exchange"}),
        ("ficlone", {"reflink"}),
        ("setxattr", {"xattrs"}),
        ("link", {"unnamed"}),
    ):

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "refused")

        table = RecordingSyscalls()
        setattr(table, call, refuse)
        with use(table):
            assert probe(tmp_path).supports == whole - what


@needs_linux
def test_a_call_that_lies_supports_nothing(tmp_path: Path) -> None:
    table = RecordingSyscalls()
    for call in ("renameat2", "ficlone"):
        setattr(table, call, lambda *_: None)
    table.getxattr = lambda *_: b"something else"
    with use(table):
        assert probe(tmp_path).supports <= {"unnamed"}


@needs_linux
def test_smb_does_not_count_as_refusing_to_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from durably._system.promises import FileSystem

    monkeypatch.setattr("durably._system.mounts.mount", lambda _number: FileSystem("cifs"))
    assert "no-replace" not in probe(tmp_path).supports


@needs_linux
def test_an_interrupt_after_the_last_call_names_no_leftover(tmp_path: Path) -> None:
    table = RecordingSyscalls()
    rmdir = table.rmdir

    def interrupted(*arguments: Any, **keywords: Any) -> None:
        rmdir(*arguments, **keywords)
        raise KeyboardInterrupt

    setattr(table, "rmdir", interrupted)  # noqa: B010 # typed as the builtin
    with use(table), pytest.raises(KeyboardInterrupt) as caught:
        probe(tmp_path)
    assert not hasattr(caught.value, "leftovers")
    assert _listing(tmp_path) == []


@needs_linux
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    class Interrupted(RecordingSyscalls):
        def _before(self, name: str, *_: object, **__: object) -> None:
            if name == "ficlone":
                raise KeyboardInterrupt

    with use(Interrupted()), pytest.raises(KeyboardInterrupt):
        probe(tmp_path)
    assert _listing(tmp_path) == []


def test_probing_needs_none_of_the_heavy_modules() -> None:
    code = (
        "import sys; sys.modules.pop('typing', None); import durably._api.probe, durably._system.promises;"
        "print(*{'typing', 'dataclasses', 'pathlib', 're', 'contextlib', 'ctypes'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code], capture_output=True, cwd=_source(), check=True
    )
    assert done.stdout.split() == []


def _source() -> Path:
    return Path(_commit.__file__).parents[2]


def _listing(directory: Path) -> list[str]:
    return sorted(name for name in os.listdir(directory) if name != "lost+found")


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
