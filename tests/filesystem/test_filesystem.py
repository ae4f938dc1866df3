"""The durable file system: every way to write, its options, and what it is to fsspec."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

import fsspec
from fsspec.implementations.local import LocalFileSystem

import durably
import entry_points
from capabilities import needs_linux, needs_posix, needs_root, needs_symlinks
from durably import Durability, filesystem
from durably._system import temp_names
from durably.filesystem import DurableLocalFiles, install, uninstall
from durably.testing import RecordingSyscalls, every_failure, use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DurableFileSystem: Any = filesystem.DurableFileSystem  # fsspec is not typed
OLD, NEW = entry_points.OLD, entry_points.NEW
COMPRESSIONS = ("gzip", "bz2", "xz", "zip", "zstd", "lz4")


@pytest.fixture
def fs() -> Any:
    return DurableFileSystem(durability="none")


@pytest.fixture
def path() -> Iterator[Path]:
    with entry_points.folder() as folder:
        yield folder / "target"


def known(compression: str) -> str:
    if compression not in fsspec.available_compressions():
        pytest.skip(f"fsspec has no {compression} here: its library is not installed")
    return compression


# Files.


@pytest.mark.parametrize(
    ("mode", "old", "written", "content"),
    [
        ("wb", OLD, NEW, NEW),
        ("wb", None, NEW, NEW),
        ("xb", None, NEW, NEW),
        ("ab", OLD, NEW, OLD + NEW),
        ("ab", None, NEW, NEW),
        ("r+b", OLD, b"NEW", b"NEW" + OLD[3:]),
        ("w+b", OLD, NEW, NEW),
        ("a+b", OLD, NEW, OLD + NEW),
    ],
)
def test_a_reader_sees_the_old_file_until_the_handle_is_closed(
    mode: str, old: bytes | None, written: bytes, content: bytes, path: Path, fs: Any
) -> None:
    if old is not None:
        path.write_bytes(old)
    with fs.open(path, mode) as file:
        file.write(written)
        file.flush()
        assert entry_points.read(path) == old
        assert file.name == file.path == path.as_posix()
        assert file.mode == mode
        assert os.fstat(file.fileno()).st_size == len(content) == file.size
        assert file.seekable()
        assert file.writable()
        assert file.readable() == ("+" in mode)
    assert file.closed
    assert entry_points.read(path) == content
    assert file.receipt.size == len(content)
    assert not entry_points.beside(path)


@pytest.mark.parametrize(
    ("mode", "content"), [("w", "new\n"), ("x", "new\n"), ("a", "old\nnew\n"), ("r+", "new\n")]
)
def test_text(mode: str, content: str, path: Path, fs: Any) -> None:
    if mode != "x":
        path.write_text("old\n", encoding="utf-16-le", newline="\n")
    with fs.open(path, mode, encoding="utf-16-le", newline="\n") as file:
        file.write("new\n")
    assert path.read_text("utf-16-le") == content
    assert file.receipt.replaced == (mode != "x")


def test_what_is_written_can_be_read_back_sought_and_cut(path: Path, fs: Any) -> None:
    path.write_bytes(b"old")
    with fs.open(path, "w+b") as file:
        file.write(b"one\ntwo\n")
        assert file.tell() == 8
        assert file.seek(-4, os.SEEK_END) == 4
        assert file.read1(2) == b"tw"
        buffer = bytearray(2)
        assert file.readinto(buffer) == 2
        assert buffer == b"o\n"
        file.seek(0)
        assert file.readline() == b"one\n"
        assert file.readlines() == [b"two\n"]
        assert file.truncate(4) == 4
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
@pytest.mark.parametrize("by_url", [False, True], ids=["fs.open", "fsspec.open"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compression(compression: str, by_url: bool, text: bool, path: Path, fs: Any) -> None:
    def opened(mode: str) -> Any:
        mode += "t" if text else "b"
        if by_url:
            return fsspec.open(f"durable://{path}", mode, compression=known(compression), durability="none")
        return fs.open(path, mode, compression=known(compression))

    content: Any = NEW.decode() if text else NEW
    with opened("w") as file:
        file.write(content)
        assert not path.exists()
    with opened("r") as file:
        assert file.read() == content
    assert path.read_bytes() != NEW
    if not by_url:
        file = opened("w")
        file.write(content[:7])
        file.close()
        assert file.receipt.size == path.stat().st_size
        with opened("r") as read:
            assert read.read() == content[:7]
    assert not entry_points.beside(path)


def test_an_inferred_compression_and_a_header_without_the_temporarys_name(path: Path, fs: Any) -> None:
    packed = path.with_name("table.csv.gz")
    with fs.open(packed, "wb", compression="infer") as file:
        file.write(NEW)
    with fsspec.open(f"durable://{path}.zip", "wb", compression="infer") as file:
        file.write(NEW)
    with fs.open(path, "wb") as handle, gzip.GzipFile(fileobj=handle, mode="w") as packing:
        packing.write(NEW)
    assert gzip.decompress(packed.read_bytes()) == gzip.decompress(path.read_bytes()) == NEW
    assert zipfile.ZipFile(f"{path}.zip").read("file") == NEW
    for each in (packed, path, path.with_name("target.zip")):
        assert b"durably" not in each.read_bytes()
    assert b"table.csv\0" in packed.read_bytes()
    assert handle.closed


def test_a_compressed_file_is_not_updated(path: Path, fs: Any) -> None:
    path.write_bytes(gzip.compress(OLD))
    with pytest.raises(ValueError, match="write a new one"):
        fs.open(path, "r+b", compression="gzip")
    assert gzip.decompress(path.read_bytes()) == OLD


def test_pipe_and_the_other_ways_to_write(path: Path, fs: Any) -> None:
    there = path.with_name("there")
    fs.pipe(str(path), OLD)
    fs.pipe({str(path): NEW, str(there): OLD})
    assert (path.read_bytes(), there.read_bytes()) == (NEW, OLD)
    fs.write_text(path, "text")
    assert fs.read_text(path) == "text"
    fs.write_bytes(path, memoryview(NEW))
    fs.cp_file(path, there)
    assert there.read_bytes() == NEW
    fs.put(str(there), str(path.with_name("put")))
    fs.get(str(there), str(path.with_name("got")))
    fs.copy(str(there), str(path.with_name("copied")))
    assert {each.read_bytes() for each in path.parent.iterdir()} == {NEW}
    sink = io.BytesIO()
    fs.get_file(str(there), sink)
    assert sink.getvalue() == NEW
    assert not any(map(entry_points.is_temporary, entry_points.beside(path)))


def test_pipe_with_arguments_of_open(path: Path, fs: Any) -> None:
    fs.pipe_file(path, NEW, compression="gzip")
    assert gzip.decompress(path.read_bytes()) == NEW


@pytest.mark.parametrize("create", ["pipe_file", "put_file", "open"])
def test_create_only(create: str, path: Path, fs: Any) -> None:
    source = path.with_name("source")
    source.write_bytes(NEW)

    def make() -> None:
        if create == "pipe_file":
            fs.pipe_file(path, NEW, mode="create")
        elif create == "put_file":
            fs.put_file(source, path, mode="create")
        else:
            with fs.open(path, "xb") as file:
                file.write(NEW)

    make()
    assert path.read_bytes() == NEW
    path.write_bytes(OLD)
    with pytest.raises(FileExistsError):
        make()
    assert path.read_bytes() == OLD


def test_touch(path: Path, fs: Any) -> None:
    fs.touch(path)
    assert path.read_bytes() == b""
    path.write_bytes(OLD)
    os.utime(path, (1, 1))
    fs.touch(path, truncate=False)
    assert path.stat().st_mtime > 1
    assert path.read_bytes() == OLD
    fs.touch(path)
    assert path.read_bytes() == b""
    fs.touch(path.with_name("other"), truncate=False)
    assert path.with_name("other").read_bytes() == b""


def test_a_file_is_not_copied_onto_itself(path: Path, fs: Any) -> None:
    path.write_bytes(OLD)
    os.link(path, path.with_name("link"))
    with pytest.raises(OSError, match="same file"):
        fs.cp_file(path, path.with_name("link"))
    with pytest.raises(FileNotFoundError):
        fs.cp_file(path.with_name("missing"), path)
    assert path.read_bytes() == OLD


# autocommit=False.


@pytest.mark.parametrize("wrap", [{}, {"compression": "gzip"}], ids=["plain", "gzip"])
@pytest.mark.parametrize("mode", ["wb", "ab", "xb", "w", "a", "r+b"])
def test_without_autocommit_commit_or_discard_decides(mode: str, wrap: Any, path: Path, fs: Any) -> None:
    if "r" in mode and wrap:
        pytest.skip("compressed files are not updated")
    content: Any = b"new" if "b" in mode else "new"
    for closes in (False, True):
        for commits in (False, True):
            old = entry_points.prepare(path, "new" if "x" in mode else "replaced")
            file = fs.open(path, mode, autocommit=False, **wrap)
            file.write(content)
            if closes:
                file.close()
            assert entry_points.read(path) == old
            if commits:
                receipt = file.commit()
                assert receipt == file.receipt == file.commit()
                assert receipt.size == path.stat().st_size
                assert entry_points.read(path) != old
                file.discard()
                assert entry_points.read(path) != old
            else:
                file.discard()
                file.discard()
                assert entry_points.read(path) == old
                with pytest.raises(ValueError, match="is over"):
                    file.commit()
            assert file.closed
            assert not entry_points.beside(path)
    assert not fs.transaction.files


def test_a_discarded_handle_changes_nothing(path: Path, fs: Any) -> None:
    path.write_bytes(OLD)
    with fs.open(path, "wb") as file:
        file.write(NEW)
        file.discard()
    with fs.open(path, "w", compression="gzip") as file:
        file.write("new")
        file.discard()
    assert path.read_bytes() == OLD
    assert not entry_points.beside(path)


# Directories on the way.


def test_missing_directories_are_made_only_by_auto_mkdir(path: Path, fs: Any) -> None:
    deep = path / "a" / "b" / "file"
    strict: Any = DurableFileSystem(auto_mkdir=False)
    writes: tuple[Callable[[], object], ...] = (
        lambda: strict.pipe(str(deep), NEW),
        lambda: strict.open(deep, "wb"),
    )
    for write in writes:
        with pytest.raises(FileNotFoundError):
            write()
    assert not path.exists()
    fs.pipe(str(deep), NEW)
    fs.pipe(str(path / "c" / "file"), NEW)
    fs.mv(path / "c" / "file", path / "d" / "e" / "file")
    assert deep.read_bytes() == (path / "d" / "e" / "file").read_bytes() == NEW


@needs_linux
def test_the_directories_on_the_way_are_flushed(path: Path) -> None:
    flushed = []

    class Table(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "fsync":
                flushed.append(os.readlink(f"/proc/self/fd/{arguments[0]}"))

    fs: Any = DurableFileSystem()
    with use(Table()):
        fs.pipe(str(path / "a" / "b"), NEW)
        assert {str(path.parent), str(path), str(path / "a")} <= set(flushed)
        flushed.clear()
        fs.makedirs(path / "c" / "d")
        assert {str(path), str(path / "c")} <= set(flushed)
        flushed.clear()
        fs.mv(path / "a" / "b", path / "c" / "b")
        assert flushed[0] == str(path / "a" / "b")
        assert {str(path / "a"), str(path / "c")} <= set(flushed[1:])
        fs.pipe({str(path / "f"): NEW, str(path / "c" / "other"): NEW})
        changes: tuple[Callable[[], object], ...] = (
            lambda: fs.rm(path / "c" / "b"),
            lambda: fs.rm_file(path / "c" / "other"),
            lambda: fs.rmdir(path / "c" / "d"),
            lambda: fs.mkdir(path / "c" / "d", create_parents=False),
            lambda: fs.symlink("nowhere", path / "c" / "link"),
            lambda: fs.link(path / "f", path / "c" / "hard"),
        )
        for change in changes:
            flushed.clear()
            change()
            assert flushed[-1] == str(path / "c")
        flushed.clear()
        fs.rm(path, recursive=True)
        assert flushed[-1] == str(path.parent)


@pytest.mark.parametrize(
    "fs", [DurableFileSystem(durability="none"), DurableFileSystem(durability="consistent")]
)
def test_lower_levels_flush_no_names(path: Path, fs: Any) -> None:
    table = RecordingSyscalls()
    with use(table):
        fs.pipe(str(path / "a" / "b"), NEW)
        fs.makedirs(path / "c")
        fs.mv(path / "a" / "b", path / "c" / "b")
        fs.rm(path, recursive=True)
    assert table.names.count("fsync") == (0 if "none" in fs.storage_options.values() else 2)


@pytest.mark.parametrize(
    "write",
    [
        lambda fs, path: fs.pipe(path, NEW),
        lambda fs, path: fs.open(path, "wb"),
        lambda fs, path: fs.makedirs(path),
        lambda fs, path: fs.makedirs(path, exist_ok=True),
        lambda fs, path: fs.mkdir(path),
        lambda fs, path: fsspec.open(f"durable://{path}", "wb").open(),
    ],
)
def test_a_staging_directory_that_is_gone_is_not_made_again(
    write: Callable[[Any, str], object], path: Path, fs: Any
) -> None:
    with durably.staged_path(path) as temporary:
        inside = str(temporary.parent / "part" / "file")
        temporary.write_bytes(NEW)
    with pytest.raises(FileNotFoundError):
        write(fs, inside)
    assert not entry_points.beside(path)


def test_a_directory_that_is_there(path: Path, fs: Any) -> None:
    fs.makedirs(path)
    fs.makedirs(path, exist_ok=True)
    ways: tuple[Callable[[], object], ...] = (lambda: fs.makedirs(path), lambda: fs.mkdir(path))
    for again in ways:
        with pytest.raises(FileExistsError):
            again()
    file = path / "file"
    fs.touch(file)
    with pytest.raises(FileExistsError):
        fs.makedirs(file, exist_ok=True)
    with pytest.raises(FileNotFoundError):
        fs.mkdir(path / "a" / "b", create_parents=False)
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir(path)


# Moving and removing.


def test_moving(path: Path, fs: Any) -> None:
    other, folder = path.with_name("other"), path.with_name("folder")
    path.write_bytes(NEW)
    other.write_bytes(OLD)
    fs.mv(path, other)
    assert other.read_bytes() == NEW
    folder.mkdir()
    fs.mv(other, folder)
    assert (folder / "other").read_bytes() == NEW
    other.write_bytes(OLD)
    with pytest.raises(FileExistsError):
        fs.mv(other, folder)
    assert other.read_bytes() == OLD
    fs.mv(folder, path)
    assert (path / "other").read_bytes() == NEW
    with pytest.raises(FileNotFoundError):
        fs.mv(folder, path.with_name("new") / "name")
    assert entry_points.beside(path) == {"other"}


@needs_linux
def test_moving_to_another_file_system(path: Path, tmp_path: Path, fs: Any) -> None:
    if path.parent.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("both test directories are on one file system")
    path.write_bytes(NEW)
    path.chmod(0o600)
    fs.mv(path, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == NEW
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o600
    assert not path.exists()
    fs.makedirs(path / "a")
    with pytest.raises(durably.UnsupportedError, match="another file system"):
        fs.mv(path, tmp_path / "tree")
    assert (path / "a").is_dir()
    assert os.listdir(tmp_path) == ["target"]


def test_removing(path: Path, fs: Any) -> None:
    fs.pipe({str(path / "a" / "b"): NEW, str(path / "c"): NEW})
    with pytest.raises(ValueError, match="recursive"):
        fs.rm(str(path))
    with pytest.raises(FileNotFoundError) as raised:
        fs.rm(str(path / "missing"))
    assert os.path.normpath(raised.value.filename) == str(path / "missing")
    with pytest.raises(OSError, match="directory"):
        fs.rm_file(str(path / "a"))
    fs.rm([str(path / "c")])
    assert not (path / "c").exists()
    before = os.getcwd()
    os.chdir(path)
    try:
        with pytest.raises(ValueError, match="working directory"):
            fs.rm(str(path), recursive=True)
    finally:
        os.chdir(before)
    fs.rm(str(path), recursive=True)
    assert not os.listdir(path.parent)


@needs_symlinks
def test_removing_a_link_to_a_directory(path: Path, fs: Any) -> None:
    fs.pipe({str(path / "a" / "b"): NEW, str(path / "c"): NEW})
    os.symlink(path / "a", path / "link")
    fs.rm([str(path / "link"), str(path / "c")])
    assert (path / "a" / "b").exists()
    assert os.listdir(path) == ["a"]


# Temporaries are not shown.


def test_temporaries_are_hidden_by_their_exact_pattern(path: Path, fs: Any) -> None:
    path.mkdir()
    live, stranger = temp_names.fresh("h"), ".durably-notes.tmp"
    for name in (live, stranger, "file", ".hidden"):
        (path / name).touch()
    (path / temp_names.fresh("d")).mkdir()
    shown = {(path / name).as_posix() for name in (stranger, "file", ".hidden")}
    assert set(fs.ls(path)) == {each["name"] for each in fs.ls(path, detail=True)} == shown
    assert set(fs.find(path)) == set(fs.glob(f"{path}/*")) | set(fs.glob(f"{path}/.*")) == shown
    (_, _, files), *below = fs.walk(path)
    assert set(files) == {os.path.basename(each) for each in shown}
    assert not below
    assert fs.exists(path / live)
    assert fs.ls(path / "file") == [(path / "file").as_posix()]


def test_a_save_under_way_is_hidden(path: Path, fs: Any) -> None:
    fs.makedirs(path)
    with fs.open(path / "file", "wb") as file:
        file.write(NEW)
        assert fs.find(path) == []
        with durably.staged_path(path / "other") as temporary:
            temporary.write_bytes(NEW)
            assert fs.ls(path) == []
            assert fs.find(temporary.parent) == [temporary.as_posix()]


# What it is to fsspec.


def test_it_is_found_by_its_protocol(path: Path) -> None:
    fs = fsspec.filesystem("durable")
    assert type(fs) is DurableFileSystem
    assert isinstance(fs, LocalFileSystem)
    assert type(fs).__name__ != "LocalFileSystem"
    assert fs.local_file
    assert fs.auto_mkdir
    name = path.as_posix()  # what fsspec calls it, on Windows too
    assert fsspec.url_to_fs(f"durable://{path}")[1] == name
    assert fs.unstrip_protocol(str(path)) == f"durable://{name}"
    assert {fs._strip_protocol(f"{start}{path}/") for start in ("durable://", "durable:", "")} == {name}


def test_equal_options_are_one_file_system_and_it_survives_json_and_pickle() -> None:
    one: Any = DurableFileSystem(durability="none", metadata="fresh", permissions=0o640)
    assert DurableFileSystem(durability=Durability.NONE, metadata="fresh", permissions=0o640) is one
    assert DurableFileSystem(durability="none") is not one
    assert pickle.loads(pickle.dumps(one)) is one
    assert json.loads(one.to_json())["durability"] == "none"
    assert fsspec.AbstractFileSystem.from_json(one.to_json()) is one
    assert fsspec.AbstractFileSystem.from_dict(one.to_dict()) is one


@pytest.mark.parametrize(
    "options",
    [{"durability": "fast"}, {"metadata": 1}, {"symlinks": ""}, {"permissions": "rw"}, {"permissions": -1}],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        DurableFileSystem(**options)


@needs_posix
def test_the_options_reach_the_save(path: Path) -> None:
    path.write_bytes(OLD)
    path.chmod(0o640)
    link = path.with_name("link")
    link.symlink_to(path)
    fs: Any = DurableFileSystem(permissions=0o604, symlinks="refuse")
    fs.pipe(str(path), NEW)
    assert path.stat().st_mode & 0o777 == 0o604
    with pytest.raises(OSError, match="refuse"):
        fs.open(link, "wb")
    with fs.open(link, "wb", symlinks="replace", durability="none", permissions=0o600) as file:
        pass
    assert not link.is_symlink()
    assert file.receipt.durability == "none"
    fs.pipe_file(path, NEW, permissions=0o611)
    assert path.stat().st_mode & 0o777 == 0o611


def test_a_closed_handle_pickles_and_an_open_one_does_not(path: Path, fs: Any) -> None:
    with fs.open(path, "wb") as file:
        file.write(NEW)
        with pytest.raises(ValueError, match="open for writing"):
            pickle.dumps(file)
    copy = pickle.loads(pickle.dumps(file))
    assert (copy.closed, copy.path, copy.mode, copy.receipt) == (True, path.as_posix(), "wb", file.receipt)
    assert copy.fs is fs
    copy.close()
    copy.discard()
    with pytest.raises(ValueError, match="copy"):
        copy.commit()
    with pytest.raises(ValueError, match="closed"):
        copy.write(b"")
    with fs.open(path) as file:
        file.seek(3)
        assert pickle.loads(pickle.dumps(file)).read() == NEW[3:]


def test_the_handle_refuses_when_closed(path: Path, fs: Any) -> None:
    with fs.open(path, "wb") as file:
        assert "open" in repr(file)
    assert "closed" in repr(file)
    file.close()
    for use_it in (file.tell, file.flush, lambda: file.write(b""), lambda: file.seek(0), file.fileno):
        with pytest.raises(ValueError, match="closed"):
            use_it()


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_it_works_in_processes(method: str, path: Path, fs: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads of the test runner
        with multiprocessing.get_context(method).Pool(1) as pool:
            pool.apply(fs.pipe, (str(path), NEW))
    assert path.read_bytes() == NEW


def test_threads_may_share_it(path: Path, fs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path.mkdir()
    monkeypatch.setenv("DURABLY_WINDOWS_RETRY_SECONDS", "30")  # they stand in each other's way

    def write(number: int) -> None:
        for _ in range(20):
            fs.pipe(str(path / "d" / "same"), NEW)
            with fs.open(path / str(number), "wb") as file:
                file.write(NEW)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    with use(RecordingSyscalls()):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {each.rpartition("/")[2] for each in fs.find(path)} == {"same", "0", "1", "2", "3"}
    assert {each.read_bytes() for each in path.rglob("*") if each.is_file()} == {NEW}


@needs_posix
def test_a_forked_child_does_not_commit_its_parents_file(path: Path, fs: Any) -> None:
    path.write_bytes(OLD)
    file = fs.open(path, "wb")
    file.write(NEW)

    def child() -> str:
        try:
            file.close()
        except RuntimeError as error:
            return str(error)
        return ""

    assert "forked" in entry_points.in_child(child)
    assert path.read_bytes() == OLD
    file.close()
    assert path.read_bytes() == NEW


# Behind file://.


@pytest.fixture
def installed() -> Iterator[None]:
    with install():
        yield
    assert fsspec.get_filesystem_class("file") is LocalFileSystem


def test_install_puts_it_behind_file(installed: None, path: Path) -> None:
    for start in ("", "file://", "local://"):
        fs, _ = fsspec.url_to_fs(f"{start}{path}")
        assert type(fs) is DurableLocalFiles
        assert not fs.auto_mkdir
        with pytest.raises(ZeroDivisionError):
            with fs.open(path, "wb") as file:
                file.write(NEW[: 1 // 0])
        with pytest.raises(FileNotFoundError):
            fs.pipe(str(path / "a" / "b"), NEW)
        assert not path.exists()
    assert pickle.loads(pickle.dumps(fs)) is fs
    assert fsspec.AbstractFileSystem.from_json(fs.to_json()) is fs


def test_uninstall_restores_what_was_there(path: Path) -> None:
    uninstall()
    install()
    install()
    assert fsspec.get_filesystem_class("local") is DurableLocalFiles
    uninstall()
    for protocol in ("file", "local"):
        assert fsspec.get_filesystem_class(protocol) is LocalFileSystem
    with pytest.raises(ZeroDivisionError), install():
        _ = 1 // 0
    assert fsspec.get_filesystem_class("file") is LocalFileSystem


def test_no_entry_point_takes_file_without_asking() -> None:
    script = (
        "import fsspec;"
        "print(type(fsspec.filesystem('file')).__name__, 'durable' in fsspec.available_protocols())"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["LocalFileSystem", "True"]


# Failures.

WRITES: dict[str, Callable[[Any, Path], object]] = {
    "pipe": lambda fs, path: fs.pipe(str(path), NEW),
    "open": lambda fs, path: _write(fs.open(path, "wb"), NEW),
    "open text": lambda fs, path: _write(fs.open(path, "w"), NEW.decode()),
    "open bz2": lambda fs, path: _write(fs.open(path, "wb", compression="bz2"), NEW),
    "fsspec.open": lambda fs, path: _write(fsspec.open(f"durable://{path}", "wb"), NEW),
    "append": lambda fs, path: _write(fs.open(path, "ab"), NEW),
    "copy": lambda fs, path: fs.cp_file(path.with_name("source"), path),
    "commit": lambda fs, path: fs.open(path, "wb", autocommit=False).commit(),
}


def _write(file: Any, content: Any) -> None:
    with file as opened:
        opened.write(content)


@needs_linux
@pytest.mark.parametrize("state", ["new", "replaced"])
@pytest.mark.parametrize("write", WRITES)
def test_whatever_call_fails_the_target_is_whole(write: str, state: str, path: Path) -> None:
    fs: Any = DurableFileSystem()
    new = None
    for table in every_failure():
        old = entry_points.prepare(path, state)
        path.with_name("source").write_bytes(NEW)
        before = entry_points.descriptors()
        error = None
        try:
            WRITES[write](fs, path)
        except OSError as raised:
            error = raised
        content = entry_points.read(path)
        if table.failed is None:
            assert error is None
            new = content
            assert new != old
        assert content in (old, new), table.failed
        assert entry_points.beside(path) - {"source"} <= entry_points.named_leftovers(error, None), (
            table.failed
        )
        assert entry_points.descriptors() == before, table.failed
        if error is not None and not isinstance(error, durably.NotDurableError):
            assert content == old, table.failed


NAMES: dict[str, Callable[[Any, Path], object]] = {
    "makedirs": lambda fs, path: fs.makedirs(path / "a" / "b"),
    "rm": lambda fs, path: fs.rm(path.with_name("source")),
    "mv": lambda fs, path: fs.mv(path.with_name("source"), path),
    "rmdir": lambda fs, path: fs.rmdir(path.with_name("empty")),
    "symlink": lambda fs, path: fs.symlink("x", path),
}


@needs_linux
@pytest.mark.parametrize("change", NAMES)
def test_whatever_call_fails_a_name_is_changed_or_not(change: str, path: Path) -> None:
    fs: Any = DurableFileSystem()

    def listed() -> list[str]:
        return sorted(str(each.relative_to(path.parent)) for each in path.parent.rglob("*"))

    new = None
    for table in every_failure():
        entry_points.prepare(path, "new")
        path.with_name("source").write_bytes(NEW)
        path.with_name("empty").mkdir()
        old, before = listed(), entry_points.descriptors()
        error = None
        try:
            NAMES[change](fs, path)
        except OSError as raised:
            error = raised
            assert str(path.parent) in str(raised.filename), table.failed
        if table.failed is None:
            assert error is None
            new = listed()
        told = (table.failed, error)
        assert entry_points.descriptors() == before, told
        if error is None or isinstance(error, durably.NotDurableError):
            assert listed() == new, told
        elif change != "makedirs":
            assert listed() == old, told


class Interrupting(RecordingSyscalls):
    """A table whose N-th call is interrupted before it is made."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        if len(self.record) == self.at:
            raise KeyboardInterrupt


@needs_linux
@pytest.mark.parametrize("state", ["new", "replaced"])
@pytest.mark.parametrize("write", WRITES)
def test_interrupted_at_each_call(write: str, state: str, path: Path) -> None:
    fs: Any = DurableFileSystem()
    seen = set()
    for number in itertools.count(1):
        old = entry_points.prepare(path, state)
        path.with_name("source").write_bytes(NEW)
        before = entry_points.descriptors()
        table = Interrupting(number)
        try:
            with use(table):
                WRITES[write](fs, path)
        except KeyboardInterrupt:
            pass
        else:
            new = entry_points.read(path)
            break
        seen.add(entry_points.read(path))
        assert entry_points.beside(path) <= {"source"}, table.record[-1]
        opened = entry_points.descriptors() - before
        if table.record[number - 1].name != "close":  # which then has not closed
            assert not opened, table.record[number - 1]
        for fd in opened:
            os.close(fd)
    assert number > 5
    assert seen <= {old, new}


@needs_root
@needs_posix
def test_a_file_that_cannot_be_flushed_is_not_moved(path: Path) -> None:
    path.parent.chmod(0o777)
    path.write_bytes(NEW)
    path.chmod(0o200)
    os.chown(path, 1, 1)

    def move() -> str:
        try:
            DurableFileSystem().mv(path, path.with_name("moved"))
        except PermissionError as error:
            return str(error)
        return ""

    assert "nothing was changed" in entry_points.in_child(move, user=65534)
    assert path.exists()
