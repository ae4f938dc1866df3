"""Real disks that are full, real mounts, and real users who may not."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import durably
import entry_points
from capabilities import (
    NOBODY,
    file_system,
    find,
    needs_linux,
    needs_mount,
    needs_root,
    needs_unprivileged_user,
)
from durably import Receipt, _commit
from durably._system.promises import FileSystem
from entry_points import (
    CASES,
    ENTRY_POINTS,
    MAIN,
    MAIN_CASES,
    NEW,
    OLD,
    EntryPoint,
    attempt,
    folder,
    in_child,
    prepare,
    read,
    shown,
)
from mounts import bound, mounted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

resource = pytest.importorskip("resource", reason="needs a POSIX system")
pytestmark = needs_linux

PAGE = 4096
BIG = b"new content, too much of it\n" * 1500
REPLACING = [entry_point for entry_point in ENTRY_POINTS if "replaced" in entry_point.states]


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may write in."""
    with folder(open_to_all=True) as directory:
        path = directory / "target"
        for entry_point in MAIN:
            entry_point.save(path, NEW)  # imports what another user might not be able to read
        prepare(path, "new")
        yield path


def _check_refused(
    error: Exception | None, path: Path, old: bytes | None, number: int, before: set[int] | None = None
) -> None:
    assert isinstance(error, OSError), repr(error)
    assert (error.errno, error.filename) == (number, str(path)), repr(error)
    assert type(error).__module__ == "builtins"
    assert not hasattr(error, "leftovers")
    assert read(path) == old
    assert not entry_points.beside(path)
    if before is not None:
        assert entry_points.descriptors() == before


# No room.


@needs_mount
@pytest.mark.parametrize(("entry_point", "state"), CASES, ids=shown)
def test_a_full_disk(entry_point: EntryPoint, state: str, tmp_path: Path) -> None:
    """From no free page to enough of them: at each size the old file stays, or the new one is whole."""
    outcomes = set()
    with mounted("tmpfs", tmp_path / "disk", options="size=256k") as disk:
        path = disk / "target"
        for free in (0, 1, 2, 5, 9, 10, 11, 12, 40):
            old = prepare(path, state)
            before = entry_points.descriptors()
            _leave(disk, free * PAGE)
            _, error = attempt(entry_point.save, path, BIG)
            (disk / "filling").unlink()
            if error is None:
                assert read(path) == entry_point.content(old, BIG)
                assert not entry_points.beside(path)
            elif "staged_path" in entry_point.name and getattr(error, "filename", None) is None:
                # The saver writes by itself, and its error is passed on as it is.
                assert isinstance(error, OSError)
                assert (error.errno, read(path), entry_points.beside(path)) == (errno.ENOSPC, old, set())
            else:
                _check_refused(error, path, old, errno.ENOSPC)
            assert entry_points.descriptors() == before
            outcomes.add(error is None)
    assert outcomes == {True, False}


def _leave(disk: Path, size: int) -> None:
    """Fill the disk up to so many bytes."""
    free = os.statvfs(disk)
    with (disk / "filling").open("wb") as file:
        file.write(bytes(free.f_bavail * free.f_bsize - size))


@needs_mount
@pytest.mark.parametrize(("entry_point", "state"), MAIN_CASES, ids=shown)
def test_no_inode_is_left(entry_point: EntryPoint, state: str, tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "disk", options="nr_inodes=6") as disk:
        path = disk / "target"
        old = prepare(path, state)
        fillings = [disk / f"filling{number}" for number in range(8)]
        made = []
        for filling in fillings:
            try:
                filling.mkdir()
            except OSError:
                break
            made.append(filling)
        before = entry_points.descriptors()
        _, error = attempt(entry_point.save, path, NEW)
        for filling in made:
            filling.rmdir()
        assert len(made) > 2
        _check_refused(error, path, old, errno.ENOSPC, before)


@pytest.mark.parametrize("entry_point", MAIN, ids=shown)
def test_a_full_ext4(entry_point: EntryPoint, tmp_path: Path) -> None:
    """A disk that gives out its blocks only when they are written out."""
    if reason := file_system("ext4"):
        pytest.skip(reason)
    data = BIG * 200
    with mounted("ext4", tmp_path / "disk", options="delalloc") as disk:
        path = disk / "target"
        path.write_bytes(OLD)
        _leave(disk, len(data) // 2)
        _, error = attempt(entry_point.save, path, data)
        assert isinstance(error, OSError)
        assert error.errno == errno.ENOSPC
        assert read(path) == OLD
        assert entry_points.beside(path) - {"lost+found", "filling"} == set()


@pytest.mark.parametrize(("entry_point", "state"), CASES, ids=shown)
def test_the_limit_for_the_size_of_a_file(entry_point: EntryPoint, state: str, path: Path) -> None:
    old = prepare(path, state)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(OLD) + PAGE, resource.RLIM_INFINITY))
        _, error = attempt(entry_point.save, path, BIG)
        assert isinstance(error, OSError), repr(error)
        assert error.errno == errno.EFBIG

    in_child(limited)
    assert read(path) == old
    assert not entry_points.beside(path)


@pytest.mark.parametrize(("entry_point", "state"), MAIN_CASES, ids=shown)
def test_the_limit_for_descriptors(entry_point: EntryPoint, state: str, path: Path) -> None:
    def limited() -> set[bool]:
        entry_point.save(path, NEW)  # what is imported late is there
        outcomes = set()
        for more in range(8):
            old = prepare(path, state)
            before = entry_points.descriptors()
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(before) + 1 + more, hard))
            for hole in set(range(max(before))) - before:
                os.dup2(0, hole)  # every smaller one is in use
            filled = set(range(max(before))) - before
            receipt, error = attempt(entry_point.save, path, NEW)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            for fd in filled:
                os.close(fd)
            assert entry_points.descriptors() == before
            # To empty a private directory takes a descriptor.
            assert entry_points.beside(path) == entry_points.named_leftovers(error, receipt)
            assert "staged_path" in entry_point.name or not entry_points.beside(path)
            if error is None:
                assert read(path) == NEW
            else:
                assert isinstance(error, OSError), repr(error)
                assert error.errno == errno.EMFILE
                assert read(path) == old
            outcomes.add(error is None)
        return outcomes

    assert in_child(limited) == {True, False}


# No right.


@contextmanager
def _unwritable(path: Path) -> Iterator[None]:
    path.parent.chmod(0o755)
    try:
        yield
    finally:
        path.parent.chmod(0o777)


@needs_unprivileged_user
@pytest.mark.parametrize(("entry_point", "state"), CASES, ids=shown)
def test_a_directory_that_may_not_be_written(entry_point: EntryPoint, state: str, public: Path) -> None:
    old = prepare(public, state)
    if old is not None:
        public.chmod(0o666)

    def save() -> None:
        _check_refused(
            attempt(entry_point.save, public, NEW)[1], public, old, errno.EACCES, entry_points.descriptors()
        )

    with _unwritable(public):
        in_child(save, user=NOBODY)


@needs_unprivileged_user
@pytest.mark.parametrize(
    "entry_point",
    [entry_point for entry_point in REPLACING if "staged_path" not in entry_point.name],
    ids=shown,
)
def test_a_file_that_may_be_rewritten_there(entry_point: EntryPoint, public: Path) -> None:
    old = prepare(public, "replaced")
    public.chmod(0o666)
    before = public.stat()

    def save() -> Receipt:
        receipt = entry_point.save(public, NEW, allow_in_place=True)
        assert not entry_points.in_fallback_dir()
        return receipt

    with _unwritable(public):
        receipt = in_child(save, user=NOBODY)
    assert read(public) == entry_point.content(old)
    assert (receipt.in_place, receipt.replaced, receipt.durability) == (True, True, "none")
    assert "rewrite in place" in receipt.steps
    after = public.stat()
    assert (after.st_ino, after.st_uid, after.st_mode) == (before.st_ino, before.st_uid, before.st_mode)
    assert not entry_points.beside(public)


@needs_unprivileged_user
@pytest.mark.parametrize(
    "entry_point", [entry_point for entry_point in MAIN if "staged_path" not in entry_point.name], ids=shown
)
def test_a_file_that_may_not_be_rewritten_either(entry_point: EntryPoint, public: Path) -> None:
    old = prepare(public, "replaced")
    public.chmod(0o644)

    def save() -> None:
        _check_refused(
            attempt(entry_point.save, public, NEW, allow_in_place=True)[1],
            public,
            old,
            errno.EACCES,
            entry_points.descriptors(),
        )

    with _unwritable(public):
        in_child(save, user=NOBODY)


@needs_unprivileged_user
@pytest.mark.parametrize(("entry_point", "state"), MAIN_CASES, ids=shown)
def test_a_directory_that_may_be_written_but_not_read(
    entry_point: EntryPoint, state: str, public: Path
) -> None:
    old = prepare(public, state)
    os.chown(public.parent, NOBODY, NOBODY)
    public.parent.chmod(0o300)
    receipt = in_child(lambda: entry_point.save(public, NEW), user=NOBODY)
    assert read(public) == entry_point.content(old)
    assert "may be written but not read" in receipt.skipped["fsync directory"]
    assert "fsync directory" not in receipt.steps
    assert not entry_points.beside(public)


@needs_unprivileged_user
@pytest.mark.parametrize("unreadable", ["the link's directory", "the file's directory"])
def test_only_the_files_own_directory_has_to_be_flushed(
    unreadable: str, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link may lead out of a directory that may be written but not read, or into one."""
    # One that keeps all levels, so that the receipt tells what the flush of the directory has kept.
    monkeypatch.setattr(type(_commit.routine()), "file_system", lambda *_: FileSystem("xfs"))
    links = public.parent / "links"
    links.mkdir()
    (links / "link").symlink_to(public)
    for directory in (links, public.parent):
        os.chown(directory, NOBODY, NOBODY)
    limited = public.parent if unreadable == "the file's directory" else links
    with _mode_of(limited, 0o300):
        receipt = in_child(lambda: durably.write_bytes(links / "link", NEW), user=NOBODY)
    assert read(public) == NEW
    assert ("fsync directory" in receipt.skipped) == (limited == public.parent)
    assert ("fsync directory" in receipt.steps) == (limited != public.parent)
    assert receipt.durability == ("consistent" if limited == public.parent else "durable")
    (links / "link").unlink()
    links.rmdir()


@contextmanager
def _mode_of(directory: Path, mode: int) -> Iterator[None]:
    old = directory.stat().st_mode
    directory.chmod(mode)
    try:
        yield
    finally:
        directory.chmod(old)


@needs_unprivileged_user
@pytest.mark.parametrize("mode", [0o664, 0o660, 0o640, 0o606, 0o6755])
@pytest.mark.parametrize("entry_point", MAIN, ids=shown)
def test_another_users_file(entry_point: EntryPoint, mode: int, public: Path) -> None:
    """In one's own directory it can be replaced, and cannot be given back."""
    prepare(public, "replaced")
    public.chmod(mode)
    receipt = in_child(lambda: entry_point.save(public, NEW), user=NOBODY)
    after = public.stat()
    assert (after.st_uid, after.st_gid) == (NOBODY, NOBODY)
    assert read(public) == NEW
    assert {"owner", "group"} <= set(receipt.lost)
    everybody = mode & 0o007
    assert stat.S_IMODE(after.st_mode) == mode & 0o707 | mode & 0o070 & everybody << 3


@needs_unprivileged_user
@pytest.mark.parametrize("entry_point", MAIN, ids=shown)
def test_another_users_file_strictly(entry_point: EntryPoint, public: Path) -> None:
    old = prepare(public, "replaced")
    public.chmod(0o664)

    def save() -> None:
        _check_refused(
            attempt(entry_point.save, public, NEW, metadata="strict")[1],
            public,
            old,
            errno.EPERM,
            entry_points.descriptors(),
        )

    in_child(save, user=NOBODY)
    assert public.stat().st_uid == os.geteuid()


@needs_unprivileged_user
@pytest.mark.parametrize("entry_point", MAIN, ids=shown)
def test_a_file_of_a_group_that_one_is_in(entry_point: EntryPoint, public: Path) -> None:
    """The group is kept, and with it the group's rights."""
    prepare(public, "replaced")
    os.chown(public, 1234, 4321)
    public.chmod(0o660)

    def save() -> Receipt:
        os.setgroups([4321])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        return entry_point.save(public, NEW)

    receipt = in_child(save)
    after = public.stat()
    assert receipt.lost == ("owner",)
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (NOBODY, 4321, 0o660)


@needs_unprivileged_user
@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("entry_point", MAIN, ids=shown)
def test_a_sticky_directory(entry_point: EntryPoint, allowed: bool, public: Path) -> None:
    """Another's file there may be written, but not be replaced."""
    old = prepare(public, "replaced")
    public.chmod(0o666)
    public.parent.chmod(0o1777)

    def save() -> Receipt | None:
        before = entry_points.descriptors()
        receipt, error = attempt(entry_point.save, public, NEW, allow_in_place=allowed)
        if not allowed:
            _check_refused(error, public, old, errno.EPERM, before)
        return receipt

    receipt = in_child(save, user=NOBODY)
    if allowed:
        assert receipt is not None
        assert receipt.in_place
        assert read(public) == NEW
        assert public.stat().st_uid == os.geteuid()
    assert not entry_points.beside(public)


@contextmanager
def _flagged(path: Path, flag: str) -> Iterator[None]:
    """chattr +i or +a."""
    program = find("chattr")
    if program is None:
        pytest.skip("chattr is not installed")
    done = subprocess.run([program, f"+{flag}", path], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no such flags on this file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([program, f"-{flag}", path], check=True)


@needs_root
@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("flag", ["i", "a"])
@pytest.mark.parametrize("entry_point", MAIN, ids=shown)
def test_an_immutable_file(entry_point: EntryPoint, flag: str, allowed: bool, tmp_path: Path) -> None:
    path = tmp_path / "target"
    old = prepare(path, "replaced")
    before = entry_points.descriptors()
    with _flagged(path, flag):
        _, error = attempt(entry_point.save, path, NEW, allow_in_place=allowed)
        _check_refused(error, path, old, errno.EPERM, before)


@needs_root
@pytest.mark.parametrize(("entry_point", "state"), MAIN_CASES, ids=shown)
def test_an_immutable_directory(entry_point: EntryPoint, state: str, tmp_path: Path) -> None:
    path = tmp_path / "target"
    old = prepare(path, state)
    with _flagged(tmp_path, "i"):
        _, error = attempt(entry_point.save, path, NEW)
        assert isinstance(error, PermissionError), repr(error)
        _check_refused(error, path, old, error.errno or 0)


# Mounts.


@needs_mount
@pytest.mark.parametrize("entry_point", REPLACING, ids=shown)
def test_a_bind_mounted_file(entry_point: EntryPoint, tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "target"
    source.write_bytes(OLD)
    path.write_bytes(b"beneath")
    with bound(source, path):
        before = entry_points.descriptors()
        _, error = attempt(entry_point.save, path, NEW)
        assert entry_points.beside(path) == {"source"}
        source.rename(tmp_path.parent / "moved")
        _check_refused(error, path, OLD, errno.EBUSY, before)
        (tmp_path.parent / "moved").rename(source)
        assert "target was not changed" in "".join(getattr(error, "__notes__", ()))

        receipt = entry_point.save(path, NEW, allow_in_place=True)
        assert (receipt.in_place, receipt.durability) == (True, "none")
        assert read(path) == read(source) == entry_point.content(OLD)
        assert entry_points.beside(path) == {"source"}
    assert read(path) == b"beneath"


@needs_mount
@pytest.mark.parametrize(("entry_point", "state"), CASES, ids=shown)
def test_a_read_only_mount(entry_point: EntryPoint, state: str, tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "disk") as disk:
        path = disk / "target"
        old = prepare(path, state)
        before = entry_points.descriptors()
        mount = find("mount")
        assert mount is not None
        subprocess.run([mount, "-o", "remount,ro", disk], check=True)
        _, error = attempt(entry_point.save, path, NEW)
        _check_refused(error, path, old, errno.EROFS, before)
        if state == "replaced" and "staged_path" not in entry_point.name:
            _, error = attempt(entry_point.save, path, NEW, allow_in_place=True)
            _check_refused(error, path, old, errno.EROFS, before)


@needs_mount
def test_a_mount_over_the_directory_in_the_body(tmp_path: Path) -> None:
    """The directory is opened once: what is mounted over it later is not written to."""
    place = tmp_path / "place"
    place.mkdir()
    path = place / "target"
    with durably.open(path, "wb") as file:
        file.write(NEW)
        mount = mounted("tmpfs", place)
        mount.__enter__()
    try:
        assert os.listdir(place) == []
    finally:
        mount.__exit__(None, None, None)
    assert read(path) == NEW
    assert not entry_points.beside(path)
