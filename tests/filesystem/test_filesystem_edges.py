"""What seldom happens to the file system for fsspec: copies of handles, failing ends, forks, races."""

from __future__ import annotations

import contextlib
import copy
import errno
import gzip
import io
import ntpath
import os
import pickle
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

import entry_points
from capabilities import needs_posix, needs_symlinks
from disk import Refusing
from durably import filesystem
from durably._fsspec import write_set
from durably._system import fork
from durably.testing import RecordingSyscalls, use

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OLD, NEW = entry_points.OLD, entry_points.NEW


class BrokenError(Exception):
    pass


class Overtaking(RecordingSyscalls):
    """Another makes each directory just before we do."""

    def _before(
        self,
        name: str,
        arguments: tuple[object, ...],
        keywords: dict[str, object],
        function: Callable[..., Any],
    ) -> None:
        if name == "mkdir":
            function(*arguments, **keywords)


def made(**options: Any) -> Any:
    return filesystem.DurableFileSystem(**{"durability": "none", "skip_instance_cache": True, **options})


@pytest.fixture
def fs() -> Any:
    return made()


def files(folder: Path) -> dict[str, bytes]:
    """What other programs see: every file below that is not a temporary."""
    found = (
        each for each in folder.rglob("*") if each.is_file() and not entry_points.is_temporary(each.name)
    )
    return {each.relative_to(folder).as_posix(): each.read_bytes() for each in found}


def temporaries(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if entry_points.is_temporary(each.name)]


# Handles.


def test_a_doomed_handle_discards_also_at_the_regular_end_of_its_block(path: Path, fs: Any) -> None:
    path.write_bytes(OLD)
    with fs.open(path, "wb") as file:
        file.write(NEW)
        file.doom()
    assert path.read_bytes() == OLD
    assert not entry_points.beside(path)


def test_a_copy_of_a_closed_handle_changes_nothing(path: Path, fs: Any) -> None:
    with fs.open(path, "wb") as file:
        file.write(OLD)
        with pytest.raises(TypeError, match="cannot be copied"):
            copy.copy(file)
    again = pickle.loads(pickle.dumps(file))
    with pytest.raises(ValueError, match="closed"):
        again.flush()
    assert path.read_bytes() == OLD
    assert not entry_points.beside(path)


@needs_posix
def test_a_temporary_that_cannot_be_removed_is_told_in_a_note(path: Path, fs: Any) -> None:
    path.write_bytes(OLD)
    calls = Refusing()
    with use(calls, entry_points.POSIX.system), pytest.raises(BrokenError) as raised:
        with fs.open(path, "wb") as file:
            file.write(NEW)
            calls.errors["unlink"] = errno.EIO
            raise BrokenError
    (left,) = temporaries(path.parent)
    assert str(left) in "".join(raised.value.__notes__)
    assert [os.fspath(each) for each in raised.value.leftovers] == [str(left)]  # type: ignore[attr-defined]
    assert path.read_bytes() == OLD


def test_what_a_forked_child_gives_up_is_still_its_parents(
    path: Path, fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fs.open(path, "wb")
    file.write(NEW)
    with monkeypatch.context() as child:
        child.setattr(fork, "generation", fork.generation + 1)
        file.give_up(self_made := io.StringIO())
    file.close()
    assert path.read_bytes() == NEW
    assert self_made.getvalue() == ""


def test_the_methods_of_the_classes_write_too(path: Path, fs: Any) -> None:
    with fs.open(path, "wb") as file:
        assert filesystem.DurableFile.write(file, NEW) == len(NEW)
    assert path.read_bytes() == NEW
    with fs.open(path, "wb", compression="gzip") as file:
        assert type(file).write(file, NEW) == len(NEW)
        assert file.tell() == len(NEW)
        assert os.fstat(file.fileno()).st_nlink < 2
    file.close()  # again
    assert gzip.decompress(path.read_bytes()) == NEW


def test_a_buffer_is_filled_by_one_read(path: Path, fs: Any) -> None:
    path.write_bytes(OLD)
    with fs.open(path, "r+b") as file:
        buffer = bytearray(3)
        assert file.readinto1(buffer) == 3
        assert file.write(b"!") == 1
    assert bytes(buffer) == OLD[:3]
    assert path.read_bytes() == OLD[:3] + b"!" + OLD[4:]


def test_a_long_chain_of_handled_errors_does_not_discard(path: Path, fs: Any) -> None:
    def save(deep: int) -> None:
        try:
            raise BrokenError
        except BrokenError:
            if deep:
                save(deep - 1)
                return
            file = fs.open(path, "wb")
            file.write(NEW)
            file.close()

    save(40)
    assert path.read_bytes() == NEW


# Names.


@needs_symlinks
@pytest.mark.parametrize("durability", entry_points.LEVELS)
def test_a_directory_and_a_link_are_moved_as_they_are(durability: str, path: Path) -> None:
    fs = made(durability=durability)
    (path.parent / "sub").mkdir()
    (path.parent / "sub" / "a").write_bytes(OLD)
    (path.parent / "link").symlink_to("nowhere")
    fs.mv(path.parent / "sub", path.parent / "new")
    fs.mv(path.parent / "link", path.parent / "other")
    assert files(path.parent) == {"new/a": OLD}
    assert os.readlink(path.parent / "other") == "nowhere"
    assert not (path.parent / "link").is_symlink()


def test_a_directory_that_another_makes_meanwhile_is_there(path: Path, fs: Any) -> None:
    with use(Overtaking()):
        fs.makedirs(path, exist_ok=True)
        with pytest.raises(FileExistsError):
            fs.makedirs(path.parent / "other", exist_ok=False)
    assert path.is_dir()


def test_two_drives_have_no_directory_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as windows:
        windows.setattr(os, "path", ntpath)
        found = [write_set.shared(r"C:\a\b", other) for other in (r"D:\a\b", r"c:\a\d")]
    assert found == ["", r"C:\a"]


# Transactions.


def test_an_end_is_an_end(path: Path, fs: Any) -> None:
    transaction = fs.start_transaction()
    fs.pipe(str(path), NEW)
    transaction.complete()
    path.write_bytes(OLD)
    transaction.complete(commit=False)
    assert path.read_bytes() == OLD
    fs.transaction.complete()  # not begun
    fs.pipe(str(path), NEW)
    assert path.read_bytes() == NEW


def test_a_transaction_may_end_in_another_thread(path: Path, fs: Any) -> None:
    transaction = fs.start_transaction()
    fs.pipe(str(path), NEW)
    assert not path.exists()
    thread = threading.Thread(target=transaction.complete)
    thread.start()
    thread.join()
    assert path.read_bytes() == NEW
    fs.pipe(str(path), OLD)
    assert path.read_bytes() == OLD


def test_without_auto_mkdir_a_transaction_makes_no_directory(path: Path) -> None:
    fs = made(auto_mkdir=False)
    with pytest.raises(FileNotFoundError), fs.transaction:
        fs.pipe(str(path), NEW)
        fs.pipe(str(path.parent / "sub" / "a"), NEW)
    assert not os.listdir(path.parent)
    with fs.transaction:
        fs.pipe(str(path), NEW)
    assert files(path.parent) == {"target": NEW}


def test_removing_alone(path: Path, fs: Any) -> None:
    path.write_bytes(OLD)
    with fs.transaction:
        fs.rm(path)
    assert not os.listdir(path.parent)


def test_removing_what_was_only_staged_leaves_nothing(path: Path, fs: Any) -> None:
    with fs.transaction:
        fs.pipe(str(path), NEW)
        fs.rm(path)
    assert not os.listdir(path.parent)


def test_a_removal_that_fails_leaves_staged_what_was(
    path: Path, fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    path.write_bytes(OLD)
    with fs.transaction:
        fs.pipe(str(path), NEW)
        with monkeypatch.context() as patch:
            patch.setattr("durably._fsspec.names.remove", fail)
            with pytest.raises(PermissionError):
                fs.rm(path)
    assert files(path.parent) == {path.name: NEW}
    assert not temporaries(path.parent)


def test_removing_elsewhere(path: Path, fs: Any) -> None:
    for name in ("here", "there"):
        (path.parent / name).mkdir()
        (path.parent / name / "a").write_bytes(OLD)
    with fs.transaction:
        fs.pipe(str(path.parent / "here" / "a"), NEW)
        fs.rm(path.parent / "there" / "a")
    assert files(path.parent) == {"here/a": NEW}
    assert not temporaries(path.parent)


def test_removing_the_target_of_a_write_that_failed(path: Path, fs: Any) -> None:
    path.write_bytes(OLD)
    with fs.transaction:
        with contextlib.suppress(BrokenError), fs.open(path, "wb") as file:
            file.write(NEW)
            raise BrokenError
        fs.rm(path)
    assert not os.listdir(path.parent)


def test_removing_what_another_has_removed_with_its_directory(path: Path, fs: Any) -> None:
    below = path.parent / "sub"
    with fs.transaction:
        fs.pipe({str(path): NEW, str(below / "a"): NEW})
        shutil.rmtree(below)
        fs.rm(below, recursive=True)
    assert files(path.parent) == {"target": NEW}
    assert not temporaries(path.parent)


@pytest.mark.parametrize("broken", [False, True], ids=["committed", "broken off"])
def test_a_forked_child_leaves_its_parents_staging_alone(
    broken: bool, path: Path, fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(OLD)
    transaction = fs.start_transaction()
    fs.pipe(str(path), NEW)
    core, before = transaction.core, temporaries(path.parent)
    assert before
    with monkeypatch.context() as child:
        child.setattr(fork, "generation", fork.generation + 1)
        assert not core.takes()
        if broken:
            transaction.complete(commit=False)
        else:
            with pytest.raises(RuntimeError, match="forked"):
                transaction.complete()
    assert temporaries(path.parent) == before
    assert path.read_bytes() == OLD
    core._write_set.discard()
    core._write_set.close()
