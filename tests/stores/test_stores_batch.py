"""Objects of stores in a batch: sent together, each whole or not at all, beside local files."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import durably
from durably import Batch, BatchError, OutcomeUnknownError, UnsupportedError
from durably._api.dispatch import resolve_target
from durably._system import fork
from durably._types import Options
from store_fixtures import NEW, OLD, STOP, Broken, BrokenFiles, Local, Place, only

fsspec = pytest.importorskip("fsspec")

from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

import durably.stores  # noqa: E402 # needs fsspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


pytestmark = [
    pytest.mark.timeout(300),
    # Clients leave connections and event loops to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MANY = 20


@pytest.fixture
def copies(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the local copies are kept."""
    place = tmp_path_factory.mktemp("copies")
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


@pytest.fixture
def memory(tmp_path: Path, copies: Path) -> Iterator[Local]:
    yield Local("memory", tmp_path)
    gc.collect()
    assert os.listdir(copies) == []


class Counted(Broken):
    """Tells how many of its saves were on their way at a time, and fails those that it is told to."""

    now = most = 0
    fails: tuple[str, ...] = ()
    lock = threading.Lock()

    def create(self, path: str) -> Any:
        with Counted.lock:
            Counted.now += 1
            Counted.most = max(Counted.now, Counted.most)
        time.sleep(0.01)
        return super().create(path)

    def replace(self, old: str, new: str) -> None:
        with Counted.lock:
            Counted.now -= 1
        if new.endswith(Counted.fails):
            raise OSError(errno.EIO, "broken")
        super().replace(old, new)


class Parallel(Counted):
    is_concurrent = True


@pytest.fixture
def counted(memory: Local, monkeypatch: pytest.MonkeyPatch) -> Local:
    from durably._stores import table

    monkeypatch.setattr(table, "_TABLE", dict(table._TABLE))
    durably.stores.register(BrokenFiles, Counted)
    monkeypatch.setattr(Broken, "at", "")
    monkeypatch.setattr(Broken, "error", OSError(errno.EIO, "broken"))
    for name, value in {"now": 0, "most": 0, "fails": ("nothing",)}.items():
        monkeypatch.setattr(Counted, name, value)
    fs = BrokenFiles()
    memory.url = memory._key  # type: ignore[method-assign]
    memory.how = lambda: {"fs": fs}  # type: ignore[method-assign]
    return memory


def names(place: Local) -> list[str]:
    return sorted(
        name.rpartition("/")[2] for name in MemoryFileSystem.store if name.startswith(place._key(""))
    )


def test_many_objects_and_local_files_are_saved_together(store: Place, tmp_path: Path, copies: Path) -> None:
    store.put("batch-0", OLD)
    with Batch() as batch:
        for number in range(MANY):
            batch.write_bytes(store.url(f"batch-{number}"), NEW + bytes([number]), **store.how())
        batch.write_text(store.url("batch-text"), "line\n", newline="\r\n", **store.how())
        batch.write_bytes(tmp_path / "local", NEW)
        with batch.open(store.url("batch-open"), "w", newline="\n", **store.how()) as file:
            file.write("written")

        assert store.read("batch-0") == OLD
        assert not (tmp_path / "local").exists()
    assert [store.read(f"batch-{number}") for number in range(MANY)] == [
        NEW + bytes([number]) for number in range(MANY)
    ]
    assert (store.read("batch-text"), store.read("batch-open")) == (b"line\r\n", b"written")
    assert (tmp_path / "local").read_bytes() == NEW
    assert batch.receipt is not None
    assert len(batch.receipt.saved) == len(list(batch.receipt.saved)) == MANY + 3
    assert (batch.receipt.failed, batch.receipt.unsaved) == ({}, ())
    assert store.leftovers() == []
    assert os.listdir(copies) == []


def test_an_exception_in_the_block_sends_nothing(memory: Local, tmp_path: Path) -> None:
    memory.put("a", OLD)
    batch = Batch()
    with pytest.raises(KeyError):
        with batch:
            batch.write_bytes(memory.url("a"), NEW)
            batch.write_bytes(tmp_path / "local", NEW)
            raise KeyError
    assert (memory.read("a"), os.listdir(tmp_path)) == (OLD, [])
    assert batch.receipt is not None
    assert set(batch.receipt.unsaved) == {memory.url("a"), str(tmp_path / "local")}


def test_nothing_is_asked_of_a_store_before_the_end() -> None:
    for s3 in only("s3"):
        with Batch(storage_options={**s3.options, "skip_instance_cache": False}) as batch:
            for number in range(MANY):
                batch.write_bytes(s3.url(str(number)), NEW)
            assert s3.requests == []
        assert s3.requests == ["PUT"] * MANY
        # One of them is refused, and the others are not.
        s3.fail("PUT", 1)
        with pytest.raises(BatchError, match=f"1 of {MANY} files") as caught:
            with Batch(
                on_error="continue", storage_options={**s3.options, "s3_additional_kwargs": {}}
            ) as batch:
                fs_options = {"config_kwargs": {"retries": {"max_attempts": 0}}}
                for number in range(MANY):
                    options = {**s3.options, **fs_options, "skip_instance_cache": False}
                    batch.write_bytes(s3.url(str(number)), OLD, storage_options=options)
        assert caught.value.receipt is batch.receipt
        assert batch.receipt is not None
        (failed,) = batch.receipt.failed
        held = {s3.url(str(number)): s3.read(str(number)) for number in range(MANY)}
        assert held.pop(failed) == NEW
        assert set(held.values()) == {OLD}
        assert {receipt.path for receipt in batch.receipt.saved} == set(held)
        assert s3.leftovers() == []


@pytest.mark.parametrize("routine", [Counted, Parallel])
def test_so_many_are_on_their_way_as_the_connection_can_take(counted: Local, routine: type[Counted]) -> None:
    durably.stores.register(BrokenFiles, routine)
    with Batch() as batch:
        for number in range(MANY):
            batch.write_bytes(counted.url(f"{number}"), NEW, **counted.how())
    assert len(names(counted)) == MANY
    assert Counted.most == 1 if routine is Counted else 1 < Counted.most <= 8


def test_abort_begins_no_more_after_a_failure(counted: Local, tmp_path: Path) -> None:
    Counted.fails = ("/3",)
    counted.put("3", OLD)
    with pytest.raises(BatchError, match=r"1 of 7 files of the batch .* 3 were saved.*broken") as caught:
        with Batch() as batch:
            batch.write_bytes(tmp_path / "local", NEW)
            for number in range(6):
                batch.write_bytes(counted.url(f"{number}"), NEW, **counted.how())
    receipt = caught.value.receipt
    assert receipt is not None
    assert [os.path.basename(saved.path) for saved in receipt.saved] == ["0", "1", "2"]
    assert sorted(map(os.path.basename, receipt.unsaved)) == ["4", "5", "local"]
    assert [counted.read(f"{number}") for number in range(6)] == [NEW, NEW, NEW, OLD, None, None]
    assert os.listdir(tmp_path) == []
    assert counted.leftovers() == []


def test_a_local_failure_keeps_the_objects_from_being_sent(counted: Local, tmp_path: Path) -> None:
    batch = Batch()
    with pytest.raises(BatchError):
        with batch:
            batch.write_bytes(counted.url("a"), NEW, **counted.how())
            with pytest.raises(FileNotFoundError):
                batch.write_bytes(tmp_path / "not" / "there", NEW)
            with pytest.raises(BatchError):
                batch.write_bytes(counted.url("b"), NEW, **counted.how())
    assert names(counted) == []


def test_continue_saves_the_others(counted: Local, tmp_path: Path) -> None:
    Counted.fails = ("/3",)
    with pytest.raises(BatchError, match="1 of 6"):
        with Batch(on_error="continue") as batch:
            batch.write_bytes(tmp_path / "local", NEW)
            for number in range(5):
                batch.write_bytes(counted.url(f"{number}"), NEW, **counted.how())
    assert names(counted) == ["0", "1", "2", "4"]
    assert os.listdir(tmp_path) == ["local"]
    assert batch.receipt is not None
    assert batch.receipt.unsaved == ()


def test_an_interrupt_in_the_middle_leaves_whole_objects_and_is_told(counted: Local) -> None:
    counted.put("0", OLD)
    Broken.at, Broken.error = "write", STOP
    batch = Batch()
    with pytest.raises(KeyboardInterrupt):
        with batch:
            for number in range(3):
                batch.write_bytes(counted.url(f"{number}"), NEW, **counted.how())
    assert batch.receipt is not None
    (error,) = batch.receipt.failed.values()
    assert isinstance(error, OutcomeUnknownError)
    assert [os.path.basename(path) for path in batch.receipt.unsaved] == ["1", "2"]
    Broken.at = ""
    assert (counted.read("0"), counted.leftovers()) == (OLD, [])


def test_one_object_is_added_once(memory: Local) -> None:
    with Batch() as batch:
        batch.write_bytes(memory.url("a"), NEW)
        uses: tuple[Callable[[], object], ...] = (
            lambda: batch.write_bytes(memory.url("a"), OLD),
            lambda: batch.open(memory.url("a"), "wb"),
        )
        for use in uses:
            with pytest.raises(ValueError, match="added already"):
                use()
    assert memory.read("a") == NEW


def test_the_options_are_checked_at_once(memory: Local, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fs goes with each call"):
        Batch(fs=MemoryFileSystem())
    with Batch(storage_options={"some": "thing"}, make_parents=True) as batch:
        batch.write_bytes(tmp_path / "below" / "local", NEW)  # they are for URLs
        batch.write_bytes(tmp_path / "below" / "own", NEW, durability="none")
        refused: tuple[tuple[type[Exception], str, dict[str, Any]], ...] = (
            (ValueError, "allow_in_place", {"allow_in_place": True}),
            (UnsupportedError, "not to be had", {"metadata": "strict"}),
            (ValueError, "durability", {"durability": "often"}),
        )
        for kind, text, options in refused:
            with pytest.raises(kind, match=text):
                batch.write_bytes(memory.url("a"), NEW, **options)
            with pytest.raises(kind, match=text):
                batch.open(memory.url("a"), "wb", **options)
        with pytest.raises(ValueError, match="go with a URL"):
            batch.write_bytes(tmp_path / "local", NEW, storage_options={})
        with pytest.raises(UnsupportedError, match="cannot reach"):
            batch.write_bytes("nothing-of-the-kind://x/y", NEW)
        with pytest.raises(UnsupportedError, match="no routine"):
            batch.open("/x/y", "wb", fs=fsspec.filesystem("dir", path="/x", fs=MemoryFileSystem()))
    assert sorted(os.listdir(tmp_path / "below")) == ["local", "own"]
    assert memory.read("a") is None


def test_a_local_file_behind_a_url_is_one_of_the_local_files(memory: Local, tmp_path: Path) -> None:
    with Batch() as batch:
        batch.write_bytes(f"file://{tmp_path.as_posix()}/a", NEW)
        with batch.open(f"durable://{tmp_path.as_posix()}/b", "w") as file:
            file.write("text")
        with pytest.raises(ValueError, match="added already"):
            batch.write_bytes(tmp_path / "a", NEW)
        batch.write_bytes(fsspec.open(memory.url("c"), "wb"), NEW)
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_text()) == (NEW, "text")
    assert memory.read("c") == NEW


def test_a_writer_has_every_mode(memory: Local) -> None:
    memory.put("log", OLD)
    memory.put("old", OLD)
    memory.put("there", OLD)
    with pytest.raises(BatchError, match="1 of 5"):
        with Batch(on_error="continue") as batch:
            with batch.open(memory.url("log"), "ab") as file:
                file.write(NEW)
            with batch.open(memory.url("old"), "r+b") as file:
                file.write(b"NEW\n")
            for name in ("new", "there"):
                with batch.open(memory.url(name), "x") as file:
                    file.write("text")
            with pytest.raises(FileNotFoundError):
                batch.open(memory.url("missing"), "r+b")
            batch.write_bytes(memory.url("missing"), b"")  # tried again, with success
    assert (memory.read("log"), memory.read("old")) == (OLD + NEW, b"NEW\n" + OLD[4:])
    assert (memory.read("new"), memory.read("there"), memory.read("missing")) == (b"text", OLD, b"")
    assert batch.receipt is not None
    (error,) = batch.receipt.failed.values()
    assert isinstance(error, FileExistsError)


def test_a_writer_can_be_given_up_and_the_batch_goes_on(memory: Local) -> None:
    with Batch() as batch:
        with pytest.raises(KeyError):
            with batch.open(memory.url("a"), "wb") as file:
                file.write(NEW)
                raise KeyError
        writer = batch.open(memory.url("a"), "wb")
        assert writer.path == memory.url("a")
        writer.discard()
        writer.discard()
        writer = batch.open(memory.url("a"), "wb")
        with pytest.warns(ResourceWarning, match="unfinished file of a batch"):
            del writer
            gc.collect()
        last = batch.open(memory.url("b"), "w")
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(last)
        last.file.write("text")
        last.add()
        with pytest.raises(ValueError, match="added or thrown away already"):
            last.add()
    assert (memory.read("a"), memory.read("b")) == (None, b"text")


def test_what_comes_late_is_not_saved(memory: Local) -> None:
    batch = Batch()
    with pytest.raises(BatchError, match="still open"):
        with batch:
            writer = batch.open(memory.url("a"), "wb")
            other = batch.open(memory.url("b"), "wb")
    with pytest.raises(ValueError, match="too late"):
        writer.add()
    writer.discard()
    other.discard()
    objects = batch._objects
    assert objects is not None
    target = resolve_target(memory.url("c"), {})
    assert not isinstance(target, str)
    with pytest.raises(ValueError, match="too late"):
        objects.write_bytes(target, NEW, Options())
    assert names(memory) == []


def test_a_batch_that_is_dropped_sends_nothing(memory: Local) -> None:
    batch = Batch()
    batch.__enter__()
    batch.write_bytes(memory.url("a"), NEW)
    writer = batch.open(memory.url("b"), "wb")
    with pytest.warns(ResourceWarning):
        del batch, writer
        gc.collect()
    assert names(memory) == []


@pytest.mark.parametrize("on_error", ["abort", "continue"])
def test_a_copy_that_cannot_be_kept_is_the_objects_own_failure(
    memory: Local, monkeypatch: pytest.MonkeyPatch, on_error: Any
) -> None:
    from durably._stores import batch as _batch
    from durably._stores import object_writer

    def full(*_: object, **__: object) -> Any:
        raise OSError(errno.ENOSPC, "no room")

    batch = Batch(on_error=on_error)
    with pytest.raises(BatchError, match=r"1 of|2 of"):
        with batch:
            with monkeypatch.context() as patch:
                patch.setattr(_batch, "open", full, raising=False)
                patch.setattr(object_writer, "open", full, raising=False)
                if on_error == "continue":
                    batch.write_bytes(memory.url("a"), NEW)
                    with pytest.raises(OSError, match="no room"):
                        batch.open(memory.url("b"), "wb")
                else:
                    with pytest.raises(OSError, match="kept locally until the end of the batch") as caught:
                        batch.write_bytes(memory.url("a"), NEW)
                    assert caught.value.filename == memory.url("a")
    assert names(memory) == []


def test_an_interrupt_while_a_copy_is_made_goes_on(memory: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    from durably._stores import batch as _batch
    from durably._stores import object_writer, spool

    def stop(*_: object, **__: object) -> Any:
        raise STOP

    with Batch() as batch:
        for room, name in ((_batch, "open"), (object_writer, "open"), (spool, "opened")):
            with monkeypatch.context() as patch:
                patch.setattr(room, name, stop, raising=False)
                with pytest.raises(KeyboardInterrupt):
                    if room is _batch:
                        batch.write_bytes(memory.url("a"), NEW)
                    else:
                        batch.open(memory.url("a"), "wb")
    assert names(memory) == []
    assert batch.receipt is not None
    assert (batch.receipt.failed, batch.receipt.unsaved) == ({}, ())


def test_an_exception_after_an_object_was_added_leaves_it_in_the_batch(memory: Local) -> None:
    with Batch() as batch:
        writer = batch.open(memory.url("a"), "wb")
        with pytest.raises(KeyError):
            with writer as file:
                file.write(NEW)
                writer.add()
                raise KeyError
    assert memory.read("a") == NEW


def test_no_object_is_begun_after_an_interrupt(counted: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(on_error="continue")
    with pytest.raises(KeyboardInterrupt):
        with batch:
            for number in range(4):
                batch.write_bytes(counted.url(f"{number}"), NEW, **counted.how())
            objects = batch._objects
            assert objects is not None
            plain = objects._send_each

            def stopped(lane: Any) -> None:
                plain(lane[:1])
                raise STOP

            monkeypatch.setattr(objects, "_send_each", stopped)
    assert names(counted) == ["0"]
    assert objects is not None
    plain(list(objects._all.values())[1:])  # as on a thread that comes to its turn now
    assert names(counted) == ["0"]
    assert batch.receipt is not None
    assert len(batch.receipt.unsaved) == 3


def test_a_write_that_failed_and_was_ignored_is_not_sent(
    memory: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> None:
        raise OSError(errno.EIO, "an earlier write failed")

    with pytest.raises(BatchError, match="an earlier write failed"):
        with Batch(on_error="continue") as batch:
            writer = batch.open(memory.url("a"), "wb")
            monkeypatch.setattr(type(writer._channel), "check", lambda self: check())
            writer.file.write(NEW)
            writer.add()
    assert names(memory) == []


def test_copies_that_cannot_be_removed_are_named(
    memory: Local, monkeypatch: pytest.MonkeyPatch, copies: Path
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    batch = Batch()
    batch.__enter__()
    writer = batch.open(memory.url("a"), "wb")
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(OSError, match="could not be removed"):
            writer.discard()
    error = KeyError()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        batch.__exit__(KeyError, error, None)
    (left,) = error.leftovers  # type: ignore[attr-defined]
    assert os.listdir(copies) == [os.path.basename(left)]
    assert batch._objects is not None
    batch._objects.close(error)
    batch._objects.close(error)


class Unreachable(MemoryFileSystem):  # type: ignore[misc] # not typed
    protocol = "far-away"

    def __init__(self, **options: Any) -> None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def test_a_store_that_is_not_there_is_the_objects_own_failure(counted: Local) -> None:
    fsspec.register_implementation("far-away", Unreachable, clobber=True)
    durably.stores.register(Unreachable, Counted)
    with pytest.raises(BatchError, match="2 of 3") as caught:
        with Batch(on_error="continue") as batch:
            batch.write_bytes("far-away://x/y", NEW)
            batch.write_bytes(counted.url("a"), NEW, **counted.how())
            with pytest.raises(ConnectionRefusedError):
                batch.open("far-away://x/z", "wb")
    assert caught.value.receipt is not None
    assert caught.value.receipt.failed.keys() == {"far-away://x/y", "far-away://x/z"}
    assert names(counted) == ["a"]
    with pytest.raises(BatchError):
        with Batch() as batch:
            with pytest.raises(ConnectionRefusedError):
                batch.write_bytes("far-away://x/y", NEW)


def test_what_a_forked_child_does_with_a_batch(memory: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a child, but here, where it is counted what was run."""
    batch = Batch()
    with batch:
        batch.write_bytes(memory.url("a"), NEW)
        writer = batch.open(memory.url("b"), "wb")
        writer.file.write(NEW)
        with monkeypatch.context() as child:
            child.setattr(fork, "generation", fork.generation + 1)
            with pytest.raises(RuntimeError, match="forked child"):
                writer.add()
            with pytest.raises(RuntimeError, match="forked child"):
                batch.write_bytes(memory.url("c"), NEW)
        other = batch.open(memory.url("d"), "wb")
        with monkeypatch.context() as child:
            child.setattr(fork, "generation", fork.generation + 1)
            other.discard()
            fork._many[id(batch._objects)]()
            with pytest.raises(RuntimeError, match="forked child"):
                batch.__exit__(None, None, None)
        batch._state = "open"
        assert batch._objects is not None
        for entry in list(batch._objects._all.values())[1:]:
            batch._objects.forget(entry, KeyError())
    assert (memory.read("a"), memory.read("b")) == (NEW, None)
