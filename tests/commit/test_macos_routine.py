"""The routine of macOS, on Linux, over a table whose calls act on the real disk."""

# the blocks that raise are the writers' own

from __future__ import annotations

import errno
import os
import stat
import struct
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_linux, needs_root
from durably import NotDurableError, UnsupportedError, _commit, testing
from durably._system.native import darwin as mac
from fakes import LINUX, FakeMacOS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_linux

UNSUPPORTED = (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY)
NOBODY = 0xFFFFFFFF
# A POSIX ACL that lets user 1 read, as fcopyfile carries it on the fake's disk.
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 6, NOBODY), (2, 4, 1), (4, 4, NOBODY), (16, 4, NOBODY), (32, 0, NOBODY))
)


@pytest.fixture
def fake() -> FakeMacOS:
    return FakeMacOS()


@pytest.fixture
def table(fake: FakeMacOS) -> Iterator[testing.RecordingSyscalls]:
    table = testing.RecordingSyscalls(fake)
    with testing.use(table, "darwin"):
        yield table


@pytest.fixture
def target(tmp_path: Path, table: testing.RecordingSyscalls) -> Path:
    path = tmp_path / "target"
    path.write_bytes(b"old")
    path.chmod(0o640)
    return path


def listed(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


# Flushes.


def test_durable_flushes_the_file_then_the_directory_to_the_disk(
    target: Path, fake: FakeMacOS, table: Any
) -> None:
    receipt = durably.write_bytes(target, b"new")
    assert fake.disk.flushes == [(mac.F_FULLFSYNC, False), (mac.F_FULLFSYNC, True)]
    assert receipt.steps == ("create", "write", "F_FULLFSYNC", "rename", "fsync directory")
    names = [name for name in table.names if name in ("fcntl", "replace", "write")]
    assert names == ["write", "fcntl", "replace", "fcntl"]
    assert "fsync" not in table.names


def test_what_is_kept_on_apfs(target: Path) -> None:
    receipt = durably.write_bytes(target, b"new")
    assert receipt.durability == "consistent"
    assert "Apple does not document" in receipt.skipped["durable"]


def test_consistent_puts_a_barrier(target: Path, fake: FakeMacOS) -> None:
    receipt = durably.write_bytes(target, b"new", durability="consistent")
    assert fake.disk.flushes == [(mac.F_BARRIERFSYNC, False)]
    assert receipt.steps == ("create", "write", "F_BARRIERFSYNC", "rename")
    assert receipt.durability == "consistent"


def test_none_does_not_flush(target: Path, fake: FakeMacOS) -> None:
    durably.write_bytes(target, b"new", durability="none")
    assert fake.disk.flushes == []


@pytest.mark.parametrize("number", UNSUPPORTED)
@pytest.mark.parametrize(("level", "name"), [("durable", "F_FULLFSYNC"), ("consistent", "F_BARRIERFSYNC")])
def test_a_plain_fsync_promises_nothing(
    target: Path, fake: FakeMacOS, table: Any, number: int, level: Any, name: str
) -> None:
    fake.disk.plan.fail("flush", number)
    receipt = durably.write_bytes(target, b"new", durability=level)
    assert target.read_bytes() == b"new"
    assert "fsync" in table.names
    assert receipt.steps[2] == "fsync"
    assert "the drive may hold it back" in receipt.skipped[name]
    assert receipt.durability == "none"


@pytest.mark.parametrize("number", UNSUPPORTED)
def test_a_directory_that_is_only_fsynced(target: Path, fake: FakeMacOS, table: Any, number: int) -> None:
    fake.disk.plan.fail("flush directory", number)
    receipt = durably.write_bytes(target, b"new")
    assert "fsync" in table.names
    assert receipt.durability == "consistent"
    assert "the drive may hold it back" in receipt.skipped["fsync directory"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EBADF])
def test_other_errors_do_not_fall_back(target: Path, fake: FakeMacOS, table: Any, number: int) -> None:
    fake.disk.plan.fail("flush", number)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        durably.write_bytes(target, b"new")
    assert caught.value.errno == number
    assert "fsync" not in table.names
    assert target.read_bytes() == b"old"
    assert listed(target.parent) == ["target"]


def test_a_directory_that_cannot_be_flushed(target: Path, fake: FakeMacOS) -> None:
    fake.disk.plan.fail("flush directory", errno.EIO, times=1)
    with pytest.raises(NotDurableError) as caught:
        durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert caught.value.receipt is not None
    assert caught.value.receipt.durability != "durable"


# Create only.


def test_create_only(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    durably.write_bytes(tmp_path / "new", b"data", overwrite=False)
    assert (tmp_path / "new").read_bytes() == b"data"
    moved = next(call for call in table.record if call.name == "renameatx_np")
    assert moved.arguments[4] == mac.RENAME_EXCL
    assert "link" not in table.names


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EINVAL, errno.ENOSYS])
def test_create_only_by_a_link(tmp_path: Path, fake: FakeMacOS, table: Any, number: int) -> None:
    fake.disk.plan.fail("renameatx_np", number)
    durably.write_bytes(tmp_path / "new", b"data", overwrite=False)
    assert "link" in table.names
    assert listed(tmp_path) == ["new"]
    assert (tmp_path / "new").stat().st_nlink == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.EPERM])
def test_create_only_does_not_fall_back_otherwise(
    tmp_path: Path, fake: FakeMacOS, table: Any, number: int
) -> None:
    fake.disk.plan.fail("renameatx_np", number)
    with pytest.raises(OSError, match=os.strerror(number)):
        durably.write_bytes(tmp_path / "new", b"data", overwrite=False)
    assert "link" not in table.names
    assert listed(tmp_path) == []


def test_create_only_where_there_is_no_way(tmp_path: Path, fake: FakeMacOS) -> None:
    fake.disk.plan.fail("renameatx_np", errno.ENOTSUP)

    def no_links(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    fake.link = no_links
    with testing.use(fake, "darwin"), pytest.raises(UnsupportedError):
        durably.open(tmp_path / "new", "xb")
    assert listed(tmp_path) == []


@pytest.mark.parametrize("number", [0, errno.ENOTSUP])
def test_create_only_loses_the_race(tmp_path: Path, fake: FakeMacOS, table: Any, number: int) -> None:
    if number:
        fake.disk.plan.fail("renameatx_np", number)
    path = tmp_path / "new"
    with pytest.raises(FileExistsError), durably.open(path, "xb") as file:
        file.write(b"ours")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert listed(tmp_path) == ["new"]


# Metadata.


def test_attributes_acl_and_mode_are_carried_over(target: Path) -> None:
    LINUX.setxattr(target, "user.colour", b"red")
    LINUX.setxattr(target, "system.posix_acl_access", ACL)
    mode = target.stat().st_mode
    receipt = durably.write_bytes(target, b"new")
    assert LINUX.getxattr(target, "user.colour") == b"red"
    assert LINUX.getxattr(target, "system.posix_acl_access") == ACL
    assert target.stat().st_mode == mode
    assert receipt.lost == ()


def test_attributes_come_before_the_owner_and_the_mode(
    target: Path, table: testing.RecordingSyscalls
) -> None:
    durably.write_bytes(target, b"new")
    names = [name for name in table.names if name in ("fcopyfile", "fchown", "fchmod", "write")]
    assert names == ["fcopyfile", "fcopyfile", "fchmod", "write"]


def test_fresh_metadata(target: Path, table: testing.RecordingSyscalls) -> None:
    LINUX.setxattr(target, "user.colour", b"red")
    durably.write_bytes(target, b"new", metadata="fresh")
    assert LINUX.listxattr(target) == []
    assert "fcopyfile" not in table.names


def test_setuid_is_dropped_and_the_time_is_fresh(target: Path) -> None:
    target.chmod(0o6755)
    os.utime(target, (1, 1))
    durably.write_bytes(target, b"new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    assert target.stat().st_mtime > 1


@pytest.mark.parametrize(("call", "lost"), [("fcopyfile acl", "acl"), ("fcopyfile xattr", "xattrs")])
@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EPERM, errno.EACCES])
def test_what_cannot_be_copied_is_lost(
    target: Path, fake: FakeMacOS, call: str, lost: str, number: int
) -> None:
    fake.disk.plan.fail(call, number)
    assert durably.write_bytes(target, b"new").lost == (lost,)
    with pytest.raises(OSError, match=f"cannot keep the old file's {lost}"):
        durably.write_bytes(target, b"newer", metadata="strict")
    assert target.read_bytes() == b"new"
    assert listed(target.parent) == ["target"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_of_the_disk_is_no_loss(target: Path, fake: FakeMacOS, number: int) -> None:
    fake.disk.plan.fail("fcopyfile xattr", number)
    with pytest.raises(OSError, match=os.strerror(number)):
        durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(("number", "lost"), [(errno.EACCES, ("acl", "xattrs")), (errno.EIO, None)])
def test_an_old_file_that_cannot_be_opened(target: Path, fake: FakeMacOS, number: int, lost: Any) -> None:
    opened = fake.open

    def closed(path: Any, flags: int, *arguments: Any, **keywords: Any) -> int:
        if path == "target":
            raise OSError(number, os.strerror(number))
        return opened(path, flags, *arguments, **keywords)

    fake.open = closed
    with testing.use(fake, "darwin"):
        if lost is None:
            with pytest.raises(OSError, match=os.strerror(number)):
                durably.write_bytes(target, b"new")
        else:
            assert durably.write_bytes(target, b"new").lost == lost
    assert listed(target.parent) == ["target"]


def test_explicit_permissions_of_a_new_file(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    durably.write_bytes(tmp_path / "new", b"data", permissions=0o604)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604
    assert "fcopyfile" not in table.names


# Clones.


def test_the_old_content_is_cloned(target: Path, table: testing.RecordingSyscalls) -> None:
    LINUX.setxattr(target, "user.colour", b"red")
    os.utime(target, (1, 1))
    with durably.open(target, "ab") as file:
        file.write(b"more")
        assert len(listed(target.parent)) == 2
    assert target.read_bytes() == b"oldmore"
    assert LINUX.getxattr(target, "user.colour") == b"red"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert "fclonefileat" in table.names
    assert "read" not in table.names
    assert listed(target.parent) == ["target"]


def test_a_clone_gets_the_mode_that_was_asked_for(target: Path, table: testing.RecordingSyscalls) -> None:
    with durably.open(target, "r+b", permissions=0o664):
        pass
    assert stat.S_IMODE(target.stat().st_mode) == 0o664
    assert "fclonefileat" in table.names


def test_a_clone_is_locked(target: Path, table: testing.RecordingSyscalls) -> None:
    routine = _commit.routine()
    directory = routine.open_directory(str(target.parent))
    with durably.open(target, "r+b"):
        (name,) = (entry for entry in listed(target.parent) if entry != "target")
        assert routine.try_lock(directory, name) is None
    routine.close_directory(directory)
    assert "fclonefileat" in table.names


def test_a_clone_is_recognised_when_the_answer_to_the_rename_is_lost(target: Path, fake: FakeMacOS) -> None:
    def answer_lost(src: Any, dst: Any, **keywords: Any) -> None:
        os.replace(src, dst, **keywords)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    fake.replace = answer_lost
    with testing.use(fake, "darwin"), durably.open(target, "r+b") as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"


def test_a_clone_that_nothing_is_written_to_has_a_fresh_time(target: Path) -> None:
    os.utime(target, (1, 1))
    writer = durably.open(target, "r+b")
    with writer:
        pass
    assert target.stat().st_mtime > 1
    assert writer.receipt is not None
    assert writer.receipt.steps[:2] == ("create", "clone")


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EXDEV, errno.EACCES])
def test_without_clones_the_content_is_copied(target: Path, fake: FakeMacOS, table: Any, number: int) -> None:
    fake.disk.plan.fail("fclonefileat", number)
    writer = durably.open(target, "r+b")
    with writer as file:
        file.seek(0, os.SEEK_END)
        file.write(b"more")
    assert target.read_bytes() == b"oldmore"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert writer.receipt is not None
    assert writer.receipt.steps[:2] == ("create", "copy")
    assert listed(target.parent) == ["target"]


def test_a_clone_that_fails_otherwise_is_an_error(target: Path, fake: FakeMacOS) -> None:
    fake.disk.plan.fail("fclonefileat", errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        durably.open(target, "r+b")
    assert target.read_bytes() == b"old"
    assert listed(target.parent) == ["target"]


@pytest.mark.parametrize(
    "options",
    [{"metadata": "fresh"}, {"permissions": 0o600}],
    ids=["fresh", "tighter"],
)
def test_no_clone_that_would_be_too_open(target: Path, table: Any, options: Any) -> None:
    with durably.open(target, "r+b", **options):
        (temporary,) = (entry for entry in target.parent.iterdir() if entry != target)
        assert stat.S_IMODE(temporary.stat().st_mode) == options.get(
            "permissions", temporary.stat().st_mode & 0o777
        )
    assert "fclonefileat" not in table.names
    assert target.read_bytes() == b"old"


def test_no_clone_where_something_was_lost(target: Path, fake: FakeMacOS, table: Any) -> None:
    fake.disk.plan.fail("fcopyfile acl", errno.EPERM)
    with durably.open(target, "r+b"):
        pass
    assert "fclonefileat" not in table.names


def test_no_clone_of_a_file_that_could_not_be_opened_then(target: Path, table: Any) -> None:
    target.chmod(0o440)
    with durably.open(target, "r+b"):
        pass
    assert "fclonefileat" not in table.names


def test_no_clone_on_another_file_system(target: Path, fake: FakeMacOS, table: Any) -> None:
    fake.disk.kind = "hfs"
    with durably.open(target, "r+b"):
        pass
    assert "fclonefileat" not in table.names


@needs_root
@pytest.mark.parametrize(("user", "group"), [(1, -1), (-1, 1)])
def test_no_clone_of_somebody_elses_file(target: Path, table: Any, user: int, group: int) -> None:
    LINUX.chown(target, user, group)
    before = target.stat()
    with durably.open(target, "r+b"):
        pass
    assert "fclonefileat" not in table.names
    assert (target.stat().st_uid, target.stat().st_gid) == (before.st_uid, before.st_gid)


# Telling.


def test_the_file_system_is_named(tmp_path: Path, fake: FakeMacOS, table: Any) -> None:
    found = durably.probe(tmp_path)
    assert (found.routine, found.file_system, found.options) == ("macos", "apfs", ("local", "journaled"))


def test_an_unknown_file_system_promises_nothing(target: Path, fake: FakeMacOS) -> None:
    fake.disk.plan.fail("fstatfs", errno.EIO)
    assert durably.probe(target).file_system == "unknown"
    assert durably.write_bytes(target, b"new").durability == "none"


def test_a_leftover_is_named_where_it_lies(
    tmp_path: Path, fake: FakeMacOS, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "there")

    def stays(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    fake.unlink = stays
    with (
        testing.use(fake, "darwin"),
        pytest.raises(ZeroDivisionError) as caught,
        durably.open("name", "wb"),
    ):
        os.chdir("../elsewhere")
        raise ZeroDivisionError
    (left,) = (tmp_path / "there").iterdir()
    assert caught.value.leftovers == (str(left),)  # type: ignore[attr-defined] # added


def test_a_save_that_finds_no_directory(tmp_path: Path, table: Any) -> None:
    with pytest.raises(FileNotFoundError):
        durably.write_bytes(tmp_path / "a" / "b", b"data")


# Every call fails in turn.


def by_bytes(path: Path, **options: Any) -> durably.Receipt | None:
    return durably.write_bytes(path, b"new", **options)


def by_stream(path: Path, **options: Any) -> durably.Receipt | None:
    writer = durably.open(path, "wb", **options)
    with writer as file:
        file.write(b"new")
    return writer.receipt


def by_update(path: Path, **options: Any) -> durably.Receipt | None:
    writer = durably.open(path, "r+b", **options)
    with writer as file:
        file.write(b"new")
    return writer.receipt


def by_others(path: Path, **options: Any) -> durably.Receipt | None:
    saving = durably.staged_path(path, **options)
    with saving as staged:
        staged.write_bytes(b"new")
    return saving.receipt


@pytest.mark.parametrize("save", [by_bytes, by_stream, by_update, by_others])
@pytest.mark.parametrize("options", [{}, {"overwrite": False}, {"durability": "consistent"}], ids=str)
def test_every_call_fails_in_turn(tmp_path: Path, save: Any, options: Any) -> None:
    creates = not options.get("overwrite", True) and save is not by_update
    if save is by_update and "overwrite" in options:
        options = {}
    turn = 0
    for turn, table in enumerate(testing.every_failure(system="darwin", base=FakeMacOS())):
        path = tmp_path / str(turn) / "target"
        path.parent.mkdir()
        if not creates:
            path.write_bytes(b"old")
        expected, error, kept = check(save, path, options, None if creates else b"old")
        left = [str(entry) for entry in path.parent.iterdir() if entry != path]
        assert (path.read_bytes() if path.exists() else None) == expected, (table.failed, error)
        if error is None or isinstance(error, NotDurableError):
            assert all(any(entry in reason for reason in kept.values()) for entry in left), table.failed
        else:
            assert tuple(left) == getattr(error, "leftovers", ())[: len(left)], table.failed
    assert turn > 40


def check(save: Any, path: Path, options: Any, old: bytes | None) -> tuple[bytes | None, Any, dict[str, str]]:
    """What the target must hold, the error, and what the receipt says was skipped."""
    try:
        receipt = save(path, **options)
    except NotDurableError as error:
        assert error.receipt is not None
        return b"new", error, error.receipt.skipped
    except OSError as error:
        return old, error, {}
    return b"new", None, receipt.skipped
