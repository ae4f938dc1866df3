"""``with fs.transaction:`` on the durable file system: all or none."""

from __future__ import annotations

import contextvars
import errno
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

import fsspec

import durably
import entry_points
from capabilities import needs_linux, needs_posix, needs_shared_memory, needs_symlinks
from durably import filesystem
from durably.testing import RecordingSyscalls, Syscalls, every_failure, use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DurableFileSystem: Any = filesystem.DurableFileSystem  # fsspec is not typed
OLD, NEW = entry_points.OLD, entry_points.NEW


class BrokenError(Exception):
    pass


@pytest.fixture
def fs() -> Any:
    return DurableFileSystem(durability="none", skip_instance_cache=True)


@pytest.fixture
def root() -> Iterator[Path]:
    with entry_points.folder() as folder:
        yield folder


def tree(root: Path) -> dict[str, bytes]:
    """Every file below, the hidden ones too."""
    files = (each for each in root.rglob("*") if each.is_file())
    return {each.relative_to(root).as_posix(): each.read_bytes() for each in files}


def fill(root: Path) -> dict[str, bytes]:
    for name in ("a", "b", "sub/c"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(OLD)
    return tree(root)


def ended(fs: Any) -> None:
    assert not fs._intrans
    assert not fs.transaction.files


def test_all_files_appear_at_the_end(root: Path, fs: Any) -> None:
    before = fill(root)
    with fs.transaction:
        fs.pipe(
            {str(root / "a"): NEW, str(root / "sub" / "new"): NEW, str(root / "made" / "deep" / "d"): NEW}
        )
        with fs.open(root / "b", "w", compression="gzip") as file:
            file.write("text")
        with fsspec.open(f"durable://{root}/e", "wb", durability="none") as other:
            other.write(b"another instance is not in it")
        fs.touch(root / "touched")
        fs.cp_file(root / "a", root / "copy")
        fs.put(str(root / "a"), str(root / "put"))
        assert {name: content for name, content in tree(root).items() if name in before} == before
        assert {os.path.basename(name) for name in fs.find(root)} == {"a", "b", "c", "e"}
        assert not fs.exists(root / "touched")
    after = tree(root)
    assert after.keys() == {*before, "sub/new", "made/deep/d", "e", "touched", "copy", "put"}
    assert after["a"] == after["sub/new"] == after["made/deep/d"] == NEW
    assert after["copy"] == after["put"] == OLD
    assert fs.read_text(root / "b", compression="gzip") == "text"
    ended(fs)


@pytest.mark.parametrize("how", ["with", "calls"])
def test_an_exception_throws_everything_away(how: str, root: Path, fs: Any) -> None:
    before = fill(root)

    def write() -> None:
        fs.pipe({str(root / "a"): NEW, str(root / "new"): NEW})
        fs.rm(root / "b")
        fs.mv(root / "sub" / "c", root / "moved")

    if how == "with":
        with pytest.raises(BrokenError), fs.transaction:
            write()
            assert not (root / "b").exists()
            assert (root / "moved").exists()
            raise BrokenError
    else:
        fs.start_transaction()
        write()
        fs.transaction.complete(commit=False)
    # What is removed and moved is so at once, outside the transaction, as in fsspec itself.
    assert tree(root) == {"a": before["a"], "moved": before["sub/c"]}
    ended(fs)
    with fs.transaction:
        fs.pipe(str(root / "a"), NEW)
    assert (root / "a").read_bytes() == NEW


def test_start_and_end(root: Path, fs: Any) -> None:
    fs.start_transaction()
    fs.pipe(str(root / "a"), NEW)
    assert not (root / "a").exists()
    fs.end_transaction()
    assert (root / "a").read_bytes() == NEW
    ended(fs)


def test_a_file_whose_own_block_failed_is_no_part_of_it(root: Path, fs: Any) -> None:
    fill(root)
    with fs.transaction:
        fs.pipe(str(root / "a"), NEW)
        with pytest.raises(BrokenError):
            with fs.open(root / "b", "wb") as file:
                file.write(NEW)
                raise BrokenError
        with pytest.raises(BrokenError):
            with fs.open(root / "b", "w", compression="gzip") as text:
                text.write("half")
                raise BrokenError
        with fs.open(root / "c", "wb") as discarded:
            discarded.write(NEW)
            discarded.discard()
    assert tree(root) == {"a": NEW, "b": OLD, "sub/c": OLD}


def test_a_second_opening_goes_on_from_the_first(root: Path, fs: Any) -> None:
    before = fill(root)
    with fs.transaction:
        with fs.open(root / "a", "w") as file:
            file.write("one ")
        with fs.open(root / "a", "a") as file:
            file.write("two")
        with fs.open(root / "a", "r+b") as file:
            assert file.read() == b"one two"
            file.seek(0)
            file.write(b"ONE")
        fs.pipe(str(root / "b"), b"1")
        fs.pipe(str(root / "b"), b"2")
        assert tree(root).items() >= before.items()
    assert tree(root) == {"a": b"ONE two", "b": b"2", "sub/c": OLD}


def test_removing_and_writing_again(root: Path, fs: Any) -> None:
    """As dask does to overwrite a data set."""
    fill(root)
    with fs.transaction:
        fs.pipe(str(root / "sub" / "early"), NEW)
        fs.rm(root / "sub", recursive=True)
        assert not (root / "sub").exists()
        fs.makedirs(root / "sub")
        fs.pipe(str(root / "sub" / "d"), NEW)
        fs.pipe(str(root / "b"), NEW)
        fs.rm(root / "b")
        fs.pipe(str(root / "only staged"), NEW)
        fs.rm(root / "only staged")
    assert tree(root) == {"a": OLD, "sub/d": NEW}
    assert entry_points.beside(root / "a") == {"sub"}
    with pytest.raises(BrokenError), fs.transaction:
        fs.rm(root / "sub", recursive=True)
        fs.pipe(str(root / "sub" / "e"), NEW)
        raise BrokenError
    assert tree(root) == {"a": OLD}
    assert not entry_points.beside(root / "a") - {"sub"}


def test_moving(root: Path, fs: Any) -> None:
    fill(root)
    with fs.transaction:
        fs.mv(root / "a", root / "b")
        assert (root / "b").read_bytes() == OLD
        fs.pipe(str(root / "staged"), NEW)
        fs.mv(root / "staged", root / "sub" / "moved")
        fs.pipe(str(root / "b"), NEW)
    assert tree(root) == {"b": NEW, "sub/c": OLD, "sub/moved": NEW}


def test_what_is_staged_in_a_directory_moves_with_it(root: Path, fs: Any) -> None:
    fill(root)
    (root / "sub" / "deep").mkdir()
    with fs.transaction:
        fs.pipe(str(root / "sub" / "new"), b"1")
        with fs.open(root / "sub" / "deep" / "y", "wb") as file:
            file.write(b"2")
            fs.mv(root / "sub", root / "moved")
    assert tree(root) == {
        "a": OLD,
        "b": tree(root)["b"],
        "moved/c": OLD,
        "moved/new": b"1",
        "moved/deep/y": b"2",
    }
    assert entry_points.beside(root / "a") == {"b", "moved"}


def test_a_name_that_a_file_has_left_is_met_anew(root: Path, fs: Any) -> None:
    fill(root)
    with fs.transaction:
        with pytest.raises(BrokenError), fs.open(root / "a", "wb"):
            raise BrokenError
        fs.mv(root / "a", root / "sub" / "moved")
        fs.pipe(str(root / "a"), NEW)
    assert tree(root).items() >= {"a": NEW, "sub/moved": OLD}.items()


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_file_that_is_written_outlives_what_becomes_of_its_name(how: str, root: Path, fs: Any) -> None:
    fill(root)
    with fs.transaction, fs.open(root / "a", "wb") as file:
        file.write(NEW)
        if how == "removed":
            fs.rm(root / "a")
        elif how == "moved":
            fs.mv(root / "a", root / "sub" / "moved")
        else:
            fs.mv(root / "sub" / "c", root / "a")
    after = tree(root)
    assert after["a"] == NEW
    assert after.keys() == {"a", "b", *{"removed": ["sub/c"], "moved": ["sub/c", "sub/moved"]}.get(how, [])}
    ended(fs)


def test_what_is_moved_onto_a_staged_file_stands_in_its_place(root: Path, fs: Any) -> None:
    fill(root)
    (root.parent / "elsewhere").write_bytes(b"other")
    with fs.transaction:
        fs.pipe({str(root / "a"): NEW, str(root / "b"): NEW})
        fs.mv(root / "sub" / "c", root / "a")
        fs.rm(root.parent / "elsewhere")
    assert tree(root) == {"a": OLD, "b": NEW}
    assert not (root.parent / "elsewhere").exists()


def test_the_directory_of_all_that_is_staged_is_moved_or_removed(root: Path, fs: Any) -> None:
    fill(root)
    with fs.transaction:
        fs.pipe({str(root / "sub" / "c"): NEW, str(root / "sub" / "d"): NEW})
        fs.mv(root / "sub", root / "moved")
    assert tree(root)["moved/c"] == tree(root)["moved/d"] == NEW
    with fs.transaction:
        fs.pipe({str(root / "moved" / "c"): OLD, str(root / "moved" / "d"): OLD})
        fs.rm(root / "moved", recursive=True)
    assert tree(root).keys() == {"a", "b"}
    assert entry_points.beside(root / "a") == {"b"}


def test_the_root_is_what_the_files_have_in_common(root: Path, fs: Any) -> None:
    """It moves up while files are staged and being written."""
    for name in ("x/y/z", "x/w", "v"):
        (root / name).mkdir(parents=True)
    with fs.transaction:
        with fs.open(root / "x" / "y" / "z" / "1", "wb") as file:
            fs.pipe(str(root / "x" / "w" / "2"), NEW)
            with fs.open(root / "v" / "3", "wb") as other:
                other.write(NEW)
            file.write(NEW)
        with fs.open(root / "x" / "y" / "z" / "1", "ab") as file:
            file.write(NEW)
    assert tree(root) == {"x/y/z/1": NEW + NEW, "x/w/2": NEW, "v/3": NEW}


@needs_linux
def test_one_file_is_a_plain_save_and_several_leave_no_lock(root: Path) -> None:
    fs = DurableFileSystem(skip_instance_cache=True)
    names: list[str] = []

    class Table(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            names.extend(each for each in arguments if isinstance(each, str) and each.startswith(".durably-"))

    with use(Table()):
        with fs.transaction:
            fs.pipe(str(root / "a"), NEW)
        assert not {".durably-journal", ".durably-lock"} & set(names)
        with fs.transaction:
            fs.pipe({str(root / "a"): OLD, str(root / "b"): OLD})
        assert ".durably-journal" in names
    assert os.listdir(root) in (["a", "b"], ["b", "a"])


@needs_linux
@needs_shared_memory
def test_several_file_systems_are_refused(root: Path, tmp_path: Path, fs: Any) -> None:
    if root.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("both test directories are on one file system")
    with pytest.raises(durably.UnsupportedError, match="another file system"), fs.transaction:
        fs.pipe(str(root / "a"), NEW)
        fs.pipe(str(tmp_path / "b"), NEW)
    assert tree(root) == tree(tmp_path) == {}


def test_nested_use_is_refused_and_the_outer_goes_on(root: Path, fs: Any) -> None:
    with fs.transaction:
        fs.pipe(str(root / "a"), NEW)
        with pytest.raises(ValueError, match="nested"), fs.transaction:
            raise AssertionError
        with pytest.raises(ValueError, match="nested"):
            fs.start_transaction()
        fs.pipe(str(root / "b"), NEW)
        assert tree(root).keys() & {"a", "b"} == set()
    assert tree(root) == {"a": NEW, "b": NEW}
    ended(fs)


def test_a_file_that_is_still_written_makes_the_end_fail(root: Path, fs: Any) -> None:
    before = fill(root)
    with pytest.raises(ValueError, match="still being written"), fs.transaction:
        fs.pipe(str(root / "a"), NEW)
        file = fs.open(root / "b", "wb")
    file.discard()
    assert tree(root) == before


def in_thread(body: Callable[[], object]) -> None:
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


def in_foreign_thread(body: Callable[[], object]) -> None:
    import _thread

    done = threading.Event()

    def run() -> None:
        try:
            body()
        finally:
            done.set()

    _thread.start_new_thread(contextvars.Context().run, (run,))
    assert done.wait(10)


def test_which_threads_write_into_it(root: Path, fs: Any) -> None:
    with fs.transaction:
        context = contextvars.copy_context()
        in_thread(lambda: fs.pipe(str(root / "plain"), NEW))
        in_thread(lambda: context.run(fs.pipe, str(root / "same context"), NEW))
        in_foreign_thread(lambda: fs.pipe(str(root / "foreign"), NEW))
        assert {name for name in tree(root) if not name.startswith(".")} == {"plain"}
    assert tree(root).keys() == {"plain", "same context", "foreign"}


@needs_posix
def test_a_forked_child_writes_for_itself_and_does_not_commit(root: Path, fs: Any) -> None:
    before = fill(root)

    def child() -> str:
        fs.pipe(str(root / "own"), NEW)
        try:
            fs.end_transaction()
        except RuntimeError as error:
            return str(error)
        return ""

    fs.start_transaction()
    fs.pipe(str(root / "a"), NEW)
    assert "forked" in entry_points.in_child(child)
    assert {name: each for name, each in tree(root).items() if name[0] != "."} == {**before, "own": NEW}
    fs.end_transaction()
    assert tree(root) == {**before, "own": NEW, "a": NEW}


@needs_symlinks
def test_a_link_is_replaced_only_if_that_is_asked_for(root: Path) -> None:
    fill(root)
    (root / "link").symlink_to("a")
    fs = DurableFileSystem(durability="none", skip_instance_cache=True)
    with pytest.raises(OSError, match="symbolic link"), fs.transaction:
        fs.pipe(str(root / "b"), NEW)
        fs.pipe(str(root / "link"), NEW)
    assert (root / "b").read_bytes() == OLD
    fs = DurableFileSystem(durability="none", symlinks="replace", skip_instance_cache=True)
    (root / "through").symlink_to("sub")
    with fs.transaction:
        fs.pipe({str(root / "link"): NEW, str(root / "through" / "d"): NEW})
    assert not (root / "link").is_symlink()
    assert (root / "sub" / "d").read_bytes() == NEW


def test_a_transaction_that_is_given_up_is_thrown_away(root: Path) -> None:
    fs = DurableFileSystem(durability="none", skip_instance_cache=True)
    before = fill(root)
    with pytest.warns(ResourceWarning, match="transaction"):
        fs.start_transaction()
        fs.pipe(str(root / "a"), NEW)
        fs._transaction = None
    assert tree(root) == before


@needs_linux
def test_whatever_call_fails_all_are_old_or_all_are_new(root: Path) -> None:
    fs = DurableFileSystem(skip_instance_cache=True)
    new = None
    turns = 0
    for table in every_failure(dict.fromkeys(vars(Syscalls()), (errno.EIO,))):
        entry_points.prepare(root / "a", "new")
        old = fill(root)
        before = entry_points.descriptors()
        error: BaseException | None = None
        try:
            with fs.transaction:
                fs.pipe({str(root / "a"): NEW, str(root / "new"): NEW})
                with fs.open(root / "sub" / "c", "ab") as file:
                    file.write(NEW)
        except (OSError, ValueError) as raised:
            error = raised
        turns += 1
        told = (table.failed, table.error, error)
        assert not fs._intrans, told
        if isinstance(error, durably.RecoveryNeededError):
            with use(Syscalls()):
                fs.recover(root)
            error.__traceback__ = None
        shown = {
            name: each
            for name, each in tree(root).items()
            if not entry_points.is_temporary(name.rpartition("/")[2])
        }
        shown.pop(".durably-lock", None)
        if table.failed is None:
            new = shown
            assert error is None
            assert new == {"a": NEW, "new": NEW, "b": OLD, "sub/c": OLD + NEW}
        assert shown in (old, new), told
        assert entry_points.descriptors() == before, told
    assert turns > 100


@needs_linux
def test_a_failed_commit_leaves_removed_what_was_removed(root: Path, fs: Any) -> None:
    before = fill(root)
    with pytest.raises(OSError, match="changed by another"), fs.transaction:
        fs.pipe({str(root / "a"): NEW, str(root / "new"): NEW})
        fs.rm(root / "sub", recursive=True)
        fs.mv(root / "b", root / "moved")
        (root / "a").unlink()
        (root / "a").write_bytes(OLD)
    assert tree(root) == {"a": OLD, "moved": before["b"]}
