"""`staged_directory`: a whole tree in one step, and nothing but whole trees at any moment."""

from __future__ import annotations

import errno
import gc
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durably
import entry_points
from capabilities import (
    find,
    needs_file_system,
    needs_linux,
    needs_mount,
    needs_posix,
    needs_unprivileged_user,
)
from disk import DEFAULT, Refusing, acl, as_nobody, attribute, mode, names, needs_acls, umask, untouched
from durably import NotDurableError, OutcomeUnknownError, Receipt, UnsupportedError
from durably._system import mounts as _mounts
from durably._system import temp_names
from durably._system.native.darwin import F_FULLFSYNC
from durably.testing import RecordingSyscalls, use
from entry_points import LEVELS, in_child
from fakes import FakeMacOS, FakeWindows
from mounts import bound, mounted
from trees import LITTLE_OLD, NEW, OLD, WAYS, Way, grow, seen, shown

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [needs_posix, needs_linux]

LINK = Way("linked", options={"fallback": "symlink"})


@pytest.fixture
def target(path: Path) -> Path:
    """A directory that is there already, where saves are fast."""
    path.mkdir()
    grow(path, OLD)
    return path


def save(path: Path, **options: Any) -> Receipt:
    staged = durably.staged_directory(path, **options)
    with staged as directory:
        grow(directory, NEW)
    assert staged.receipt is not None
    return staged.receipt


def kept(target: Path) -> bool:
    return seen(target) == OLD and names(target.parent) == [target.name]


# What it does.


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("way", WAYS, ids=shown)
def test_the_new_tree_is_there_and_nothing_else(way: Way, level: str, path: Path) -> None:
    old = way.prepare(path)
    before = entry_points.descriptors()
    receipt = way.save(path, durability=level)
    assert seen(path) == way.new
    keeps = way.keeps and old is not None
    assert way.beside(path) == ({"kept"} if keeps else set())
    assert not keeps or seen(path.with_name("kept")) == LITTLE_OLD
    assert receipt.path == str(path)
    assert receipt.size == sum(len(each) for each in way.new.values() if isinstance(each, bytes))
    assert receipt.replaced == (old is not None)
    assert not receipt.in_place
    flushes = {"fsync", "syncfs"} & set(receipt.steps)
    assert bool(flushes) == ("fsync directory" in receipt.steps) == (level != "none")
    published = {"rename", "exchange", "rename link"} & set(receipt.steps)
    assert published == {"rename link" if way.links else "exchange" if old else "rename"}
    assert entry_points.descriptors() == before


def test_the_directory_is_empty_private_and_has_the_targets_name(target: Path) -> None:
    staged = durably.staged_directory(target)
    with staged as directory:
        assert type(directory) is type(target)
        assert (directory.name, directory.parent.parent) == (target.name, target.parent)
        assert names(directory) == []
        assert mode(directory.parent) == 0o700
        made = temp_names.parse(directory.parent.name)
        assert made is not None
        assert made[0] == "d"
        grow(directory, NEW)
        assert seen(target) == OLD
        assert staged.receipt is None
    assert seen(target) == NEW


@pytest.mark.parametrize("given", ["str", "bytes", "slash", "relative"])
def test_paths_of_every_kind(given: str, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(target.parent)
    path: Any = {
        "str": str(target),
        "bytes": os.fsencode(target),
        "slash": f"{target}//",
        "relative": target.name,
    }[given]
    staged = durably.staged_directory(path)
    with staged as directory:
        monkeypatch.chdir("/")
        grow(directory, NEW)
    assert seen(target) == NEW
    assert staged.receipt is not None
    assert staged.receipt.path == os.fsdecode(path)


@pytest.mark.parametrize("path", [".", "..", "/", "//", "./.", "../..", "x/../"])
def test_a_path_without_a_name_of_its_own_is_refused(path: Any) -> None:
    with pytest.raises(OSError, match="by a name of its own") as caught:
        save(path)
    assert caught.value.errno == errno.EINVAL


def test_missing_parents(path: Path) -> None:
    deep = path / "one" / "two"
    with pytest.raises(FileNotFoundError):
        save(deep)
    assert names(path.parent) == []
    assert save(deep, make_parents=True).replaced is False
    assert seen(deep) == NEW
    with pytest.raises(KeyError), durably.staged_directory(path / "three" / "four", make_parents=True):
        raise KeyError
    assert names(path) == ["one"]


class Without(durably.testing.RecordingSyscalls):
    """A file system on which a call of this name, with these flags, is refused."""

    def __init__(self, flags: int, error: int = errno.EINVAL, since: int = 1) -> None:
        super().__init__()
        self.flags, self.error, self.since = flags, error, since
        self.met = 0

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name == "renameat2" and arguments[4] & self.flags:
            self.met += 1
            if self.met >= self.since:
                raise OSError(self.error, os.strerror(self.error))


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOSYS, errno.EXDEV])
def test_no_exchange_is_known_before_any_work(error: int, target: Path) -> None:
    with (
        use(Without(2, error)),
        pytest.raises(UnsupportedError, match="cannot exchange two directories") as caught,
    ):
        with durably.staged_directory(target):
            pytest.fail("the block was entered")
    assert "fallback='symlink'" in str(caught.value)
    assert kept(target)


def test_no_exchange_of_this_directory_changes_nothing(target: Path) -> None:
    with (
        use(Without(2, errno.EXDEV, since=2)),
        pytest.raises(UnsupportedError, match="the target was not changed"),
    ):
        save(target)
    assert kept(target)


def test_without_a_rename_that_replaces_nothing(path: Path) -> None:
    with use(Without(1)):
        with pytest.raises(UnsupportedError, match="cannot create a directory without replacing one"):
            save(path, overwrite=False)
        assert names(path.parent) == []
        save(path)
        assert seen(path) == NEW
        save(path.with_name("link"), fallback="symlink")
        assert seen(path.with_name("link")) == NEW


def test_a_system_without_either(target: Path) -> None:
    with use(durably.testing.Syscalls(), "freebsd"):
        with pytest.raises(UnsupportedError, match="no call that exchanges"):
            save(target)
        assert kept(target)
        shutil.rmtree(target)
        save(target)
        assert seen(target) == NEW
        shutil.rmtree(target)
        for _ in range(2):
            save(target, fallback="symlink")
        assert seen(target) == NEW
        assert LINK.beside(target) == set()


# What others do meanwhile.


def test_create_only(path: Path) -> None:
    save(path, overwrite=False)
    with pytest.raises(FileExistsError), durably.staged_directory(path, overwrite=False):
        pytest.fail("the block was entered")
    shutil.rmtree(path)
    with pytest.raises(FileExistsError), durably.staged_directory(path, overwrite=False) as directory:
        grow(directory, NEW)
        path.mkdir()
    assert seen(path) == {}
    assert names(path.parent) == [path.name]


def test_a_directory_that_is_made_meanwhile_is_replaced(path: Path) -> None:
    staged = durably.staged_directory(path)
    with staged as directory:
        grow(directory, NEW)
        path.mkdir(0o711)
        grow(path, OLD)
    assert seen(path) == NEW
    assert mode(path) == 0o711
    assert staged.receipt is not None
    assert (staged.receipt.replaced, "exchange" in staged.receipt.steps) == (True, True)


def test_a_directory_that_vanishes_meanwhile(target: Path) -> None:
    with durably.staged_directory(target) as directory:
        grow(directory, NEW)
        shutil.rmtree(target)
    assert seen(target) == NEW


def file(path: Path) -> None:
    path.write_bytes(b"precious")


def link(path: Path) -> None:
    path.symlink_to(path.parent)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def _identity(path: Path) -> tuple[int, int, int, int]:
    """Which one it is, and whether it was changed; reading a link changes when it was last read."""
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


@pytest.mark.parametrize("make", [file, link, fifo])
@pytest.mark.parametrize("options", [{}, {"fallback": "symlink"}], ids=str)
def test_what_is_no_directory_is_refused(make: Callable[[Path], None], options: Any, path: Path) -> None:
    make(path)
    before = _identity(path)
    with pytest.raises(OSError, match=r"is .*; nothing was changed") as caught:
        save(path, **options)
    assert caught.value.errno == (errno.ELOOP if make is link else errno.ENOTDIR)
    other = path.with_name("other")
    with pytest.raises(OSError, match="changed"), durably.staged_directory(other, **options) as staged:
        grow(staged, NEW)
        make(other)
    assert _identity(path) == before
    assert names(path.parent) == ["other", path.name]


class Racing(RecordingSyscalls):
    """A table in which the directory becomes a file in the last moment before the exchange."""

    def __init__(self, target: Path) -> None:
        super().__init__()
        self.target = target

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name == "renameat2" and arguments[3] == self.target.name and self.target.is_dir():
            shutil.rmtree(self.target)
            self.target.write_bytes(b"precious")


def test_an_exchange_with_a_file_is_taken_back(target: Path) -> None:
    with use(Racing(target)), pytest.raises(NotADirectoryError, match="became something else"):
        save(target)
    assert target.read_bytes() == b"precious"
    assert names(target.parent) == [target.name]


class Stuck(Racing):
    """The same, and the exchange cannot be taken back."""

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if name == "renameat2" and self.target.is_dir() and seen(self.target) == NEW:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super()._before(name, arguments, keywords, function)


def test_an_exchange_with_a_file_that_cannot_be_taken_back_loses_nothing(target: Path) -> None:
    with use(Stuck(target)), pytest.raises(OutcomeUnknownError, match="it lies in ") as caught:
        save(target)
    left = Path((caught.value.strerror or "").partition("it lies in ")[2])
    assert (left / target.name).read_bytes() == b"precious"
    assert seen(target) == NEW


_WRITER = """
import os, sys
part = f"{sys.argv[1]}/part-{sys.argv[2]}"
os.mkdir(part)
for number in range(20):
    with open(f"{part}/{number}", "wb") as file:
        file.write(b"x" * 1000)
"""


def test_many_processes_write(target: Path) -> None:
    staged = durably.staged_directory(target)
    with staged as directory:
        command = [sys.executable, "-S", "-c", _WRITER, str(directory)]
        writers = [subprocess.Popen([*command, str(number)]) for number in range(8)]
        assert [writer.wait() for writer in writers] == [0] * 8
    assert len(seen(target) or ()) == 8 * 21
    assert staged.receipt is not None
    assert staged.receipt.size == 8 * 20 * 1000


def test_a_writer_that_knows_only_the_path(target: Path) -> None:
    """As a job does that clears what it is to write to, and makes it again."""
    script = (
        "import os, shutil, sys; p = sys.argv[1]; shutil.rmtree(p); os.mkdir(p); open(p + '/a', 'w').close()"
    )
    target.chmod(0o750)
    with durably.staged_directory(target) as directory:
        subprocess.run([sys.executable, "-c", script, str(directory)], check=True)
    assert seen(target) == {"a": b""}
    assert mode(target) == 0o750


def _poll(target: Path, stop: threading.Event, found: list[Any]) -> None:
    while not stop.is_set():
        try:
            fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            found.append(error)
            continue
        try:
            here = os.open("one", os.O_RDONLY, dir_fd=fd), os.open("two", os.O_RDONLY, dir_fd=fd)
        except FileNotFoundError:
            continue  # the old tree, which is being removed
        finally:
            os.close(fd)
        found.append(tuple(os.read(each, 10) for each in here))
        for each in here:
            os.close(each)


@pytest.mark.parametrize("options", [{}, {"fallback": "symlink"}], ids=str)
def test_readers_always_find_it_and_never_a_mix(path: Path, options: Any) -> None:
    def save_numbered(number: int) -> None:
        with durably.staged_directory(path, durability="none", **options) as directory:
            for name in ("one", "two"):
                (directory / name).write_bytes(b"%d" % number)

    save_numbered(0)
    stop, found = threading.Event(), []  # type: ignore[var-annotated]
    reader = threading.Thread(target=_poll, args=(path, stop, found))
    reader.start()
    for number in range(1, 150):
        save_numbered(number)
    stop.set()
    reader.join()
    missed = [each for each in found if isinstance(each, OSError)]
    # A link is looked at, and then what it leads to, which may be the old version that is just removed.
    assert not [each for each in missed if not options or not isinstance(each, FileNotFoundError)]
    read = [each for each in found if not isinstance(each, OSError)]
    assert all(one == two for one, two in read)
    assert len(set(read)) > 5


# Metadata of the directory.


def test_a_new_directory_has_the_mode_of_mkdir(path: Path) -> None:
    with umask(0o027):
        save(path)
        assert mode(path) == 0o750
        with durably.staged_directory(path.with_name("other")) as directory:
            directory.chmod(0o777)
        assert mode(path.with_name("other")) == 0o750


@pytest.mark.parametrize("old", [0o700, 0o755, 0o2775, 0o1777, 0o500])
def test_the_old_mode_is_carried_over(old: int, target: Path) -> None:
    target.chmod(old)
    save(target)
    assert mode(target) == old
    save(target, metadata="fresh")
    assert mode(target) == 0o777 & ~_umask()
    save(target, permissions=0o2751)
    assert mode(target) == 0o2751


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


@needs_unprivileged_user
def test_owner_and_group_are_carried_over(target: Path) -> None:
    os.chown(target, 1234, 5678)
    assert save(target).lost == ()
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 5678)


@needs_acls
def test_attributes_and_acls_are_carried_over(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    os.setxattr(target, "user.note", b"kept")
    default = acl(("owner", 7), ("user", 5, 1234), ("group", 5), ("mask", 5), ("other", 0))
    os.setxattr(target, DEFAULT, default)
    save(target)
    assert attribute(target, "user.note") == b"kept"
    assert attribute(target, DEFAULT) == default
    os.removexattr(target, DEFAULT)
    os.setxattr(tmp_path, DEFAULT, default)
    save(target)
    assert attribute(target, DEFAULT) is None
    save(target, metadata="fresh")
    assert attribute(target, DEFAULT) == default


# Mounts, links, and what cannot be opened.


@needs_mount
@pytest.mark.parametrize("options", [{}, {"keep_old": "kept"}, {"start_from": "copy"}], ids=str)
@pytest.mark.parametrize("inner", ["part/deep", ".", "a"])
def test_a_tree_with_a_mount_in_it_is_refused(inner: str, options: Any, tmp_path: Path) -> None:
    target, precious = tmp_path / "target", tmp_path / "precious"
    target.mkdir()
    grow(target, OLD)
    precious.mkdir()
    (precious / "file").write_bytes(b"precious")
    source = precious / "file" if inner == "a" else precious
    if "keep_old" in options:
        options = {"keep_old": tmp_path / "kept"}
    with bound(source, target / inner):
        with pytest.raises(UnsupportedError, match=r"contains a mounted file system, at .*target") as caught:
            with durably.staged_directory(target, **options):
                pytest.fail("the block was entered")
        assert caught.value.errno == errno.EBUSY
    assert (precious / "file").read_bytes() == b"precious"
    assert seen(target) == OLD
    assert names(tmp_path) == ["precious", "target"]


@needs_mount
@pytest.mark.parametrize("table", ["mountinfo", "statx"])
def test_a_mount_that_comes_meanwhile(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, precious = tmp_path / "target", tmp_path / "precious"
    target.mkdir()
    grow(target, OLD)
    precious.mkdir()
    (precious / "file").write_bytes(b"precious")
    staged = durably.staged_directory(target)
    if table == "mountinfo":
        with pytest.raises(UnsupportedError, match="contains a mounted file system"), staged as directory:
            grow(directory, NEW)
            mount = bound(precious, target / "part")
            mount.__enter__()
        mount.__exit__(None, None, None)
        assert seen(target) == OLD
    else:
        # Only seen when the old tree is removed: it stays, and is named.
        monkeypatch.setattr(_mounts, "below", lambda path: [])
        mount = bound(precious, target / "part")
        mount.__enter__()
        with staged as directory:
            grow(directory, NEW)
        receipt = staged.receipt
        assert receipt is not None
        left = receipt.skipped["remove"].partition(" is left over: ")[0]
        assert "mounted in it" in receipt.skipped["remove"]
        assert seen(target) == NEW
        subprocess.run([find("umount") or "umount", f"{left}/target/part"], check=True)
        assert names(Path(left) / "target" / "part") != []
        with pytest.raises(AssertionError, match="umount"):
            mount.__exit__(None, None, None)  # it moved, and was undone where it went
    assert (precious / "file").read_bytes() == b"precious"


@needs_mount
def test_a_mount_in_the_staged_tree_is_refused(tmp_path: Path) -> None:
    target, precious = tmp_path / "target", tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"precious")
    with pytest.raises(UnsupportedError, match="contains a mounted file system") as caught:
        with durably.staged_directory(target) as directory:
            (directory / "inner").mkdir()
            mount = bound(precious, directory / "inner")
            mount.__enter__()
    (left,) = caught.value.leftovers  # type: ignore[attr-defined]
    assert (precious / "file").read_bytes() == b"precious"
    subprocess.run([find("umount") or "umount", f"{left}/target/inner"], check=True)
    with pytest.raises(AssertionError, match="umount"):
        mount.__exit__(None, None, None)  # it moved, and was undone where it went
    shutil.rmtree(left)
    assert names(tmp_path) == ["precious"]


def test_links_that_lead_out_are_not_followed(target: Path) -> None:
    precious = target.with_name("precious")
    precious.mkdir()
    (precious / "file").write_bytes(b"precious")
    for tree in (target, precious.with_name("second")):
        tree.mkdir(exist_ok=True)
        (tree / "out").symlink_to(precious, target_is_directory=True)
    with durably.staged_directory(target) as directory:
        (directory / "out").symlink_to(precious, target_is_directory=True)
        (directory / "gone").symlink_to("nowhere")
    assert seen(target) == {"out": str(precious), "gone": "nowhere"}
    with pytest.raises(KeyError), durably.staged_directory(target) as directory:
        (directory / "out").symlink_to(precious, target_is_directory=True)
        raise KeyError
    save(target, start_from="copy")
    assert (target / "out").readlink() == precious
    assert names(precious) == ["file"]


def test_fifos_sockets_and_hard_links(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with durably.staged_directory(target) as directory:
        os.mkfifo(directory / "fifo")
        (directory / "file").write_bytes(b"1234")
        os.link(directory / "file", directory / "same")
        monkeypatch.chdir(directory)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket")
    assert stat.S_ISFIFO((target / "fifo").stat().st_mode)
    receipt = save(target, start_from="copy")
    assert "fifo" in receipt.skipped["copy"]
    assert "socket" in receipt.skipped["copy"]
    assert (target / "same").read_bytes() == b"1234"
    assert not (target / "fifo").exists()


@needs_unprivileged_user
@pytest.mark.parametrize("leaves", ["saved", "thrown away"])
def test_directories_without_rights_are_removed_with_the_rest(leaves: str) -> None:
    with entry_points.folder(open_to_all=True) as place:
        target = place / "target"

        def body() -> None:
            target.mkdir()
            grow(target, OLD)
            (target / "part" / "deep").chmod(0o000)
            (target / "part").chmod(0o500)
            if leaves == "saved":
                save(target)
                return
            with pytest.raises(KeyError), durably.staged_directory(target) as directory:
                grow(directory, OLD)
                (directory / "part" / "deep").chmod(0o000)
                (directory / "part").chmod(0o500)
                raise KeyError
            (target / "part").chmod(0o700)
            (target / "part" / "deep").chmod(0o700)

        as_nobody(place, body)
        assert seen(target) == (NEW if leaves == "saved" else OLD)
        assert names(place) == ["target"]


@needs_unprivileged_user
def test_what_cannot_be_opened_to_be_flushed_is_an_error() -> None:
    with entry_points.folder(open_to_all=True) as place:

        def body() -> None:
            with pytest.raises(PermissionError), durably.staged_directory(place / "target") as directory:
                grow(directory, NEW)
                (directory / "a").chmod(0o000)

        as_nobody(place, body)
        assert names(place) == []


def test_a_deep_tree_is_removed(path: Path) -> None:
    depth = 1500
    path.mkdir()
    here = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    save(path)
    assert seen(path) == NEW
    assert names(path.parent) == [path.name]


# keep_old.


def test_the_old_tree_is_kept_where_it_is_asked_for(target: Path) -> None:
    elsewhere = target.with_name("elsewhere")
    elsewhere.mkdir()
    inode = target.stat().st_ino
    receipt = save(target, keep_old=elsewhere / "old")
    assert "keep old" in receipt.steps
    assert (seen(target), seen(elsewhere / "old")) == (NEW, OLD)
    assert (elsewhere / "old").stat().st_ino == inode
    assert durably.sweep(elsewhere, older_than=0) == []


@pytest.mark.parametrize(
    ("keep", "error"),
    [
        ("there", FileExistsError),
        ("missing/old", FileNotFoundError),
        ("target", ValueError),
        ("target/old", ValueError),
        ("target/part/old", ValueError),
        (".", ValueError),
        ("there/..", ValueError),
        (".durably-d-0-0-1-0-0123456789abcdef.tmp", ValueError),
    ],
)
@pytest.mark.parametrize("options", [{}, {"fallback": "symlink"}], ids=str)
def test_a_bad_place_for_the_old_tree_is_refused_at_once(
    keep: str, error: type[Exception], options: Any, path: Path
) -> None:
    way = Way("", old=True, options=options)
    way.prepare(path)
    path.with_name("there").mkdir()
    place: Path | str = f"{path.parent}/{keep}"
    before = entry_points.descriptors()
    with pytest.raises(error), durably.staged_directory(path, keep_old=place, **options):
        pytest.fail("the block was entered")
    assert entry_points.descriptors() == before
    assert seen(path) == LITTLE_OLD
    assert way.beside(path) == {"there"}


@needs_mount
def test_another_file_system_is_no_place_for_the_old_tree(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with mounted("tmpfs", tmp_path / "other") as other:
        with pytest.raises(OSError, match="another file system") as caught:
            save(tmp_path / "target", keep_old=other / "old")
    assert caught.value.errno == errno.EXDEV


def test_a_place_that_is_taken_meanwhile(target: Path) -> None:
    staged = durably.staged_directory(target, keep_old=target.with_name("old"))
    with staged as directory:
        grow(directory, NEW)
        target.with_name("old").mkdir()
        target.with_name("old").joinpath("mine").mkdir()
    assert staged.receipt is not None
    left = staged.receipt.skipped["keep_old"].partition(" is left over: ")[0]
    assert seen(Path(left) / "target") == OLD
    assert seen(target) == NEW
    assert names(target.with_name("old")) == ["mine"]


# start_from.


def test_a_copy_of_the_old_tree_to_begin_with(target: Path) -> None:
    (target / "a").chmod(0o640)
    (target / "part").chmod(0o2750)
    os.utime(target / "a", ns=(1, 2_000_000_001))
    os.utime(target / "part", ns=(1, 3_000_000_003))
    with durably.staged_directory(target, start_from="copy") as directory:
        assert seen(directory) == OLD
        assert (directory / "a").stat().st_ino != (target / "a").stat().st_ino
        (directory / "part" / "b").write_bytes(b"changed")
        assert (target / "part" / "b").read_bytes() == OLD["part/b"]
        (directory / "more").write_bytes(b"more")
    assert seen(target) == {**OLD, "part/b": b"changed", "more": b"more"}
    assert (mode(target / "a"), mode(target / "part")) == (0o640, 0o2750)
    assert (target / "a").stat().st_mtime_ns == 2_000_000_001


@needs_file_system("xfs", "btrfs")
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_the_copy_shares_extents(kind: str, tmp_path: Path) -> None:
    with mounted(kind, tmp_path / "mount") as place:
        target = place / "target"
        with durably.staged_directory(target) as directory:
            (directory / "large").write_bytes(os.urandom(40 << 20))
        table = RecordingSyscalls()
        with use(table), durably.staged_directory(target, start_from="copy") as directory:
            (directory / "more").write_bytes(b"more")
        assert "ficlone" in table.names
        assert "read" not in table.names
        assert (target / "large").stat().st_size == 40 << 20


# fallback.


def test_versions_behind_a_link(path: Path) -> None:
    save(path, fallback="symlink")
    first = path.readlink()
    assert path.is_symlink()
    assert first.parent == Path()
    inode = path.stat().st_ino
    path.resolve().chmod(0o751)
    fd = os.open(path, os.O_RDONLY)
    save(path, fallback="symlink")
    assert path.readlink() != first
    assert path.stat().st_ino != inode
    assert mode(path) == 0o751
    assert os.listdir(fd) == []
    os.close(fd)
    assert names(path.parent) == sorted([path.name, str(path.readlink())])
    assert {each.reason for each in durably.sweep(path.parent, older_than=0)} == {
        f"its process, {os.getpid()}, still runs"
    }


def test_a_real_directory_is_not_replaced_by_a_link(target: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"real directory.*rename it first"):
        save(target, fallback="symlink")
    assert kept(target)


def test_a_link_that_leads_nowhere_is_replaced(path: Path) -> None:
    save(path, fallback="symlink")
    shutil.rmtree(path.resolve())
    receipt = save(path, fallback="symlink")
    assert not receipt.replaced
    assert seen(path) == NEW


def test_without_the_option_the_link_is_refused(path: Path) -> None:
    save(path, fallback="symlink")
    with pytest.raises(OSError, match="is a symbolic link") as caught:
        save(path)
    assert caught.value.errno == errno.ELOOP


def _dead_version(place: Path) -> None:
    save(place / "data", fallback="symlink", durability="none")


def test_a_sweep_removes_versions_that_no_link_leads_to(path: Path) -> None:
    in_child(lambda: _dead_version(path.parent))
    data = path.with_name("data")
    version = data.readlink()
    (only,) = durably.sweep(path.parent, older_than=0)
    assert (only.removed, only.reason) == (False, "a link leads to it")
    assert seen(data) == NEW
    data.unlink()
    (only,) = durably.sweep(path.parent, older_than=0, dry_run=True)
    assert only.removed
    assert names(path.parent) == [str(version)]
    (only,) = durably.sweep(path.parent, older_than=0)
    assert only.removed
    assert names(path.parent) == []


# Giving up.


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("way", WAYS, ids=shown)
def test_an_exception_throws_everything_away(error: type[BaseException], way: Way, path: Path) -> None:
    old = way.prepare(path)
    before = entry_points.descriptors()
    keep: dict[str, Any] = {"keep_old": path.with_name("kept")} if way.keeps else {}
    staged = durably.staged_directory(path, **way.options, **keep)
    with pytest.raises(error), staged as directory:
        (directory / "x").mkdir()
        grow(directory / "x", NEW)
        raise error
    assert seen(path) == old
    assert way.beside(path) == set() if old is not None else names(path.parent) == []
    assert entry_points.descriptors() == before
    assert staged.receipt is None


_STRAGGLER = """
import os, sys, time
os.chdir(sys.argv[1])
path, mine = sys.argv[1], "w" + sys.argv[2]
print("ready", flush=True)
end = time.monotonic() + 20
number = 0
while time.monotonic() < end:
    number += 1
    try:
        open(f"{path}/{mine}-{number}", "w").close()
        os.makedirs(f"{mine}-{number}-d")
        open(f"{mine}-{number}-by-descriptor", "w").close()
    except FileNotFoundError:
        break
else:
    sys.exit("the directory never vanished")
"""


def test_writers_that_go_on_after_an_abort_find_it_gone(path: Path) -> None:
    with pytest.raises(KeyError) as caught, durably.staged_directory(path) as directory:
        command = [sys.executable, "-S", "-c", _STRAGGLER, str(directory)]
        writers = [
            subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for number in range(3)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        raise KeyError
    for writer in writers:
        assert writer.communicate()[1] == b""
        assert writer.returncode == 0
    assert not hasattr(caught.value, "leftovers")
    assert names(path.parent) == []


@pytest.mark.parametrize("what", ["nothing", "a file", "a link", "two"])
def test_what_is_not_one_directory_is_an_error(what: str, target: Path) -> None:
    staged = durably.staged_directory(target)
    with pytest.raises(OSError, match="the target was not changed"), staged as directory:
        if what == "two":
            (directory.parent / "other").mkdir()
        else:
            directory.rmdir()
        if what == "a file":
            directory.write_bytes(b"")
        if what == "a link":
            directory.symlink_to(target)
    assert kept(target)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"allow_in_place": True}, ValueError),
        ({"symlinks": "follow"}, ValueError),
        ({"symlinks": "replace"}, ValueError),
        ({"start_from": "move"}, ValueError),
        ({"fallback": "copy"}, ValueError),
        ({"overwrite": False, "start_from": "copy"}, ValueError),
        ({"overwrite": False, "keep_old": "x"}, ValueError),
        ({"keep_old": 5}, TypeError),
        ({"durability": "much"}, ValueError),
        ({"permissions": "0755"}, TypeError),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_before_the_disk_is_touched(
    options: Any, error: type[Exception], target: Path
) -> None:
    with untouched(target.parent), pytest.raises(error):
        durably.staged_directory(target, **options)


def test_a_refused_link_may_be_said_to_be_refused(target: Path) -> None:
    save(target, symlinks="refuse")
    assert seen(target) == NEW


def test_a_url_is_refused(target: Path) -> None:
    with untouched(target.parent), pytest.raises(UnsupportedError):
        durably.staged_directory("s3://bucket/tree")


def test_it_is_entered_once(target: Path) -> None:
    staged = durably.staged_directory(target)
    with staged as directory:
        grow(directory, NEW)
        with pytest.raises(ValueError, match="entered once"):
            staged.__enter__()
    with pytest.raises(ValueError, match="entered once"), staged:
        pass
    assert seen(target) == NEW


@pytest.mark.filterwarnings("always::ResourceWarning")
def test_one_that_is_dropped_in_its_block_discards_with_a_warning(target: Path) -> None:
    before = entry_points.descriptors()
    staged: Any = durably.staged_directory(target)
    grow(staged.__enter__(), NEW)
    with pytest.warns(ResourceWarning, match="unfinished save of .* was discarded"):
        del staged
        gc.collect()
    assert kept(target)
    assert entry_points.descriptors() <= before


def _swept(target: Path) -> list[Any]:
    return list(durably.sweep(target.parent, older_than=0))


@pytest.mark.parametrize("raises", [True, False])
def test_a_child_that_leaves_the_block_does_nothing(target: Path, raises: bool) -> None:
    parent, child, code = os.getpid(), -1, 1
    try:
        with durably.staged_directory(target) as directory:
            grow(directory, NEW)
            child = os.fork()
            if child == 0 and raises:
                raise KeyError
            if child:
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                assert seen(directory) == NEW
                assert in_child(lambda: [each.removed for each in _swept(target)]) == [False]
    except (KeyError, RuntimeError) as error:
        code = int(isinstance(error, KeyError) != raises)
    finally:
        if os.getpid() != parent:
            os._exit(code)
    assert seen(target) == NEW
    assert names(target.parent) == [target.name]


# Flushing.


@needs_file_system("ext4", "xfs", "btrfs", "ext2")
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "ext2"])
def test_the_witness_is_the_file_system_where_it_tells(kind: str, tmp_path: Path) -> None:
    with mounted(kind, tmp_path / "mount") as place:
        receipts = {level: save(place / level, durability=level) for level in LEVELS}
        again = save(place / "again"), save(place / "again")
        assert seen(place / "again") == NEW
        kept = {level: receipt.durability for level, receipt in receipts.items()}
    for level in ("durable", "consistent"):
        assert ("syncfs" in receipts[level].steps) == (kind != "ext2")
        assert ("fsync" in receipts[level].steps) == (kind == "ext2")
        assert ("witness" in receipts[level].skipped) == (kind == "ext2")
    assert not {"syncfs", "fsync"} & set(receipts["none"].steps)
    assert kept == {level: "none" if kind == "ext2" else level for level in LEVELS}
    assert again[1].replaced


@needs_file_system("ext4")
def test_a_flush_that_fails_keeps_the_old_tree(tmp_path: Path) -> None:
    with mounted("ext4", tmp_path / "mount") as place:
        save(place / "target")
        with use(Refusing(syncfs=errno.EIO)), pytest.raises(OSError, match=os.strerror(errno.EIO)):
            with durably.staged_directory(place / "target") as directory:
                grow(directory, OLD)
        assert seen(place / "target") == NEW
        assert set(names(place)) == {"target", "lost+found"}


def test_without_a_witness_everything_is_flushed(path: Path) -> None:
    class Inodes(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "fsync":
                flushed.append(os.fstat(arguments[0]).st_ino)
            if name == "renameat2" and arguments[3] == path.name:
                before.extend(flushed)

    flushed: list[int] = []
    before: list[int] = []
    with use(Inodes()):
        receipt = save(path)
    inodes = {(path / name).stat().st_ino for name in NEW} | {path.stat().st_ino}
    assert inodes == set(before)
    assert before[-1] == path.stat().st_ino
    assert flushed[-1] == path.parent.stat().st_ino
    assert "earlier write error" in receipt.skipped["witness"]


def test_the_old_tree_is_removed_after_the_directory_above_is_flushed(target: Path) -> None:
    for level in ("durable", "consistent"):
        table = RecordingSyscalls()
        with use(table):
            save(target, durability=level)
        after = table.names[len(table.names) - table.names[::-1].index("renameat2") :]
        assert after.index("fsync") < after.index("unlink")


def test_a_directory_that_cannot_be_flushed_keeps_the_old_tree(target: Path) -> None:
    class Failing(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "fsync" and os.fstat(arguments[0]).st_ino == target.parent.stat().st_ino:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    with use(Failing()), pytest.raises(NotDurableError, match="the new directory is in place") as caught:
        save(target)
    assert seen(target) == NEW
    receipt = caught.value.receipt
    assert receipt is not None
    left = Path(receipt.skipped["remove"].partition(" is left over: ")[0])
    assert seen(left / "target") == OLD
    assert receipt.durability == "none"
    assert left.parent == target.parent


@needs_file_system("overlay", "tmpfs")
@pytest.mark.parametrize("options", [{}, {"fallback": "symlink"}], ids=str)
def test_lower_directories_of_overlayfs(options: Any, tmp_path: Path) -> None:
    """There the exchange of a directory that is not in the upper layer is refused, at the commit."""
    with mounted("tmpfs", tmp_path / "layers") as layers:
        for layer in ("lower", "upper", "work"):
            (layers / layer).mkdir()
        (layers / "lower" / "target").mkdir()
        grow(layers / "lower" / "target", OLD)
        how = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work,redirect_dir=off"
        with mounted("overlay", tmp_path / "mount", options=how) as place:
            if options:
                for _ in range(2):
                    save(place / "other", **options)
                assert seen(place / "other") == NEW
                return
            with pytest.raises(UnsupportedError, match="cannot exchange two directories"):
                save(place / "target")
            assert seen(place / "target") == OLD
            assert names(place) == ["target"]
            save(place / "other")
            receipt = save(place / "other")
            assert seen(place / "other") == NEW
            assert "witness" in receipt.skipped


@needs_file_system("ext4", "xfs", "btrfs")
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
@pytest.mark.parametrize("way", WAYS, ids=shown)
def test_every_way_on_every_disk(kind: str, way: Way, tmp_path: Path) -> None:
    with mounted(kind, tmp_path / "mount") as mount:
        place = mount / "place"
        place.mkdir()
        way.prepare(place / "target")
        way.save(place / "target")
        assert seen(place / "target") == way.new
        assert way.beside(place / "target") - {"kept"} == set()


def test_the_docstring_names_every_option() -> None:
    doc = durably.staged_directory.__doc__ or ""
    for name in ("keep_old", "start_from", "fallback", "durability", "overwrite", "metadata", "permissions"):
        assert re.search(rf"``{name}\b", doc)


# Other systems, by tables that act on this disk.


def test_macos_exchanges_and_flushes_once_for_all(target: Path) -> None:
    table = RecordingSyscalls(FakeMacOS())
    with use(table, "darwin"):
        receipt = save(target)
        save(target, keep_old=target.with_name("old"))
    assert seen(target) == NEW
    assert seen(target.with_name("old")) == NEW
    assert names(target.parent) == ["old", target.name]
    assert receipt.replaced
    assert "exchange" in receipt.steps
    commands = [(call.name, call.arguments[1:2]) for call in table.record if call.name in ("fsync", "fcntl")]
    first = [name for name, command in commands if name == "fsync" or command == (F_FULLFSYNC,)]
    assert first[:5] == ["fsync"] * 4 + ["fcntl"]  # two files and two directories; then the drive, once
    with use(FakeMacOS(), "darwin"):
        save(target.with_name("link"), fallback="symlink")
        save(target.with_name("link"), fallback="symlink")
    assert seen(target.with_name("link")) == NEW


def test_windows_makes_new_directories_only(path: Path) -> None:
    table = FakeWindows()
    with use(table, "win32"):
        receipt = save(path)
        with pytest.raises(UnsupportedError, match="Windows has no call that exchanges two directories"):
            save(path)
        with pytest.raises(FileExistsError):
            save(path, overwrite=False)
        with pytest.raises(KeyError), durably.staged_directory(path.with_name("other")) as directory:
            grow(directory, NEW)
            raise KeyError
    assert seen(path) == NEW
    assert names(path.parent) == [path.name]
    assert ("fsync" in receipt.steps, "fsync directory" in receipt.skipped) == (True, True)
