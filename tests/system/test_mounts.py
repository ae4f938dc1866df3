"""The mount table: what proc_pid_mountinfo(5) allows, and what this machine has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from capabilities import needs_linux, needs_mount, needs_proc
from durably._commit.linux import strategy
from durably._system import mounts as _mounts
from durably._system.native import linux
from durably._system.syscalls import Syscalls
from mounts import bound, mounted

if TYPE_CHECKING:
    from pathlib import Path

TABLE = rb"""22 27 0:21 / /proc rw,nosuid - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
31 27 0:28 / /mnt/a\040b\134c\011d rw master:2 propagate_from:1 unbindable - fuse.sshfs h:/a rw,user_id=0
40 27 0:33 /@home /home rw,noatime shared:7 - btrfs /dev/sda2 rw,noatime,subvol=/@home
41 27 0:34 / /merged rw - overlay overlay rw,lowerdir=/a\072b,upperdir=/u,volatile
42 27 0:35 / /odd - rw,ro - odd none
43 27 0:36 / /weird rw - weird no\tta\ttab
270 27 8:1 / /long rw - xfs /dev/sda1 rw,nobarrier
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mountinfo"
    path.write_bytes(TABLE)
    monkeypatch.setattr(_mounts, "_MOUNTINFO", str(path))
    monkeypatch.setattr(_mounts, "_cache", {})
    return path


@pytest.mark.parametrize(
    ("number", "kind", "options", "device"),
    [
        (22, "proc", ("rw", "nosuid"), "0:21"),
        (27, "ext4", ("rw", "relatime", "discard"), "254:0"),
        (31, "fuse.sshfs", ("rw", "user_id=0"), "0:28"),
        (40, "btrfs", ("rw", "noatime", "subvol=/@home"), "0:33"),
        (270, "xfs", ("rw", "nobarrier"), "8:1"),
        (99, "unknown", (), ""),
        (2, "unknown", (), ""),
    ],
)
@pytest.mark.usefixtures("table")
def test_a_line_is_found_by_its_number(number: int, kind: str, options: tuple[str, ...], device: str) -> None:
    found = _mounts.mount(number)
    assert (found.kind, found.options, found.device) == (kind, options, device)


@pytest.mark.usefixtures("table")
def test_escapes_in_options_do_not_split_them() -> None:
    assert _mounts.mount(41).options[1:] == (r"lowerdir=/a\072b", "upperdir=/u", "volatile")


@pytest.mark.usefixtures("table")
def test_a_line_without_options_of_the_super_block() -> None:
    assert _mounts.mount(43).kind == "weird"


def test_an_answer_is_remembered_for_a_second(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    first = _mounts.mount(270)
    table.write_bytes(TABLE.replace(b"nobarrier", b"barrier"))
    now += 0.5
    assert _mounts.mount(270) is first
    now += 0.6
    assert "barrier" in _mounts.mount(270).options


def test_no_mount_table_is_an_error(table: Path) -> None:
    table.unlink()
    with pytest.raises(FileNotFoundError):
        _mounts.mount(22)


@needs_proc
def test_the_kernel_and_the_table_agree_on_numbers() -> None:
    for place, kind in (("/proc", "proc"), ("/sys", "sysfs")):
        if not os.path.ismount(place):
            continue
        directory = os.open(place, os.O_RDONLY)
        try:
            assert _mounts.mount(linux.mount_id(directory)).kind == kind
        finally:
            os.close(directory)


@needs_linux
def test_a_kernel_that_does_not_tell_the_number_by_statx(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = os.open("/", os.O_RDONLY)
    try:
        told = linux.mount_id(directory)
        monkeypatch.setattr(linux, "STATX_MNT_ID", 0)
        assert linux.mount_id(directory) == told
    finally:
        os.close(directory)


@needs_mount
def test_two_mounts_of_one_device_have_two_numbers(tmp_path: Path) -> None:
    one, two = tmp_path / "a b", tmp_path / "two"
    two.mkdir()
    with mounted("tmpfs", one, options="size=1m"), bound(one, two):
        assert one.stat().st_dev == two.stat().st_dev
        numbers = set()
        for place in (one, two):
            directory = os.open(place, os.O_RDONLY)
            numbers.add(linux.mount_id(directory))
            assert _mounts.mount(linux.mount_id(directory)).kind == "tmpfs"
            os.close(directory)
        assert len(numbers) == 2


@needs_linux
def test_without_a_mount_table_none_is_known_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.setattr(strategy, "_DESCRIPTORS", str(tmp_path / "no-proc"))
    routine = strategy.Linux(Syscalls())
    directory = routine.open_directory(str(tmp_path))
    assert routine.mounts_in(directory, "below") == []
    routine.close_directory(directory)


@needs_linux
def test_without_proc_no_machine_is_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategy, "_MEMORY", str(tmp_path / "no-proc"))
    assert not strategy.Linux(Syscalls()).is_quiet(1, 1 << 60)
