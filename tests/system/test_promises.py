"""The table of promises: what holds on which file system, and what a receipt makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from capabilities import needs_file_system
from durably import Durability
from durably._system import ext4_journal
from durably._system.promises import TABLE, FileSystem, kept, promises
from mounts import mounted

if TYPE_CHECKING:
    from pathlib import Path

YES, NO, UNKNOWN = "yes", "no", "unknown"
ALL = (YES, YES, YES)
NOTHING = (UNKNOWN, UNKNOWN, UNKNOWN)
NONE, CONSISTENT, DURABLE = Durability

# system, kind, options, readers + crash + durable, the level that a durable save keeps
CASES = [
    ("linux", "ext4", ("rw", "relatime"), ALL, DURABLE),
    ("linux", "ext4", ("data=writeback", "noauto_da_alloc"), ALL, DURABLE),
    ("linux", "ext4", ("nobarrier",), (YES, NO, NO), NONE),
    ("linux", "ext4", ("barrier=0",), (YES, NO, NO), NONE),
    ("linux", "ext4", ("barrier=1",), ALL, DURABLE),
    ("linux", "ext3", (), ALL, DURABLE),
    ("linux", "ext3", ("barrier=0",), (YES, NO, NO), NONE),
    ("linux", "xfs", ("inode64",), ALL, DURABLE),
    ("linux", "xfs", ("nobarrier",), (YES, NO, NO), NONE),
    ("linux", "btrfs", ("subvol=/",), ALL, DURABLE),
    ("linux", "btrfs", ("nobarrier",), (YES, NO, NO), NONE),
    ("linux", "ext2", (), (YES, NO, UNKNOWN), NONE),
    ("linux", "f2fs", ("fsync_mode=posix",), ALL, DURABLE),
    ("linux", "f2fs", ("fsync_mode=strict",), ALL, DURABLE),
    ("linux", "f2fs", ("fsync_mode=nobarrier",), (YES, NO, NO), NONE),
    ("linux", "f2fs", ("nobarrier", "fsync_mode=posix"), (YES, NO, NO), NONE),
    ("linux", "f2fs", ("checkpoint=disable:0",), (YES, NO, NO), NONE),
    ("linux", "f2fs", ("checkpoint_merge",), ALL, DURABLE),
    ("linux", "zfs", ("xattr",), (YES, YES, UNKNOWN), CONSISTENT),
    ("linux", "vfat", ("flush",), (YES, NO, UNKNOWN), NONE),
    ("linux", "exfat", (), (YES, NO, UNKNOWN), NONE),
    ("linux", "msdos", (), (YES, NO, UNKNOWN), NONE),
    ("linux", "ntfs3", (), (YES, UNKNOWN, UNKNOWN), NONE),
    ("linux", "tmpfs", ("size=1m",), (YES, NO, NO), NONE),
    ("linux", "ramfs", (), (YES, NO, NO), NONE),
    ("linux", "overlay", ("lowerdir=/l", "upperdir=/u"), (YES, UNKNOWN, UNKNOWN), NONE),
    ("linux", "overlay", ("upperdir=/u", "volatile"), (YES, NO, NO), NONE),
    ("linux", "overlay", ("upperdir=/u", "fsync=volatile"), (YES, NO, NO), NONE),
    ("linux", "nfs", ("vers=3",), NOTHING, NONE),
    ("linux", "nfs4", ("vers=4.2",), NOTHING, NONE),
    ("linux", "cifs", ("vers=3.1.1",), (NO, NO, UNKNOWN), NONE),
    ("linux", "smb3", (), (NO, NO, UNKNOWN), NONE),
    ("linux", "fuse", (), NOTHING, NONE),
    ("linux", "fuse.sshfs", (), NOTHING, NONE),
    ("linux", "fuse.ext4", (), NOTHING, NONE),
    ("linux", "fuseblk", (), NOTHING, NONE),
    ("linux", "fusectl", (), NOTHING, NONE),
    ("linux", "9p", ("cache=mmap",), NOTHING, NONE),
    ("linux", "virtiofs", (), NOTHING, NONE),
    ("linux", "bcachefs", (), NOTHING, NONE),
    ("linux", "unknown", (), NOTHING, NONE),
    ("macos", "apfs", ("journaled",), (YES, YES, UNKNOWN), CONSISTENT),
    ("macos", "hfs", ("journaled",), (YES, YES, UNKNOWN), CONSISTENT),
    ("macos", "hfs", (), (YES, NO, UNKNOWN), NONE),
    ("macos", "exfat", (), (YES, NO, UNKNOWN), NONE),
    ("macos", "tmpfs", (), (YES, NO, NO), NONE),
    ("macos", "smbfs", (), NOTHING, NONE),
    ("macos", "macfuse", (), NOTHING, NONE),
    ("macos", "ext4", (), NOTHING, NONE),
    ("windows", "NTFS", (), (YES, YES, UNKNOWN), CONSISTENT),
    ("windows", "NTFS", ("remote",), NOTHING, NONE),
    ("windows", "ReFS", (), NOTHING, NONE),
    ("windows", "FAT32", (), (UNKNOWN, NO, UNKNOWN), NONE),
    ("windows", "exFAT", (), (UNKNOWN, NO, UNKNOWN), NONE),
    ("windows", "unknown", (), NOTHING, NONE),
    ("posix", "unknown", (), NOTHING, NONE),
]
JOURNALS = [
    (ext4_journal.PRESENT, ALL, DURABLE),
    (ext4_journal.ABSENT, (YES, NO, UNKNOWN), NONE),
    (ext4_journal.HIDDEN, (YES, UNKNOWN, UNKNOWN), NONE),
]


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ext4_journal, "state", lambda _device: ext4_journal.PRESENT)


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(("system", "kind", "options", "answers", "level"), CASES)
def test_what_is_kept(
    system: str, kind: str, options: tuple[str, ...], answers: tuple[str, str, str], level: Durability
) -> None:
    file_system = FileSystem(kind, options, "8:1")
    found = promises(system, file_system)
    assert found == answers
    assert all(promise.reason for promise in found)
    assert kept(DURABLE, system, file_system)[0] is level


@pytest.mark.parametrize(("state", "answers", "level"), JOURNALS)
def test_ext4_by_its_journal(
    state: str, answers: tuple[str, str, str], level: Durability, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ext4_journal, "state", lambda _device: state)
    file_system = FileSystem("ext4", ("rw",), "8:1")
    assert promises("linux", file_system) == answers
    assert kept(DURABLE, "linux", file_system)[0] is level


@pytest.mark.usefixtures("journal")
def test_every_line_of_the_table_has_a_case() -> None:
    reached = {
        next(number for number, row in enumerate(TABLE) if row.fits(system, kind, options))
        for system, kind, options, _, _ in CASES
    }
    for state, _, _ in JOURNALS:
        reached.add(next(n for n, row in enumerate(TABLE) if row.fits("linux", "ext4", (state,))))
    assert reached == set(range(len(TABLE)))


@pytest.mark.parametrize("system", ["linux", "macos", "windows", "posix"])
def test_the_unknown_promises_nothing(system: str) -> None:
    assert promises(system, FileSystem("never heard of")) == NOTHING


@pytest.mark.usefixtures("journal")
def test_a_lower_level_comes_with_its_reason_and_an_equal_one_without() -> None:
    ext4, tmpfs, zfs = FileSystem("ext4"), FileSystem("tmpfs"), FileSystem("zfs")
    assert kept(DURABLE, "linux", ext4) == (DURABLE, "")
    assert kept(CONSISTENT, "linux", ext4) == (CONSISTENT, "")
    assert kept(CONSISTENT, "linux", zfs) == (CONSISTENT, "")
    level, reason = kept(DURABLE, "linux", zfs)
    assert level is CONSISTENT
    assert "sync=disabled" in reason
    level, reason = kept(CONSISTENT, "linux", tmpfs)
    assert level is NONE
    assert "memory" in reason
    assert kept(NONE, "linux", tmpfs) == (NONE, "")


def test_the_same_file_system_under_another_system_is_looked_up_anew() -> None:
    file_system = FileSystem("exfat")
    assert promises("linux", file_system)[0] == YES
    assert promises("windows", FileSystem("exFAT"))[0] == UNKNOWN
    assert promises("posix", file_system) == NOTHING


def test_what_was_looked_up_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def state(device: str) -> str:
        asked.append(device)
        return ext4_journal.PRESENT

    monkeypatch.setattr(ext4_journal, "state", state)
    file_system = FileSystem("ext4", (), "8:1")
    for _ in range(3):
        kept(DURABLE, "linux", file_system)
    assert asked == ["8:1"]


@pytest.mark.parametrize(
    ("options", "task", "state"),
    [
        (b"rw\ndata=ordered\n", None, ext4_journal.PRESENT),
        (b"rw\nbarrier\n", None, ext4_journal.ABSENT),
        (None, b"417\n", ext4_journal.PRESENT),
        (None, b"<none>\n", ext4_journal.ABSENT),
        (None, None, ext4_journal.HIDDEN),
    ],
)
def test_where_the_kernel_tells_of_a_journal(
    options: bytes | None, task: bytes | None, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"/proc/fs/ext4/sda1/options": options, "/sys/fs/ext4/sda1/journal_task": task}
    links = {"/sys/dev/block/8:1": "../../devices/virtual/block/sda/sda1"}
    for name, content in told.items():
        if content is not None:
            (tmp_path / name[1:].replace("/", "_")).write_bytes(content)
    monkeypatch.setattr("os.readlink", lambda name: links[name])
    monkeypatch.setattr(
        ext4_journal,
        "open",
        lambda name, mode: (tmp_path / name[1:].replace("/", "_")).open(mode),
        raising=False,
    )
    assert ext4_journal.state("8:1") == state


def test_a_device_that_the_kernel_does_not_know() -> None:
    assert ext4_journal.state("no such device") == ext4_journal.HIDDEN


@needs_file_system("ext2", "ext3", "ext4")
@pytest.mark.parametrize(
    ("kind", "make", "state"),
    [
        ("ext4", (), ext4_journal.PRESENT),
        ("ext4", ("-O", "^has_journal"), ext4_journal.ABSENT),
        ("ext3", (), ext4_journal.PRESENT),
        ("ext2", (), ext4_journal.ABSENT),
    ],
)
@pytest.mark.parametrize("source", ["options", "task"])
def test_the_journals_of_real_file_systems(
    kind: str, make: tuple[str, ...], state: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "task":
        monkeypatch.setattr(ext4_journal, "_from_options", lambda _name: None)
    with mounted(kind, tmp_path / "disk", make=make) as disk:
        number = disk.stat().st_dev
        assert ext4_journal.state(f"{number >> 8 & 0xFFF}:{number & 0xFF}") == state
