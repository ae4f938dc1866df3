"""What the file system for fsspec must not lose, and what it checks before it touches the disk."""

from __future__ import annotations

import errno
import gc
import gzip
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

import fsspec

import durably
import entry_points
from capabilities import needs_linux, needs_modes, needs_posix, needs_shared_memory, needs_symlinks
from disk import Refusing
from durably import filesystem
from durably._fsspec import move
from durably._system import temp_names
from durably.testing import RecordingSyscalls, Syscalls, use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OLD, NEW = entry_points.OLD, entry_points.NEW
DurableFileSystem: Any = filesystem.DurableFileSystem  # fsspec is not typed


@pytest.fixture
def fs() -> Any:
    return DurableFileSystem(durability="none", skip_instance_cache=True)


@pytest.fixture
def root() -> Iterator[Path]:
    with entry_points.folder() as folder:
        yield folder


def names(folder: Path) -> set[str]:
    return {each.relative_to(folder).as_posix() for each in folder.rglob("*")}


# Arguments, before the disk.

WRONG: dict[str, tuple[type[Exception], Callable[[Any, Path], object]]] = {
    "text": (TypeError, lambda fs, path: fs.pipe_file(path, "text")),
    "holes": (BufferError, lambda fs, path: fs.pipe_file(path, memoryview(NEW)[::2])),
    "level": (ValueError, lambda fs, path: fs.pipe_file(path, NEW, durability="most")),
    "links": (ValueError, lambda fs, path: fs.pipe_file(path, NEW, symlinks="some")),
    "permissions": (TypeError, lambda fs, path: fs.pipe_file(path, NEW, permissions="rw")),
    "mode": (ValueError, lambda fs, path: fs.open(path, "wxb")),
    "metadata": (ValueError, lambda fs, path: fs.open(path, "wb", metadata="some")),
    "links of a handle": (ValueError, lambda fs, path: fs.open(path, "wb", symlinks="some")),
    "goes on, only new": (ValueError, lambda fs, path: fs.open(path, "ab", overwrite=False)),
    "nothing to update": (FileNotFoundError, lambda fs, path: fs.open(path, "r+b")),
}


@pytest.mark.parametrize("how", ["alone", "in a transaction"])
@pytest.mark.parametrize(("error", "write"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_leave_no_directory(
    error: type[Exception], write: Callable[[Any, Path], object], how: str, root: Path, fs: Any
) -> None:
    if how == "alone":
        with pytest.raises(error):
            write(fs, root / "new" / "file")
    else:
        with fs.transaction, pytest.raises(error):
            write(fs, root / "new" / "file")
    assert names(root) == set()


@pytest.mark.parametrize("url", ["s3://bucket/key", "file:///file", "memory://x/y", "dir::durable:///x"])
def test_a_url_of_another_file_system_is_no_path(
    url: str, root: Path, fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    writes: tuple[Callable[[], object], ...] = (
        lambda: fs.pipe_file(url, NEW),
        lambda: fs.open(url, "wb"),
        lambda: fs.makedirs(url),
    )
    for write in writes:
        with pytest.raises(ValueError, match="another file system"):
            write()
    assert not fs.exists(url)
    assert names(root) == set()


@needs_posix  # no colon in a name of Windows
def test_a_path_that_looks_like_a_url_is_one_from_here(
    root: Path, fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    fs.pipe_file("./x://y", NEW)
    assert names(root) == {"x:", "x:/y"}


# A file of its own name alone.

CREATING: dict[str, Callable[[Any, Path], object]] = {
    "pipe_file": lambda fs, path: fs.pipe_file(path, NEW, overwrite=False),
    "pipe": lambda fs, path: fs.pipe(str(path), NEW, overwrite=False),
    "open": lambda fs, path: fs.open(path, "wb", overwrite=False).close(),
    "text": lambda fs, path: fs.open(path, "w", overwrite=False).close(),
    "pipe_file create": lambda fs, path: fs.pipe_file(path, NEW, mode="create", overwrite=True),
}


@pytest.mark.parametrize("create", CREATING.values(), ids=CREATING)
def test_what_is_only_created_replaces_nothing(
    create: Callable[[Any, Path], object], root: Path, fs: Any
) -> None:
    path = root / "file"
    path.write_bytes(OLD)
    with pytest.raises(FileExistsError):
        create(fs, path)
    with fs.transaction, pytest.raises(FileExistsError):
        create(fs, path)
    assert path.read_bytes() == OLD
    create(fs, root / "new")
    assert names(root) == {"file", "new"}


COPYING: dict[str, Callable[..., object]] = {
    "cp_file": lambda fs, source, target, **options: fs.cp_file(source, target, **options),
    "cp": lambda fs, source, target, **options: fs.cp(str(source), str(target), **options),
    "put": lambda fs, source, target, **options: fs.put([str(source)], [str(target)], **options),
    "get": lambda fs, source, target, **options: fs.get([str(source)], [str(target)], **options),
    "mode": lambda fs, source, target, **options: fs.put_file(source, target, mode="create", **options),
}


@needs_modes
@pytest.mark.parametrize("copy", COPYING.values(), ids=COPYING)
def test_a_copy_takes_the_options_of_a_single_file(copy: Callable[..., object], root: Path, fs: Any) -> None:
    source, target = root / "source", root / "target"
    source.write_bytes(NEW)
    copy(fs, source, target, permissions=0o600)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    target.write_bytes(OLD)
    with pytest.raises(FileExistsError):
        copy(fs, source, target, overwrite=False)
    assert target.read_bytes() == OLD


# Touching.


def test_touching_what_is_staged_keeps_it(root: Path, fs: Any) -> None:
    with fs.transaction:
        fs.pipe_file(root / "staged", NEW)
        fs.touch(root / "staged", truncate=False)
        fs.touch(root / "new", truncate=False)
    assert (root / "staged").read_bytes() == NEW
    assert (root / "new").read_bytes() == b""
    assert names(root) == {"staged", "new"}


class Racing(Syscalls):
    """Another makes the file that is about to be touched, just after it was not there."""

    def __init__(self, path: Path) -> None:
        super().__init__()

        def utime(file: object, **_: object) -> None:
            self.utime = os.utime
            path.write_bytes(OLD)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)

        self.utime = utime


def test_touching_what_another_makes_meanwhile_keeps_it(root: Path, fs: Any) -> None:
    with use(Racing(root / "file")):
        fs.touch(root / "file", truncate=False)
    assert (root / "file").read_bytes() == OLD
    assert names(root) == {"file"}


@needs_symlinks
def test_touching_a_link_to_nothing_makes_what_it_names(root: Path, fs: Any) -> None:
    (root / "link").symlink_to("file")
    fs.touch(root / "link", truncate=False)
    assert (root / "link").is_symlink()
    assert (root / "file").read_bytes() == b""


# Moving.


@needs_posix
@pytest.mark.parametrize("name", ["file", "tree"])
def test_what_is_moved_onto_itself_stays(name: str, root: Path, fs: Any) -> None:
    (root / "file").write_bytes(OLD)
    (root / "tree").mkdir()
    with fs.transaction:
        fs.mv(root / name, root / name)
        fs.pipe_file(root / "tree" / "new", NEW)
    with pytest.raises(KeyError), fs.transaction:
        fs.mv(root / name, root / name)
        raise KeyError
    assert names(root) == {"file", "tree", "tree/new"}
    assert (root / "file").read_bytes() == OLD


@needs_shared_memory
@needs_modes
@pytest.mark.parametrize("way", entry_points.WAYS, ids=entry_points.shown)
def test_a_file_is_as_it_was_before_it_has_its_name_elsewhere(
    way: entry_points.Way, root: Path, tmp_path: Path, fs: Any
) -> None:
    if root.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("both test directories are on one file system")
    source, target = root / "source", tmp_path / "target"
    source.write_bytes(NEW)
    source.chmod(0o600)
    os.utime(source, ns=(10**9, 2 * 10**9))
    (tmp_path / "other").write_bytes(OLD)
    target.symlink_to("other")
    table = RecordingSyscalls(way.base())
    with use(table, way.system):
        fs.mv(source, target)
    assert not target.is_symlink()
    assert (tmp_path / "other").read_bytes() == OLD
    found = target.stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_mtime_ns == 2 * 10**9
    assert not source.exists()
    # All that by descriptor; and nobody could ever read it who may not.
    calls = [call for call in table.record if call.name in ("utime", "chmod", "fchmod")]
    assert [call.name for call in calls] == ["utime"]
    assert isinstance(calls[0].arguments[0], int)
    made = [call.arguments[2] for call in table.record if call.name == "open" and len(call.arguments) > 2]
    assert set(made) == {0o600}


@needs_shared_memory
def test_where_only_names_have_times_they_are_set_afterwards(
    root: Path, tmp_path: Path, fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if root.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("both test directories are on one file system")
    monkeypatch.setattr(move, "_DATES_OPEN_FILES", False)
    source, target = root / "source", tmp_path / "target"
    source.write_bytes(NEW)
    os.utime(source, ns=(10**9, 2 * 10**9))
    fs.mv(source, target)
    assert target.stat().st_mtime_ns == 2 * 10**9


@needs_shared_memory
def test_a_source_that_cannot_be_removed_is_told(root: Path, tmp_path: Path, fs: Any) -> None:
    if root.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("both test directories are on one file system")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    source, target = root / "source", tmp_path / "target"
    source.write_bytes(NEW)
    table = Syscalls()
    table.unlink = refuse
    with use(table), pytest.raises(PermissionError) as caught:
        fs.mv(source, target)
    assert "is there, whole" in str(caught.value.__notes__)
    assert caught.value.filename == str(source)
    assert source.read_bytes() == target.read_bytes() == NEW
    assert names(tmp_path) == {"target"}


class Attributes(Syscalls):
    """A system whose files have attributes, some of which cannot be set."""

    def __init__(self, refusal: int) -> None:
        super().__init__()
        self.given: list[tuple[str, bytes]] = []

        def set_one(file: object, name: str, value: bytes) -> None:
            if name == "user.refused":
                raise OSError(refusal, os.strerror(refusal))
            self.given.append((name, value))

        self.listxattr = lambda file: ["user.refused", "user.colour"]
        self.getxattr = lambda file, name: b"green"
        self.setxattr = set_one


@needs_shared_memory
def test_attributes_go_with_a_file_as_far_as_they_can(root: Path, tmp_path: Path, fs: Any) -> None:
    if root.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("both test directories are on one file system")
    source, target = root / "source", tmp_path / "target"
    source.write_bytes(NEW)
    with use(Attributes(errno.EIO)), pytest.raises(OSError, match=os.strerror(errno.EIO)):
        fs.mv(source, target)
    assert (names(tmp_path), names(root)) == (set(), {"source"})
    table = Attributes(errno.ENOTSUP)
    with use(table):
        fs.mv(source, target)
    assert table.given == [("user.colour", b"green")]
    assert (target.read_bytes(), names(root)) == (NEW, set())


@needs_linux
def test_what_a_move_replaces_of_the_staged_may_be_left_over(
    root: Path, fs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "file").write_bytes(OLD)
    table = Refusing()
    with use(table), fs.transaction:
        fs.pipe_file(root / "other", NEW)
        table.errors["unlink"] = errno.EACCES
        fs.mv(root / "file", root / "other")
        table.errors.clear()
    (left,) = names(root) - {"other"}
    assert temp_names.parse(left) is not None
    assert left in caplog.text
    assert (root / "other").read_bytes() == OLD


@needs_linux
def test_a_transaction_moves_nothing_to_another_mount(root: Path, fs: Any) -> None:
    (root / "file").write_bytes(OLD)
    (root / "other").mkdir()
    table = Refusing()
    with use(table), fs.transaction:
        fs.pipe_file(root / "other" / "file", NEW)
        # As between two bind mounts of one file system.
        table.errors.update(replace=errno.EXDEV, renameat2=errno.EXDEV, link=errno.EXDEV)
        with pytest.raises(durably.UnsupportedError, match="nothing was"):
            fs.mv(root / "file", root / "other" / "file")
        table.errors.clear()
    assert names(root) == {"file", "other", "other/file"}
    assert (root / "file").read_bytes() == OLD
    assert (root / "other" / "file").read_bytes() == NEW  # what was staged is staged yet


# Temporaries.

GONE: dict[str, Callable[[Any, Path, Path], object]] = {
    "pipe_file": lambda fs, gone, _: fs.pipe_file(gone / "file", NEW),
    "mv": lambda fs, gone, source: fs.mv(source, gone / "file"),
    "makedirs": lambda fs, gone, _: fs.makedirs(gone, exist_ok=True),
    "mkdir": lambda fs, gone, _: fs.mkdir(gone),
    "cp": lambda fs, gone, source: fs.cp_file(source, gone / "file"),
    "touch": lambda fs, gone, _: fs.touch(gone / "file", truncate=False),
}


@pytest.mark.parametrize("how", ["alone", "in a transaction"])
@pytest.mark.parametrize("write", GONE.values(), ids=GONE)
def test_a_temporary_that_is_gone_is_not_made_again(
    write: Callable[[Any, Path, Path], object], how: str, root: Path, fs: Any
) -> None:
    (root / "source").write_bytes(OLD)
    gone = root / temp_names.fresh("d")
    if how == "alone":
        with pytest.raises(FileNotFoundError):
            write(fs, gone, root / "source")
    else:
        with fs.transaction, pytest.raises(FileNotFoundError):
            write(fs, gone, root / "source")
    assert names(root) == {"source"}


# What is over, and what is under way.


def test_a_transaction_is_entered_once(root: Path, fs: Any) -> None:
    with fs.transaction as transaction:
        fs.pipe_file(root / "file", NEW)
    with pytest.raises(ValueError, match="is over"), transaction:
        pass
    with fs.transaction:
        fs.pipe_file(root / "file", OLD)
    assert (root / "file").read_bytes() == OLD


@pytest.mark.parametrize("broken", [False, True], ids=["committed", "broken off"])
def test_a_handle_that_is_closed_too_late_is_told(broken: bool, root: Path, fs: Any) -> None:
    kind = KeyError if broken else ValueError  # "still being written"
    file: Any = None
    with pytest.raises(kind), fs.transaction:
        file = fs.open(root / "file", "wb")
        file.write(NEW)
        if broken:
            raise KeyError
    with pytest.raises(ValueError, match="too late"):
        file.close()
    assert names(root) == set()


def test_an_inner_install_is_not_the_end_of_the_outer() -> None:
    registered = fsspec.get_filesystem_class
    stock = registered("file")
    with filesystem.install():
        with filesystem.install():
            pass
        assert registered("file") is registered("local") is filesystem.DurableLocalFiles
    assert registered("file") is stock


class Saving:
    """An object that saves something when it goes."""

    def __init__(self, path: Path) -> None:
        self.url = f"durable://{path.as_posix()}"

    def __del__(self) -> None:
        opened: Any = fsspec.open(self.url, "wb", durability="none")
        with opened as file:
            file.write(NEW)


def test_what_a_finalizer_opens_and_closes_is_saved(root: Path) -> None:
    saving = Saving(root / "file")
    del saving
    gc.collect()
    assert (root / "file").read_bytes() == NEW


# Layers.


def test_text_tells_what_it_is(root: Path, fs: Any) -> None:
    path = fs._strip_protocol(root / "file.gz")
    with fs.open(path, "w", compression="gzip") as file:
        assert (file.name, file.path, file.mode, file.fs) == (path, path, "w", fs)


def test_a_compressor_that_can_seek_does(root: Path, fs: Any) -> None:
    with fs.open(root / "file", "w", compression="gzip", encoding="utf-16") as text:
        text.write("text")  # with the mark at its beginning, which only a file gets that can seek
    assert gzip.decompress((root / "file").read_bytes()).decode("utf-16") == "text"
    with fs.open(root / "file", "wb", compression="gzip") as file:
        file.seek(3)
        file.write(b"x")
    assert gzip.decompress((root / "file").read_bytes()) == b"\0\0\0x"
    with fs.open(root / "file", "wb", compression="bz2") as file:
        assert not file.seekable()
