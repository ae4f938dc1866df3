"""Saves to stores at the edges: directories, slashes, names, local copies that fail, and wrong arguments."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

import durably
from durably import UnsupportedError

fsspec = pytest.importorskip("fsspec")

from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

import durably.stores  # noqa: E402 # needs fsspec
from durably._stores import table  # noqa: E402
from durably._stores import writer as _writer  # noqa: E402
from store_fixtures import NEW, OLD, Broken, Local, only  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers import Server

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


needs_full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")


def directories(place: Path) -> list[str]:
    return sorted(entry.name for entry in place.iterdir())


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where local copies are made."""
    place = tmp_path / "copies"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


# Local copies.


def test_a_staged_path_whose_directory_is_gone_hides_no_error(memory: Local, copies: Path) -> None:
    url = memory.url("o")
    memory.put("o", OLD)
    with pytest.raises(ZeroDivisionError), durably.staged_path(url) as path:
        shutil.rmtree(path.parent)
        raise ZeroDivisionError
    with (
        pytest.raises(FileNotFoundError, match="nothing was written") as caught,
        durably.staged_path(url) as path,
    ):
        shutil.rmtree(path.parent)
    assert caught.value.filename == url
    assert memory.read("o") == OLD
    assert directories(copies) == []


def test_a_staged_copy_that_cannot_be_removed_is_named(
    memory: Local, copies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    url = memory.url("o")
    memory.put("o", OLD)
    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(ZeroDivisionError) as caught, durably.staged_path(url) as path:
        raise ZeroDivisionError
    left = str(path.parent)
    assert caught.value.leftovers == (left,)  # type: ignore[attr-defined]
    assert left in "".join(caught.value.__notes__)
    with (
        pytest.raises(FileNotFoundError, match="nothing was written") as missing,
        durably.staged_path(url) as path,
    ):
        pass
    assert missing.value.leftovers == (str(path.parent),)  # type: ignore[attr-defined]
    assert memory.read("o") == OLD

    saving = durably.staged_path(url)
    with saving as path:
        path.write_bytes(NEW)
    assert memory.read("o") == NEW  # and that is no failure
    assert saving.receipt is not None
    assert saving.receipt.skipped["remove"].startswith(f"{path.parent} is left over")

    saving = durably.staged_path(url)
    path = saving.__enter__()
    with pytest.warns(ResourceWarning, match=f"unfinished save .*{path.parent.name}"):
        del saving


@pytest.mark.parametrize("name", [".", ".."])
def test_an_object_whose_name_means_a_directory_is_staged_in_a_file(
    memory: Local, copies: Path, name: str
) -> None:
    with durably.staged_path(memory.url(name)) as path:
        path.write_bytes(NEW)
        assert path.resolve().parent.parent == copies.resolve()
    assert memory.read(name) == NEW


def test_a_local_copy_is_where_it_was_made(
    memory: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "copies").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", "copies")
    with durably.staged_path(memory.url("staged")) as path, durably.Batch() as batch:
        batch.write_bytes(memory.url("batched"), NEW)
        monkeypatch.chdir("elsewhere")
        path.write_bytes(NEW)
    assert memory.read("staged") == memory.read("batched") == NEW
    assert directories(tmp_path / "copies") == []


class Sent(durably.stores.Put):
    name = "sent"
    creates_only = True


class SentFiles(MemoryFileSystem):  # type: ignore[misc] # not typed
    protocol = "sent"
    store: dict[str, Any] = {}  # noqa: RUF012 # as the class it comes from

    def put_file(self, lpath: str, rpath: str, mode: str = "overwrite", **_: Any) -> None:
        with open(lpath, "rb") as file:
            self.pipe_file(rpath, file.read(), mode=mode)


@pytest.fixture
def sent(copies: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(table, "_TABLE", dict(table._TABLE))
    durably.stores.register(SentFiles, Sent)
    fs = SentFiles(skip_instance_cache=True)
    fs.store.clear()
    yield fs
    assert directories(copies) == []


def test_an_atomic_put_refuses_to_replace(sent: Any) -> None:
    durably.write_bytes("o", OLD, fs=sent)
    with pytest.raises(FileExistsError) as caught:
        durably.write_bytes("o", NEW, fs=sent, overwrite=False)
    assert (caught.value.errno, caught.value.filename) == (errno.EEXIST, "sent:///o")
    assert sent.cat("o") == OLD


@needs_full_device
def test_a_spool_that_does_not_fit_on_the_disk_is_not_an_unknown_outcome(
    sent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    durably.write_bytes("o", OLD, fs=sent)
    begin = Sent.begin

    def full(self: Sent) -> None:
        begin(self)
        with open("/dev/full", "wb") as device:
            os.dup2(device.fileno(), self.spool.fileno())

    with monkeypatch.context() as patch:
        patch.setattr(Sent, "begin", full)
        with pytest.raises(OSError, match="No space left") as caught:
            durably.write_bytes("o", b"short", fs=sent)  # buffered until the commit
    assert type(caught.value) is OSError
    assert caught.value.errno == errno.ENOSPC
    assert sent.cat("o") == OLD


def test_a_spool_that_cannot_be_removed_is_told_in_the_receipt(
    sent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink
    spools: list[str] = []

    def refuse(path: str) -> None:
        spools.append(path)
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        receipt = durably.write_bytes("o", NEW, fs=sent)
    assert sent.cat("o") == NEW
    assert receipt.skipped["remove"].startswith(f"{spools[0]} is left over")
    unlink(spools[0])


# Arguments.


untyped: Any = durably


class Reached(MemoryFileSystem):  # type: ignore[misc] # not typed
    """A store that may not be connected to."""

    protocol = "reached"

    def __init__(self, **options: Any) -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "was asked")


@pytest.mark.parametrize(
    "save",
    [
        lambda url: untyped.write_bytes(url, NEW, durability="much"),
        lambda url: untyped.open(url, "w", overwrite=1),
        lambda url: untyped.open(url, "rw"),
        lambda url: untyped.open(url, "wb", errors="strict"),
        lambda url: untyped.open(url, "a", overwrite=False),
        lambda url: untyped.staged_path(url, permissions="all"),
        lambda url: untyped.write_text(url, "text", nonsense=True),
    ],
)
def test_arguments_are_checked_before_a_store_is_connected_to(
    monkeypatch: pytest.MonkeyPatch, save: Callable[[str], object]
) -> None:
    fsspec.register_implementation("reached", Reached, clobber=True)
    monkeypatch.setitem(table._TABLE, table.key(Reached), Broken)
    with pytest.raises(ConnectionRefusedError):
        durably.write_bytes("reached://o", NEW)
    with pytest.raises((TypeError, ValueError)):
        save("reached://o")


def test_a_path_of_a_file_system_may_be_bytes(memory: Local, tmp_path: Path) -> None:
    durably.write_bytes(f"/{memory.folder.name}/o".encode(), NEW, fs=MemoryFileSystem())
    assert memory.read("o") == NEW
    durably.write_bytes(os.fsencode(tmp_path / "o"), NEW, fs=fsspec.filesystem("file"))
    assert (tmp_path / "o").read_bytes() == NEW


def test_a_file_system_of_coroutines_is_refused() -> None:
    fs = MemoryFileSystem(skip_instance_cache=True)
    fs.asynchronous = True
    with pytest.raises(UnsupportedError, match="asynchronous"):
        durably.write_bytes("/o", NEW, fs=fs)


class Silent(durably.stores.Store):
    """A whole routine that can tell nothing."""

    name = "silent"

    def begin(self) -> None: ...

    def write(self, data: memoryview) -> None: ...

    def commit(self) -> None:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    def discard(self) -> None: ...


def test_a_routine_that_cannot_tell_leaves_the_outcome_unknown(sent: Any) -> None:
    durably.stores.register(SentFiles, Silent)
    with pytest.raises(durably.OutcomeUnknownError):
        durably.write_bytes("/o", NEW, fs=sent)


class Nameless(durably.stores.Store):
    def begin(self) -> None: ...

    def write(self, data: memoryview) -> None: ...

    def commit(self) -> None: ...

    def discard(self) -> None: ...


@pytest.mark.parametrize(
    ("file_system", "routine"),
    [
        (SentFiles, object),
        (SentFiles, durably.stores.Store),
        (SentFiles, durably.stores.promises),
        (SentFiles, Nameless),
        (3, Sent),
        (MemoryFileSystem(), Sent),
        (None, Sent),
    ],
)
def test_what_cannot_be_registered_is_refused_at_once(file_system: Any, routine: Any) -> None:
    with pytest.raises(TypeError):
        durably.stores.register(file_system, routine)


# Errors.


def test_an_error_names_what_the_caller_named(broken: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Broken, path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(Broken, "create", refuse)
    with pytest.raises(PermissionError) as caught:
        durably.write_bytes(broken.url("o"), NEW, **broken.how())
    assert caught.value.filename == durably.probe(broken.url("o"), **broken.how()).path


def test_a_tree_behind_the_url_of_local_files_is_asked_for_by_its_path(tmp_path: Path) -> None:
    for url in (f"file://{tmp_path}/tree", f"durable://{tmp_path}/tree"):
        with pytest.raises(UnsupportedError, match="by its path") as caught, durably.staged_directory(url):
            pass
        assert "Iceberg" not in str(caught.value)
        with pytest.raises(UnsupportedError, match="by its path"):
            durably.recover(url)
    assert directories(tmp_path) == []


# S3.


def _begun(s3: Server, s3fs: Any, *keys: str) -> None:
    for key in keys:
        s3fs.call_s3("create_multipart_upload", Bucket=s3.bucket, Key=key)


def _swept(where: str, **how: Any) -> list[str]:
    found = durably.sweep(where, older_than=0, **how)
    return sorted(one.path.split("/", 3)[3].partition("?")[0] for one in found)


def test_s3_is_swept_under_the_slash_that_was_given(s3: Server, s3fs: Any) -> None:
    _begun(s3, s3fs, "pre/a", "pre", "prefix", "other/pre/a")
    assert _swept(f"s3://{s3.bucket}/pre/", dry_run=True, **s3.how()) == ["pre/a"]
    assert _swept(f"{s3.bucket}/pre/", dry_run=True, fs=s3fs) == ["pre/a"]
    assert _swept(f"s3://{s3.bucket}/pre", dry_run=True, **s3.how()) == ["pre", "pre/a", "prefix"]
    assert _swept(f"s3://{s3.bucket}/", **s3.how()) == ["other/pre/a", "pre", "pre/a", "prefix"]
    assert s3.leftovers() == []


def test_s3_that_cannot_be_swept_says_so(s3: Server) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        durably.sweep("s3://no-such-bucket/", **s3.how())
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "s3://no-such-bucket/")
    with pytest.raises(OSError, match="ParamValidationError") as nowhere:
        durably.sweep("s3://", **s3.how())
    assert nowhere.value.filename == "s3://"


LEFT_OPEN = """
import sys, durably
file = None
def f():
    global file
    writer = durably.open({url!r}, "wb", storage_options={options!r})
    writer.file.write(b"x" * (60 << 20))
    file = writer, durably.open({url!r}, "ab", storage_options={options!r})
f()
{end}
"""


@pytest.mark.parametrize(("end", "code"), [("", 0), ("sys.exit(3)", 3), ("1 / 0", 1)])
def test_what_is_open_when_the_interpreter_ends_is_discarded(s3: Server, end: str, code: int) -> None:
    s3.put("open", OLD)
    program = LEFT_OPEN.format(url=s3.url("open"), options=s3.options, end=end)
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", program]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert done.stderr.count(f"unfinished save of {s3.url('open')!r} was discarded") == 2
    assert s3.read("open") == OLD
    assert s3.leftovers() == []


def test_only_what_is_open_is_discarded_at_the_end(memory: Local) -> None:
    memory.put("o", OLD)
    writer = durably.open(memory.url("o"), "wb")
    durably.open(memory.url("decided"), "wb").commit()
    with pytest.warns(ResourceWarning, match="unfinished save") as warned:
        _writer._discard_all()
    _writer._discard_all()
    assert len(warned) == 1
    assert writer.file.closed
    assert memory.read("o") == OLD


def test_s3_is_not_sent_a_name_that_is_not_text(s3: Server) -> None:
    with pytest.raises(OSError, match="UnicodeEncodeError") as caught:
        durably.write_bytes(s3.url("a\udcff"), NEW, **s3.how())
    assert not isinstance(caught.value, durably.OutcomeUnknownError)


# WebDAV.


@pytest.fixture(scope="module")
def webdav() -> Iterator[Server]:
    yield from only("webdav")
    gc.collect()  # the client's connections, while their warnings are ignored


@pytest.mark.parametrize("slash", ["", "/"])
def test_webdav_moves_no_file_over_a_directory(webdav: Server, slash: str) -> None:
    durably.write_bytes(webdav.url("d/e/kept"), OLD, make_parents=True, **webdav.how())
    for name in ("d", "d/e"):
        with pytest.raises(IsADirectoryError) as caught:
            durably.write_bytes(webdav.url(name) + slash, NEW, **webdav.how())
        assert caught.value.filename == webdav.url(name) + slash
    assert webdav.read("d/e/kept") == OLD
    assert webdav.leftovers() == []


def test_webdav_moves_no_file_over_a_directory_that_others_make(webdav: Server) -> None:
    with pytest.raises(IsADirectoryError), durably.open(webdav.url("late"), "wb", **webdav.how()) as file:
        file.write(NEW)
        durably.write_bytes(webdav.url("late/kept"), OLD, make_parents=True, **webdav.how())
    assert webdav.read("late/kept") == OLD
    assert webdav.leftovers() == []
