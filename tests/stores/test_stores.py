"""Every entry point at every store, with real servers on loopback; and what is refused beforehand."""

from __future__ import annotations

import errno
import gc
import gzip
import importlib
import io
import os
import sys
import types
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_posix
from durably import OutcomeUnknownError, UnsupportedError
from durably._system import fork, temp_names
from entry_points import in_child

fsspec = pytest.importorskip("fsspec")

from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

import durably.stores  # noqa: E402 # needs fsspec
from store_fixtures import NEW, OLD, ONE_BLOCK, Broken, BrokenFiles, Local, Place, _Stop, only  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Server

pytestmark = [
    pytest.mark.timeout(300),
    # Clients leave connections and event loops to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CREATES_ONLY = {"memory", "s3", "azure", "gcs", "sftp", "sshfs", "smb", "webdav"}


# What is saved.


@pytest.mark.parametrize("size", [0, 1, 100, 70_000])
def test_what_is_in_memory_is_saved_to_the_last_byte(store: Place, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    receipt = durably.write_bytes(store.url("target"), data[:size], **store.how())
    assert store.read("target") == data[:size]
    assert (receipt.size, receipt.replaced, receipt.in_place) == (size, None, False)
    assert receipt.path.endswith("target")
    assert store.leftovers() == []


@pytest.mark.parametrize("mode", ["wb", "w", "w+b", "w+"])
def test_a_stream_replaces_the_old_object_when_the_block_ends(store: Place, mode: str) -> None:
    store.put("target", OLD)
    writer = durably.open(store.url("target"), mode, newline=None if "b" in mode else "\n", **store.how())
    with writer as file:
        for at in range(0, len(NEW), 100):
            piece = NEW[at : at + 100]
            file.write(piece if "b" in mode else piece.decode())
        file.flush()
        assert file.tell() == len(NEW) if "+" in mode or "b" in mode else True
        assert store.read("target") == OLD
    assert store.read("target") == NEW
    assert writer.receipt is not None
    assert writer.receipt.size == len(NEW)
    assert writer.commit() is writer.receipt
    writer.discard()
    assert store.leftovers() == []


@pytest.mark.parametrize("state", ["old", "none"])
def test_append_goes_on_from_the_old_object(store: Place, state: str) -> None:
    name = f"append-{state}"
    if state == "old":
        store.put(name, OLD)
    writer = durably.open(store.url(name), "ab", **store.how())
    with writer as file:
        file.write(NEW)
    assert store.read(name) == (OLD if state == "old" else b"") + NEW
    assert writer.receipt is not None
    assert writer.receipt.replaced is (state == "old")


def test_an_update_works_on_a_copy(store: Place) -> None:
    store.put("target", OLD)
    with durably.open(store.url("target"), "r+b", **store.how()) as file:
        assert file.read(4) == OLD[:4]
        file.seek(0)
        file.write(b"NEW\n")
        assert store.read("target") == OLD
    assert store.read("target") == b"NEW\n" + OLD[4:]
    with pytest.raises(FileNotFoundError):
        durably.open(store.url("missing"), "r+b", **store.how())


def test_compression_and_archives_go_over_the_file(store: Place) -> None:
    with durably.open(store.url("target"), "wb", **store.how()) as file, gzip.open(file, "wb") as zipped:
        zipped.write(NEW)
    assert gzip.decompress(store.read("target")) == NEW
    with (
        durably.open(store.url("target"), "wb", **store.how()) as file,
        zipfile.ZipFile(file, "w") as archive,
    ):
        archive.writestr("one", NEW)
        archive.writestr("two", OLD)
    with zipfile.ZipFile(io.BytesIO(store.read("target"))) as archive:
        assert archive.read("two") == OLD


def test_what_others_write_to_a_path_is_saved(store: Place) -> None:
    staged = durably.staged_path(store.url("table.csv"), **store.how())
    with staged as temporary:
        assert temporary.name == "table.csv"
        temporary.write_bytes(NEW)
    assert store.read("table.csv") == NEW
    assert staged.receipt is not None
    assert staged.receipt.size == len(NEW)
    assert not temporary.parent.exists()


# What is not.


def _raise(file: Any) -> None:
    file.write(NEW)
    file.flush()
    raise KeyError


@pytest.mark.parametrize("mode", ["wb", "w+b"])
def test_an_exception_leaves_the_old_object_and_nothing_else(store: Place, mode: str) -> None:
    store.put("target", OLD)
    with pytest.raises(KeyError):
        with durably.open(store.url("target"), mode, **store.how()) as file:
            _raise(file)
    assert store.read("target") == OLD
    assert store.leftovers() == []


def test_a_discard_and_a_writer_that_is_dropped_leave_nothing(store: Place) -> None:
    store.put("target", OLD)
    writer = durably.open(store.url("target"), "wb", **store.how())
    writer.file.write(NEW)
    writer.discard()
    writer.discard()
    with pytest.raises(ValueError, match="is over"):
        writer.commit()
    writer = durably.open(store.url("target"), "wb", **store.how())
    writer.file.write(NEW)
    with pytest.warns(ResourceWarning, match="unfinished save"):
        del writer
        gc.collect()
    assert store.read("target") == OLD
    assert store.leftovers() == []


def test_a_wrapper_that_fails_and_closes_commits_nothing(store: Place) -> None:
    store.put("target", OLD)
    with pytest.raises(KeyError):
        with durably.open(store.url("target"), "w", **store.how()) as file, file:
            file.write("half")
            raise KeyError
    assert store.read("target") == OLD
    assert store.leftovers() == []


def test_a_save_is_its_own_also_in_a_transaction_of_the_file_system(store: Place) -> None:
    from durably._api.dispatch import resolve_target

    target = resolve_target(store.url("target"), store.how())
    assert not isinstance(target, str)
    fs, path = target.fs, target.path
    with pytest.raises(ZeroDivisionError):
        with fs.transaction:
            durably.write_bytes(path, NEW, fs=fs)
            with pytest.raises(KeyError):
                with durably.open(path, "wb", fs=fs) as file:
                    _raise(file)
            assert list(fs.transaction.files) == []
            raise ZeroDivisionError
    assert (store.read("target"), store.leftovers(), list(fs.transaction.files)) == (NEW, [], [])


def test_create_only_is_refused_by_the_store_itself(store: Place) -> None:
    store.put("target", OLD)
    how = store.how()
    if store.name not in CREATES_ONLY:
        with pytest.raises(UnsupportedError, match="overwrite=False"):
            durably.write_bytes(store.url("target"), NEW, overwrite=False, **how)
        return
    for number, data in enumerate((NEW, b"")):
        receipt = durably.write_bytes(store.url(f"new{number}"), data, overwrite=False, **how)
        assert receipt.replaced is False
        assert store.read(f"new{number}") == data
        with pytest.raises(FileExistsError) as caught:
            durably.write_bytes(store.url("target"), data, overwrite=False, **how)
        assert caught.value.errno == errno.EEXIST
    with pytest.raises(FileExistsError):
        with durably.open(store.url("target"), "xb", **how) as file:
            file.write(NEW)
    assert store.read("target") == OLD
    assert store.leftovers() == []


def test_who_comes_second_is_refused_at_the_commit(store: Place) -> None:
    if store.name not in CREATES_ONLY:
        pytest.skip("has no way to create only")
    with pytest.raises(FileExistsError):
        with durably.open(store.url("race"), "xb", **store.how()) as file:
            file.write(NEW)
            store.put("race", OLD)
    assert store.read("race") == OLD
    assert store.leftovers() == []


def test_a_missing_directory_is_made_on_request(store: Place) -> None:
    if store.name in ("memory", "s3", "azure", "gcs"):
        pytest.skip("has no directories")
    if store.name != "webdav":  # webdav4 makes it
        with pytest.raises(OSError):  # noqa: PT011 # FTP's is no FileNotFoundError
            durably.write_bytes(store.url("not/there"), NEW, **store.how())
    durably.write_bytes(store.url("made/below/target"), NEW, make_parents=True, **store.how())
    assert store.read("made/below/target") == NEW


def test_probe_says_what_the_store_promises(store: Place) -> None:
    found = durably.probe(store.url("target"), **store.how())
    assert ("no-replace" in found.supports) is (store.name in CREATES_ONLY)
    assert {found.readers, found.crash, found.durable} <= {"yes", "no", "unknown"}
    receipt = durably.write_bytes(store.url("target"), NEW, **store.how())
    kept = {"s3": "durable", "azure": "durable", "gcs": "durable"}.get(store.name, "none")
    assert receipt.durability == kept
    assert ("durable" in receipt.skipped) is (kept == "none")
    assert (
        durably.write_bytes(store.url("target"), NEW, durability="none", **store.how()).durability == "none"
    )


def test_sweep_finds_what_a_killed_process_left(store: Place) -> None:
    if store.name in ("memory", "azure", "gcs"):
        with pytest.raises(UnsupportedError, match="does not list"):
            durably.sweep(store.url("target"), **store.how())
        return
    if store.name == "s3":
        pytest.skip("its uploads have a test of their own")
    name = temp_names.fresh("f")
    store.put(name, b"left")
    store.put("target", OLD)
    directory = store.url("")
    young = durably.sweep(directory, **store.how())
    assert [one.removed for one in young] == [False]
    would = durably.sweep(directory, older_than=0, dry_run=True, **store.how())
    assert [(os.path.basename(one.path), one.removed) for one in would] == [(name, True)]
    assert store.leftovers()
    assert [one.removed for one in durably.sweep(directory, older_than=0, **store.how())] == [True]
    assert store.leftovers() == []
    assert store.read("target") == OLD


# The arguments.


@pytest.mark.parametrize(
    "options",
    [{"metadata": "strict"}, {"symlinks": "refuse"}, {"symlinks": "replace"}, {"permissions": 0o600}],
)
def test_what_a_store_cannot_do_is_refused_before_anything_is_sent(
    memory: Local, options: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedError, match="not to be had"):
        durably.write_bytes(memory.url("target"), NEW, **options)
    assert memory.read("target") is None


def test_a_store_without_a_routine_is_refused_also_as_a_file_system(tmp_path: Path) -> None:
    from fsspec.implementations.dirfs import DirFileSystem

    class Mine(MemoryFileSystem):  # type: ignore[misc] # not typed
        """Of whose writes nothing is known."""

    for fs in (Mine(), DirFileSystem("/x", MemoryFileSystem())):
        with pytest.raises(UnsupportedError, match="no routine"):
            durably.write_bytes("/x/target", NEW, fs=fs)
    pyarrow = pytest.importorskip("pyarrow.fs")
    from fsspec.implementations.arrow import ArrowFSWrapper

    inner = pyarrow.SubTreeFileSystem(str(tmp_path), pyarrow.LocalFileSystem())
    with pytest.raises(UnsupportedError, match="no rename that replaces"):
        durably.write_bytes("target", NEW, fs=ArrowFSWrapper(inner))
    assert os.listdir(tmp_path) == []


def test_wrong_arguments_name_themselves(memory: Local, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="go with a URL"):
        durably.write_bytes("target", NEW, storage_options={}, fs=MemoryFileSystem())
    with pytest.raises(TypeError, match="fs must be a file system"):
        durably.write_bytes("target", NEW, fs=object())
    with pytest.raises(ValueError, match="go with a URL"):
        durably.write_bytes(tmp_path / "target", NEW, storage_options={"key": "k"})
    with pytest.raises(ValueError, match="go with a URL"):
        durably.open(str(tmp_path / "target"), "wb", storage_options={"key": "k"})
    with pytest.raises(UnsupportedError, match="cannot reach"):
        durably.write_bytes("nothing-of-the-kind://x/y", NEW)
    with pytest.raises(UnsupportedError, match="through other file systems"):
        durably.write_bytes("simplecache::memory://x/y", NEW)
    with pytest.raises(IsADirectoryError):
        MemoryFileSystem().makedirs(f"/{tmp_path.name}/directory", exist_ok=True)
        durably.write_bytes(memory.url("directory"), NEW)
    with pytest.raises(TypeError, match="routine is a subclass"):
        durably.stores.register("a.B", object)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def test_entry_points_for_many_files_say_what_exists_for_stores(tmp_path: Path) -> None:
    for entry_point in ("staged_directory", "Transaction"):
        if hasattr(durably, entry_point):
            with pytest.raises(UnsupportedError, match="Delta Lake"):
                with getattr(durably, entry_point)("memory://bucket/prefix"):
                    pass


def test_an_open_file_and_a_upath_name_their_own_store(memory: Local) -> None:
    opened = fsspec.open(memory.url("target"), "wb")
    durably.write_bytes(opened, NEW)
    assert memory.read("target") == NEW
    with pytest.raises(UnsupportedError, match="with a compression"):
        durably.write_bytes(fsspec.open(memory.url("target.gz"), "wb", compression="gzip"), NEW)
    upath = pytest.importorskip("upath")
    with durably.open(upath.UPath(memory.url("other")), "w") as file:
        file.write("text")
    assert memory.read("other") == b"text"
    assert durably.probe(upath.UPath(memory.url("other"))).file_system == "memory"


@pytest.mark.parametrize("scheme", ["file", "local", "durable"])
def test_local_files_behind_a_url_are_saved_to_as_local_files(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://{tmp_path.as_posix()}/target"
    assert "fsync" in durably.write_bytes(url, NEW).steps
    with durably.open(url, "a") as file:
        file.write("tail")
    assert (tmp_path / "target").read_bytes() == NEW + b"tail"
    with durably.staged_path(url) as temporary:
        temporary.write_bytes(OLD)
    assert (tmp_path / "target").read_bytes() == OLD
    assert durably.probe(url).routine not in ("rename", "put")
    assert durably.sweep(f"{scheme}://{tmp_path.as_posix()}") == []
    assert os.listdir(tmp_path) == ["target"]


# The entry points' edges.


def test_a_staged_path_of_a_store_refuses_what_it_cannot_save(memory: Local) -> None:
    memory.put("target", OLD)
    with pytest.raises(FileNotFoundError, match="nothing was written"):
        with durably.staged_path(memory.url("target")):
            pass
    with pytest.raises(OSError, match="other files"):
        with durably.staged_path(memory.url("target")) as temporary:
            temporary.write_bytes(NEW)
            temporary.with_name("beside").write_bytes(NEW)
    with pytest.raises(KeyError):
        with durably.staged_path(memory.url("target")) as temporary:
            temporary.write_bytes(NEW)
            raise KeyError
    assert not temporary.parent.exists()
    staged = durably.staged_path(memory.url("target"))
    directory = staged.__enter__().parent
    with pytest.warns(ResourceWarning, match="unfinished save"):
        del staged
        gc.collect()
    assert not directory.exists()
    assert memory.read("target") == OLD


@pytest.mark.parametrize("at", ["create", "write", "replace"])
@pytest.mark.parametrize(
    "error", [OSError("no number"), RuntimeError("of a client"), TimeoutError(), _Stop()]
)
@pytest.mark.parametrize("entry_point", ["write_bytes", "open", "spool", "staged"])
def test_a_failure_leaves_the_old_object(
    broken: Local, at: str, error: BaseException, entry_point: str
) -> None:
    Broken.at, Broken.error = at, error
    kind = type(error) if isinstance(error, (OSError, _Stop)) else OSError
    with pytest.raises(kind) as caught:
        _through(entry_point, broken)
    if isinstance(caught.value, OSError):
        assert caught.value.errno is not None
        assert caught.value.filename is not None
        assert not isinstance(caught.value, OutcomeUnknownError)
    Broken.at = ""
    assert broken.read("target") == OLD
    assert broken.leftovers() == []


def _through(entry_point: str, place: Local) -> None:
    url, how = place.url("target"), place.how()
    if entry_point == "write_bytes":
        durably.write_bytes(url, NEW, **how)
    elif entry_point == "staged":
        with durably.staged_path(url, **how) as temporary:
            temporary.write_bytes(NEW)
    else:
        with durably.open(url, "wb" if entry_point == "open" else "w+b", **how) as file:
            file.write(NEW)
            file.flush()


def test_what_cannot_be_removed_or_asked_is_raised() -> None:
    class Refusing:
        def __getattr__(self, name: str) -> Any:
            def refuse(path: str) -> None:
                raise PermissionError(errno.EACCES, "no")

            return refuse

    for ask in (
        durably.stores.Renamed(Refusing(), "/x").remove,
        durably.stores.Renamed(Refusing(), "/x").exists,
    ):
        with pytest.raises(PermissionError):
            ask("/x")


def test_a_lost_answer_is_looked_up(broken: Local) -> None:
    Broken.at = "answer"
    receipt = durably.write_bytes(broken.url("target"), NEW, **broken.how())
    assert broken.read("target") == NEW
    assert "the new object" in receipt.skipped["answer"]


def test_an_interrupt_at_the_commit_leaves_a_whole_object_and_goes_on(broken: Local) -> None:
    Broken.at, Broken.error = "replaced", _Stop()
    with pytest.raises(_Stop):
        durably.write_bytes(broken.url("target"), NEW, **broken.how())
    assert broken.read("target") == NEW
    assert broken.leftovers() == []


def test_what_cannot_be_found_out_is_said_with_what_is_left_over(broken: Local) -> None:
    Broken.at = "forever"
    with pytest.raises(KeyError) as failed:
        with durably.open(broken.url("target"), "wb", **broken.how()) as file:
            _raise(file)
    assert [os.path.basename(path)[:9] for path in failed.value.leftovers] == [".durably-"]  # type: ignore[attr-defined]
    writer = durably.open(broken.url("target"), "wb", **broken.how())
    with pytest.raises(OSError, match="could not be removed"):
        writer.discard()
    assert durably.sweep(f"/{broken.folder.name}", 0, **broken.how())[0].removed is False
    Broken.at = ""
    assert len(durably.sweep(f"/{broken.folder.name}", 0, **broken.how())) == 2
    assert broken.leftovers() == []


def test_an_outcome_that_cannot_be_told_is_called_unknown(
    broken: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(self: Broken, error: Exception) -> bool | None:
        raise RuntimeError("cannot be asked")

    Broken.at = "answer"
    for landed in (ask, lambda self, error: None):
        monkeypatch.setattr(Broken, "landed", landed)
        with pytest.raises(OutcomeUnknownError, match="the whole old or the whole new") as caught:
            durably.write_bytes(broken.url("target"), NEW, **broken.how())
        assert caught.value.path.endswith("target")
    assert broken.leftovers() == []


def test_a_connection_that_broke_does_not_keep_the_temporary(broken: Local) -> None:
    Broken.at = "remove"
    with pytest.raises(KeyError):
        with durably.open(broken.url("target"), "wb", **broken.how()) as file:
            _raise(file)
    assert broken.leftovers() == []


def test_a_write_that_failed_and_was_ignored_is_not_committed(broken: Local) -> None:
    Broken.at = "write"
    with pytest.raises(OSError, match="an earlier write failed"):
        with durably.open(broken.url("target"), "wb", buffering=0, **broken.how()) as file:
            for _ in range(2):
                with pytest.raises(OSError, match=r"broken|earlier"):
                    file.write(NEW)
    assert broken.read("target") == OLD


def test_the_file_of_a_store_is_over_with_the_save(memory: Local) -> None:
    writer = durably.open(memory.url("target"), "wb", buffering=0)
    with writer as file:
        assert (file.writable(), file.seekable(), file.readable()) == (True, False, False)
        assert file.name == memory.url("target")
        file.write(NEW)
    uses: tuple[Callable[[], object], ...] = (file.tell, lambda: file.write(b"more"))
    for use in uses:
        with pytest.raises(ValueError, match="closed file"):
            use()


@needs_posix
def test_a_forked_child_leaves_its_parents_save_alone(store: Place) -> None:
    if store.name in ("azure", "gcs", "s3", "sshfs"):
        pytest.skip("its client's event loop does not survive a fork")
    store.put("target", OLD)
    writer = durably.open(store.url("target"), "wb", **store.how())
    writer.file.write(NEW)

    def child() -> None:
        with pytest.raises(RuntimeError, match="forked child"):
            writer.commit()

    in_child(child)
    assert store.read("target") == OLD
    assert writer.commit().size == len(NEW)
    assert store.read("target") == NEW


@pytest.mark.parametrize("entry_point", ["open", "staged"])
@needs_posix
def test_a_forked_child_cannot_commit_and_leaves_no_mark(memory: Local, entry_point: str) -> None:
    memory.put("target", OLD)
    save: Any = (durably.open if entry_point == "open" else durably.staged_path)(memory.url("target"))
    written = save.__enter__()

    def child() -> None:
        with pytest.raises(KeyError):
            try:
                raise KeyError
            except KeyError as error:
                assert not save.__exit__(KeyError, error, None)
                raise
        if entry_point == "staged":
            with pytest.raises(RuntimeError, match="forked child"):
                save.__exit__(None, None, None)

    in_child(child)
    written.write_text("new") if entry_point == "staged" else written.write("new")
    save.__exit__(None, None, None)
    assert memory.read("target") == b"new"


def test_what_a_child_lets_go_of_is_not_sent(store: Place) -> None:
    from durably._api.dispatch import resolve_target
    from durably._stores.protocol import StoreSave
    from durably._types import Options

    store.put("target", OLD)
    target = resolve_target(store.url("target"), store.how())
    assert not isinstance(target, str)
    save = StoreSave(target, Options())
    save.store.let_go()
    save.begin()
    save.write(memoryview(NEW))
    save.store.let_go()
    file: Any = getattr(save.store, "file", None)
    if hasattr(file, "closed") and store.name in ("s3", "azure", "gcs", "ftp"):
        assert file.closed
        file.close()
    assert store.read("target") == OLD
    save.give_up(KeyError())
    save.give_up(KeyError())
    assert store.leftovers() == []


def test_what_a_forked_child_does(memory: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a child, but here, where it is counted what was run."""
    memory.put("target", OLD)
    writer = durably.open(memory.url("target"), "wb")
    writer.file.write(NEW)
    staged = durably.staged_path(memory.url("target"))
    directory = staged.__enter__().parent
    with monkeypatch.context() as child:
        child.setattr(fork, "generation", fork.generation + 1)
        fork._many[id(writer._save)]()
        with pytest.raises(RuntimeError, match="forked child"):
            writer.commit()
        writer.__exit__(KeyError, KeyError(), None)
        with pytest.raises(RuntimeError, match="forked child"):
            staged.__exit__(None, None, None)
        staged.__exit__(KeyError, KeyError(), None)
        other = durably.open(memory.url("target"), "wb")
    with pytest.raises(RuntimeError, match="forked child"):
        other.commit()
    other = durably.open(memory.url("target"), "wb")
    with monkeypatch.context() as child:
        child.setattr(fork, "generation", fork.generation + 1)
        other.discard()
    assert directory.exists()
    staged.__exit__(KeyError, KeyError(), None)
    assert not directory.exists()
    assert memory.read("target") == OLD


def test_a_store_of_files_says_what_is_wrong(store: Place) -> None:
    from durably._api.dispatch import resolve_target

    target = resolve_target(store.url("target"), store.how())
    assert not isinstance(target, str)
    if not issubclass(target.routine, durably.stores.Renamed):
        pytest.skip("has no files")
    save = target.routine(target.fs, target.path)
    save.remove(f"{target.path}-missing")
    if not save.creates_only:
        with pytest.raises(NotImplementedError):
            save.rename("a", "b")
        return
    save.begin()
    save.file.close()
    with pytest.raises(Exception):  # noqa: B017, PT011 # in the words of the client
        save.rename(save.temporary, f"{target.path}-no/such/directory")
    save.discard()
    assert store.leftovers() == []


def test_sshfs_says_what_the_server_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    asyncssh = pytest.importorskip("asyncssh")
    for server in only("sshfs"):
        from durably._api.dispatch import resolve_target
        from durably._stores import sshfs

        def refuse(self: object) -> None:
            raise asyncssh.SFTPOpUnsupported("no fsync")

        how: Any = server.how()
        target = resolve_target(server.url("target"), how)
        assert not isinstance(target, str)
        save = target.routine(target.fs, target.path)
        assert isinstance(save, sshfs.Sshfs)

        async def deny(channel: object) -> None:
            raise asyncssh.SFTPPermissionDenied("no")

        with pytest.raises(PermissionError):
            save._ask(deny)
        save.begin()
        monkeypatch.setattr(type(save.file), "fsync", refuse)
        save.commit()
        assert "fsync@openssh.com" in save.skipped["fsync"]
        assert server.read("target") == b""


def test_azure_tells_who_has_made_a_blob() -> None:
    for server in only("azure"):
        from durably._api.dispatch import resolve_target

        how: Any = server.how()
        target = resolve_target(server.url("not-there"), how)
        assert not isinstance(target, str)
        save = target.routine(target.fs, target.path, fresh=True)
        save.begin()
        refused = OSError("refused")
        refused.__cause__ = type("Refused", (Exception,), {"status_code": 403})()
        assert save.landed(OSError("lost")) is None
        assert save.landed(refused) is False
        assert save.landed(FileExistsError("there")) is False
        save.discard()


def test_a_zonal_bucket_is_refused() -> None:
    from durably._stores.object_store import GCS

    file = types.SimpleNamespace(closed=False)
    fs: Any = types.SimpleNamespace(open=lambda *_, **__: file)
    with pytest.raises(UnsupportedError, match="zonal bucket"):
        GCS(fs, "bucket/key").begin()
    assert file.closed


def test_without_fsspec_a_store_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import durably._stores.target as before

    monkeypatch.delitem(sys.modules, before.__name__)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UnsupportedError, match="fsspec, which is not installed"):
        importlib.import_module(before.__name__)


class Unreachable(MemoryFileSystem):  # type: ignore[misc] # not typed
    """A file system that cannot be made."""

    protocol = "unreachable"
    error: Exception = RuntimeError("no route")

    def __init__(self, **options: Any) -> None:
        raise self.error


def test_a_store_that_cannot_be_connected_to_gives_an_os_error(
    monkeypatch: pytest.MonkeyPatch, broken: Local
) -> None:
    fsspec.register_implementation("unreachable", Unreachable, clobber=True)
    durably.stores.register(Unreachable, Broken)
    with pytest.raises(OSError, match="no route") as caught:
        durably.write_bytes("unreachable://x/y", NEW)
    assert caught.value.filename == "unreachable://x/y"
    monkeypatch.setattr(Unreachable, "error", TypeError("an option that it does not know"))
    with pytest.raises(TypeError, match="does not know"):
        durably.write_bytes("unreachable://x/y", NEW, storage_options={"nonsense": 1})


def test_sweep_tells_what_it_cannot_know(broken: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [temp_names.fresh("f") for _ in range(2)]
    for name in names:
        broken.put(name, b"left")
    there = BrokenFiles().ls(f"/{broken.folder.name}", detail=True)

    def entries(self: object, path: str, **_: object) -> list[dict[str, Any]]:
        return [{**entry, "created": None} for entry in there]

    def gone(self: object, path: str) -> None:
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(BrokenFiles, "ls", entries)
        found = durably.sweep(f"/{broken.folder.name}", 0, **broken.how())
        assert {one.reason for one in found} == {"the store does not tell its age"}
    with monkeypatch.context() as patch:
        patch.setattr(Broken, "remove", gone)
        found = durably.sweep(f"/{broken.folder.name}", 0, **broken.how())
        assert {one.reason for one in found} == {"gone by itself"}
    assert len(durably.sweep(f"/{broken.folder.name}", 0, **broken.how())) == 2
    assert broken.leftovers() == []


class Consistent(Broken):
    """Keeps an object, but not for sure the new one."""

    promises = durably.stores.promises(("yes", ""), ("yes", ""), ("unknown", "it may forget"))


def test_a_receipt_claims_no_more_than_the_store_promises(broken: Local) -> None:
    durably.stores.register(BrokenFiles, Consistent)
    assert durably.probe(broken.url("target"), **broken.how()).durable == "unknown"
    receipt = durably.write_bytes(broken.url("target"), NEW, **broken.how())
    assert (receipt.durability, receipt.skipped["durable"]) == ("consistent", "it may forget")


class Stuck(Broken):
    """Cannot even be given up, and has nothing to name."""

    def discard(self) -> None:
        self.left = ()
        raise RuntimeError("stuck")


def test_a_failure_to_give_up_is_a_note(broken: Local) -> None:
    durably.stores.register(BrokenFiles, Stuck)
    Broken.at = "replace"
    with pytest.raises(OSError, match="broken") as caught:
        durably.write_bytes(broken.url("target"), NEW, **broken.how())
    assert any("stuck" in note for note in caught.value.__notes__)


# Stores of one's own.


class OneStep(durably.stores.Put):
    """A store whose put_file is atomic, for the test's purposes."""

    creates_only = True


class OneStepFiles(MemoryFileSystem):  # type: ignore[misc] # not typed
    """A file system for it."""

    def put_file(self, lpath: str, rpath: str, mode: str = "overwrite", **_: Any) -> None:
        with open(lpath, "rb") as file:
            self.pipe_file(rpath, file.read(), mode=mode)


def test_a_store_of_ones_own_with_an_atomic_put(
    memory: Local, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from durably._stores import table

    monkeypatch.setattr(table, "_TABLE", dict(table._TABLE))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    durably.stores.register(f"{OneStepFiles.__module__}.{OneStepFiles.__qualname__}", OneStep)
    fs = OneStepFiles()
    path = f"/{tmp_path.name}/target"
    OneStep(fs, path).discard()
    assert durably.write_bytes(path, NEW, fs=fs).steps == ("write", "put")
    assert memory.read("target") == NEW
    with pytest.raises(FileExistsError):
        durably.write_bytes(path, OLD, fs=fs, overwrite=False)
    with pytest.raises(OutcomeUnknownError):  # its routine cannot tell who came first
        with durably.open(f"{path}2", "xb", fs=fs) as file:
            file.write(OLD)
            memory.put("target2", NEW)
    with pytest.raises(KeyError):
        with durably.open(path, "wb", fs=fs) as file:
            _raise(file)
    assert memory.read("target") == NEW
    assert os.listdir(tmp_path) == []
    assert durably.probe(path, fs=fs).readers == "unknown"


# S3: its requests, its parts, its leftovers.


def asked(s3: Server, save: Callable[[], object]) -> list[str]:
    s3.requests.clear()
    save()
    return list(s3.requests)


@pytest.mark.parametrize("size", [0, 100, ONE_BLOCK - 1, ONE_BLOCK, ONE_BLOCK + 1, 12 << 20])
def test_s3_is_asked_as_often_as_by_the_bare_write(s3: Server, s3fs: Any, size: int) -> None:
    data = os.urandom(size)

    def fill(file: Any) -> None:
        for at in range(0, size, 1 << 20):
            file.write(data[at : at + (1 << 20)])

    def bare() -> None:
        with s3fs.open(f"{s3.bucket}/bare", "wb") as file:
            fill(file)

    def ours() -> None:
        with durably.open(f"{s3.bucket}/ours", "wb", fs=s3fs) as file:
            fill(file)

    expected = asked(s3, bare)
    assert asked(s3, ours) == expected
    assert s3.read("ours") == data
    print(f"\n{size} bytes: {' '.join(expected)}")


@pytest.mark.parametrize("size", [0, 100, ONE_BLOCK, 12 << 20])
def test_s3_abandons_an_upload_without_a_trace(s3: Server, s3fs: Any, size: int) -> None:
    s3.put("target", OLD)
    with pytest.raises(KeyError):
        with durably.open(f"{s3.bucket}/target", "wb", fs=s3fs) as file:
            file.write(bytes(size))
            raise KeyError
    gc.collect()
    assert (s3.read("target"), s3.leftovers(), list(s3fs.transaction.files)) == (OLD, [], [])


@pytest.mark.parametrize("size", [100, 12 << 20])
@pytest.mark.parametrize("overwrite", [True, False])
def test_s3_that_fails_the_last_step_keeps_the_old_object(
    s3: Server, s3fs: Any, size: int, overwrite: bool
) -> None:
    name = f"failing-{size}-{overwrite}"
    s3.fail("PUT" if size == 100 else "POST uploadId", 100)
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011 # in the words of the client
            with durably.open(f"{s3.bucket}/{name}", "wb", fs=s3fs, overwrite=overwrite) as file:
                for _ in range(0, size, 1 << 20):
                    file.write(bytes(min(size, 1 << 20)))
    finally:
        s3.fail("", 0)
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert (s3.read(name), s3.leftovers()) == (None, [])


def test_s3_refuses_many_parts_where_there_is_an_object(s3: Server, s3fs: Any) -> None:
    s3.put("target", OLD)
    with pytest.raises(FileExistsError):
        with durably.open(f"{s3.bucket}/target", "xb", fs=s3fs) as file:
            for _ in range(12):
                file.write(bytes(1 << 20))
    assert (s3.read("target"), s3.leftovers()) == (OLD, [])


def test_s3_has_its_forgotten_uploads_swept(s3: Server, s3fs: Any) -> None:
    for number in range(3):
        s3fs.call_s3("create_multipart_upload", Bucket=s3.bucket, Key=f"swept/{number}")
    s3fs.call_s3("create_multipart_upload", Bucket=s3.bucket, Key="kept")
    # The server says of every upload that it began in 2010.
    assert [one.removed for one in durably.sweep(f"{s3.bucket}/swept/", 1e10, fs=s3fs)] == [False] * 3
    found = durably.sweep(f"{s3.bucket}/swept/", older_than=0, dry_run=True, fs=s3fs)
    assert [one.removed for one in found] == [True] * 3
    assert len(s3.leftovers()) == 4
    assert all(one.path.startswith(f"s3://{s3.bucket}/swept/") for one in found)
    assert len(durably.sweep(f"{s3.bucket}/swept/", older_than=0, fs=s3fs)) == 3
    assert len(s3.leftovers()) == 1
    assert len(durably.sweep(s3.bucket, older_than=0, fs=s3fs)) == 1
    assert s3.leftovers() == []


def test_s3_has_many_pages_of_uploads_swept(s3: Server, s3fs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        s3fs.call_s3("create_multipart_upload", Bucket=s3.bucket, Key=f"paged/{number}")
    plain, asked_for = s3fs.call_s3, []

    def paged(name: str, *given: Any, **how: Any) -> Any:
        answer = plain(name, *given, **how)
        if name != "list_multipart_uploads":
            return answer
        asked_for.append(how.get("KeyMarker"))
        if how.get("KeyMarker"):
            return {**answer, "Uploads": answer["Uploads"][-1:]}
        more = {"IsTruncated": True, "NextKeyMarker": "paged/0", "NextUploadIdMarker": "x"}
        return {**answer, **more, "Uploads": answer["Uploads"][:1]}

    monkeypatch.setattr(s3fs, "call_s3", paged)
    assert len(durably.sweep(f"{s3.bucket}/paged/", older_than=0, fs=s3fs)) == 2
    assert (asked_for, s3.leftovers()) == ([None, "paged/0"], [])


def test_s3_says_unknown_where_another_has_ended_the_upload(s3: Server, s3fs: Any) -> None:
    s3.put("target", OLD)
    with pytest.raises(OutcomeUnknownError):
        with durably.open(f"{s3.bucket}/target", "wb", fs=s3fs) as file:
            for _ in range(12):
                file.write(bytes(1 << 20))
            durably.sweep(f"{s3.bucket}/target", older_than=0, fs=s3fs)
    assert (s3.read("target"), s3.leftovers()) == (OLD, [])


def test_s3_without_credentials_sends_nothing(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    options = {name: value for name, value in s3.options.items() if name not in ("key", "secret")}
    with pytest.raises(OSError, match="NoCredentials") as caught:
        durably.write_bytes(s3.url("target"), NEW, storage_options=options)
    assert not isinstance(caught.value, OutcomeUnknownError)


def test_s3_without_a_bucket_says_so(s3: Server, s3fs: Any) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        durably.write_bytes("no-such-bucket/key", NEW, fs=s3fs)
    assert caught.value.errno == errno.ENOENT


# SFTP: links and modes.


@pytest.mark.parametrize("name", ["sftp", "sshfs"])
def test_sftp_follows_links_and_keeps_the_mode(name: str) -> None:
    for server in only(name):
        folder = Path(server.base[server.base.index("/tmp") :] if "/tmp" in server.base else server.base)
        (folder / "real").write_bytes(OLD)
        (folder / "real").chmod(0o600)
        (folder / "link").symlink_to("real")
        durably.write_bytes(server.url("link"), NEW, **server.how())
        assert (folder / "link").is_symlink()
        assert (folder / "real").read_bytes() == NEW
        assert (folder / "real").stat().st_mode & 0o777 == 0o600
        assert server.leftovers() == []
