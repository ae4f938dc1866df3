"""`staged_path`: a file name for savers that want one, and nothing but a whole file afterwards."""

from __future__ import annotations

import errno
import gc
import glob
import os
import socket
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import SHARED_MEMORY, needs_file_system, needs_linux, needs_posix, needs_shared_memory
from disk import NEW, OLD, Refusing, mode, names, run, umask
from durably import Receipt
from durably._system import temp_names
from durably.testing import RecordingSyscalls, use
from mounts import mounted

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "data.parquet"
    path.write_bytes(OLD)
    return path


def kept(target: Path) -> bool:
    return target.read_bytes() == OLD and names(target.parent) == [target.name]


def test_the_path_has_the_targets_name_in_a_private_directory_beside_it(target: Path) -> None:
    staged = durably.staged_path(target)
    with staged as temporary:
        assert type(temporary) is type(target)
        assert (temporary.name, temporary.parent.parent) == (target.name, target.parent)
        assert temp_names.parse(temporary.parent.name) is not None
        assert not temporary.exists()
        assert names(temporary.parent) == []
        assert os.name != "posix" or mode(temporary.parent) == 0o700
        temporary.write_bytes(NEW)
        assert target.read_bytes() == OLD
        assert staged.receipt is None
    assert target.read_bytes() == NEW
    assert names(target.parent) == [target.name]
    receipt = staged.receipt
    assert isinstance(receipt, Receipt)
    assert (receipt.path, receipt.size, receipt.replaced) == (str(target), len(NEW), True)


def test_the_path_is_absolute_wherever_the_caller_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    staged = durably.staged_path("data.parquet")
    with staged as temporary:
        monkeypatch.chdir(tmp_path / "elsewhere")
        temporary.write_bytes(NEW)
    assert (tmp_path / "data.parquet").read_bytes() == NEW
    assert staged.receipt is not None
    assert staged.receipt.path == "data.parquet"


@pytest.mark.parametrize("umask_", [0o000, 0o077, 0o277])
@needs_posix
def test_the_private_directory_is_private_under_every_umask(tmp_path: Path, umask_: int) -> None:
    if umask_ & 0o700 and os.geteuid() != 0:
        pytest.skip("without write permission of one's own nothing can be made in it")
    with umask(umask_), durably.staged_path(tmp_path / "file") as temporary:
        assert mode(temporary.parent) & 0o077 == 0
        temporary.write_bytes(NEW)
    assert mode(tmp_path / "file") == 0o666 & ~umask_


def test_readers_of_the_directory_do_not_trip_over_it(target: Path) -> None:
    with durably.staged_path(target) as temporary:
        temporary.write_bytes(NEW)
        assert glob.glob(str(target.parent / "*.parquet")) == [str(target)]
        assert glob.glob(str(target.parent / "*")) == [str(target)]
        assert glob.glob(str(target.parent / "**" / "*.parquet"), recursive=True) == [str(target)]


def replaces(path: Path) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(NEW)
    part.replace(path)


def creates(path: Path) -> None:
    with path.open("xb") as file:
        file.write(NEW)


def writes_twice(path: Path) -> None:
    path.write_bytes(OLD)
    path.unlink()
    path.write_bytes(NEW)


def goes_on(path: Path) -> None:
    path.write_bytes(NEW[:5])
    with path.open("ab") as file:
        file.write(NEW[5:])


def links_in(path: Path) -> None:
    other = path.parent.parent / "other"
    other.write_bytes(NEW)
    os.link(other, path)
    other.unlink()


def renames_in(path: Path) -> None:
    other = path.parent.parent / "other"
    other.write_bytes(NEW)
    other.rename(path)


def saves_durably(path: Path) -> None:
    durably.write_bytes(path, NEW)


def makes_and_removes_others(path: Path) -> None:
    (path.parent / "scratch").mkdir()
    (path.parent / "scratch" / "x").write_bytes(OLD)
    (path.parent / "scratch" / "x").rename(path)
    (path.parent / "scratch").rmdir()
    path.write_bytes(NEW)


SAVERS = [
    replaces,
    creates,
    writes_twice,
    goes_on,
    links_in,
    renames_in,
    saves_durably,
    makes_and_removes_others,
]


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("old", [True, False])
def test_savers_of_every_kind(target: Path, save: Callable[[Path], None], old: bool) -> None:
    target.chmod(0o640)
    old_mode = mode(target)  # 0o666 where there are no modes
    model = target.with_name("model")
    model.write_bytes(b"")
    new_mode = mode(model)
    model.unlink()
    if not old:
        target.unlink()
    with durably.staged_path(target) as temporary:
        save(temporary)
    assert target.read_bytes() == NEW
    assert mode(target) == (old_mode if old else new_mode)
    assert names(target.parent) == [target.name]


@pytest.mark.parametrize("given", [0o600, 0o400, 0o444, 0o777, 0o4711])
@needs_posix
def test_the_mode_that_a_saver_gives_is_not_the_files(target: Path, given: int) -> None:
    target.unlink()
    with umask(0o022), durably.staged_path(target) as temporary:
        temporary.write_bytes(NEW)
        temporary.chmod(given)
    assert mode(target) == 0o644
    with durably.staged_path(target, permissions=0o604) as temporary:
        temporary.write_bytes(NEW)
        temporary.chmod(given)
    assert mode(target) == 0o604


# What is left in the directory.


def nothing(path: Path) -> None:
    pass


def another_name(path: Path) -> None:
    Path(f"{path}.npy").write_bytes(NEW)


def one_more(path: Path) -> None:
    path.write_bytes(NEW)
    (path.parent / "log").write_bytes(b"")


def one_more_directory(path: Path) -> None:
    path.write_bytes(NEW)
    (path.parent / "deep" / "deeper").mkdir(parents=True)
    (path.parent / "deep" / "file").write_bytes(b"")


def a_directory(path: Path) -> None:
    path.mkdir()
    (path / "part-0").write_bytes(NEW)


def a_link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "data.parquet")


def a_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def a_second_name(path: Path) -> None:
    os.link(path.parent.parent / "data.parquet", path)


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(before)


@pytest.mark.parametrize(
    ("save", "error", "message"),
    [
        (nothing, FileNotFoundError, "nothing was written to the staged path; the target"),
        (another_name, FileNotFoundError, r"nothing was written to the staged path \(data.parquet.npy\)"),
        (one_more, OSError, r"other files were left beside the staged one \(log\)"),
        (one_more_directory, OSError, r"other files were left beside the staged one \(deep\)"),
        (a_directory, OSError, "what was staged is not a regular file with one name"),
        (a_link, OSError, "what was staged is not a regular file with one name"),
        (a_dangling_link, OSError, "what was staged is not a regular file with one name"),
        (a_second_name, OSError, "what was staged is not a regular file with one name"),
        (a_fifo, OSError, "what was staged is not a regular file with one name"),
        (a_socket, OSError, "what was staged is not a regular file with one name"),
    ],
)
@needs_posix
def test_what_is_not_one_whole_file_is_an_error_that_says_so(
    target: Path, save: Callable[[Path], None], error: type[OSError], message: str
) -> None:
    staged = durably.staged_path(target)
    with pytest.raises(error, match=message) as caught, staged as temporary:
        save(temporary)
    assert "the target was not changed" in str(caught.value)
    assert caught.value.filename == str(target)
    assert kept(target)
    assert target.stat().st_nlink == 1
    assert staged.receipt is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("save", [nothing, replaces, one_more_directory, a_directory, a_link])
@needs_posix
def test_an_exception_throws_everything_away(
    target: Path, error: type[BaseException], save: Callable[[Path], None]
) -> None:
    raised = error()
    staged = durably.staged_path(target)
    with pytest.raises(error) as caught, staged as temporary:
        save(temporary)
        raise raised
    assert caught.value is raised
    assert kept(target)
    assert staged.receipt is None


@needs_posix
def test_a_link_in_the_directory_is_not_followed_when_it_is_removed(target: Path) -> None:
    precious = target.parent / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(OLD)
    with pytest.raises(KeyError), durably.staged_path(target) as temporary:
        (temporary.parent / "way").symlink_to(precious, target_is_directory=True)
        raise KeyError
    assert names(precious) == ["file"]


@needs_posix
def test_what_cannot_be_removed_is_named(target: Path) -> None:
    with use(Refusing(rmdir=errno.EIO)), pytest.raises(KeyError) as caught, durably.staged_path(target):
        raise KeyError
    (left,) = set(names(target.parent)) - {target.name}
    assert caught.value.leftovers == (str(target.parent / left),)  # type: ignore[attr-defined]
    with use(Refusing(rmdir=errno.EIO)):
        staged = durably.staged_path(target)
        with staged as temporary:
            temporary.write_bytes(NEW)
    assert staged.receipt is not None
    assert temporary.parent.name in staged.receipt.skipped["remove"]
    assert target.read_bytes() == NEW


# The life of one.


def test_it_is_entered_once(target: Path) -> None:
    staged = durably.staged_path(target)
    with staged as temporary:
        temporary.write_bytes(NEW)
        with pytest.raises(ValueError, match="entered once"):
            staged.__enter__()
    with pytest.raises(ValueError, match="entered once"), staged:
        pass
    assert target.read_bytes() == NEW


def test_one_that_is_never_entered_does_nothing(target: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        durably.staged_path(target)
        gc.collect()
    assert kept(target)


def test_nothing_happens_before_it_is_entered(tmp_path: Path) -> None:
    table = RecordingSyscalls()
    with use(table):
        staged = durably.staged_path(tmp_path / "missing" / "file")
        assert table.names == []
        with pytest.raises(FileNotFoundError), staged:
            pass
    assert names(tmp_path) == []


@needs_posix
def test_a_forked_child_neither_commits_nor_cleans(target: Path) -> None:
    with durably.staged_path(target) as temporary:
        temporary.write_bytes(NEW)
        child = os.fork()
        if child == 0:
            _leave_as_child(target)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert temporary.read_bytes() == NEW
        assert target.read_bytes() == OLD
    assert target.read_bytes() == NEW


def _leave_as_child(target: Path) -> None:
    # What the child would meet if it left the block: its parent's save is not its own.
    from durably._system.fork import _live

    os._exit(1 if _live else 0)


@needs_posix
@pytest.mark.parametrize("raises", [True, False])
def test_a_child_that_leaves_the_block_does_nothing(target: Path, raises: bool) -> None:
    parent = os.getpid()
    child = -1
    code = 1
    try:
        with durably.staged_path(target) as temporary:
            temporary.write_bytes(NEW)
            child = os.fork()
            if child == 0 and raises:
                raise KeyError
            if child:
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                assert temporary.read_bytes() == NEW
    except (KeyError, RuntimeError) as error:
        code = int(isinstance(error, KeyError) != raises)
    finally:
        if os.getpid() != parent:
            os._exit(code)
    assert target.read_bytes() == NEW
    assert names(target.parent) == [target.name]


@pytest.mark.filterwarnings("always::ResourceWarning")
def test_one_that_is_dropped_in_its_block_discards_with_a_warning(target: Path) -> None:
    staged: Any = durably.staged_path(target)
    temporary = staged.__enter__()
    temporary.write_bytes(NEW)
    with pytest.warns(ResourceWarning, match="unfinished save of .* was discarded"):
        del staged
        gc.collect()
    assert kept(target)


@needs_posix  # the calls of Windows are bound by ctypes, which can no longer be imported then
@pytest.mark.parametrize(
    "before", ["", "durably.write_bytes(sys.argv[1] + '.other', b'')"], ids=["first", "later"]
)
def test_the_end_of_the_interpreter_discards(target: Path, before: str) -> None:
    program = f"""
import sys, durably
{before}
staged = durably.staged_path(sys.argv[1])
temporary = staged.__enter__()
temporary.write_bytes(b"half")
(temporary.parent / "more").mkdir()
(temporary.parent / "more" / "below").write_bytes(b"half")
"""
    done = run(program, target)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "ResourceWarning: unfinished save" in done.stderr
    assert target.read_bytes() == OLD
    assert names(target.parent) == [target.name, *([f"{target.name}.other"] if before else [])]


@needs_linux
def test_calls_that_can_no_longer_be_bound_are_not_needed_to_discard(target: Path) -> None:
    class Ending(RecordingSyscalls):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name == "mount_id":
                raise ImportError("sys.meta_path is None, Python is likely shutting down")

    with use(Ending()), pytest.raises(ZeroDivisionError) as caught:
        with durably.staged_path(target) as temporary:
            (temporary.parent / "more").mkdir()
            temporary.write_bytes(b"half" * (1 // 0))
    assert not hasattr(caught.value, "leftovers")
    assert kept(target)


# Flushing what others wrote.


@needs_shared_memory
def test_without_a_witness_the_receipt_says_so() -> None:
    target = SHARED_MEMORY / f"durably-test-{os.getpid()}"
    staged = durably.staged_path(target)
    try:
        with staged as temporary:
            temporary.write_bytes(NEW)
    finally:
        target.unlink()
    assert staged.receipt is not None
    assert "earlier write error may be missed" in staged.receipt.skipped["witness"]
    assert "fsync" in staged.receipt.steps
    assert "syncfs" not in staged.receipt.steps


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "ext2"])
@needs_file_system("ext4", "xfs", "btrfs", "ext2")
def test_the_witness_is_the_file_system_where_it_tells(tmp_path: Path, kind: str) -> None:
    with mounted(kind, tmp_path / "mount") as place:
        receipts = {}
        for level in ("durable", "consistent", "none"):
            staged = durably.staged_path(place / "file", durability=level)
            with staged as temporary:
                temporary.write_bytes(NEW)
            assert staged.receipt is not None
            receipts[level] = staged.receipt
    for level in ("durable", "consistent"):
        assert ("syncfs" in receipts[level].steps) == (kind != "ext2")
        assert ("witness" in receipts[level].skipped) == (kind == "ext2")
    assert not {"syncfs", "fsync"} & set(receipts["none"].steps)
    assert "witness" not in receipts["none"].skipped


@needs_file_system("ext4")
def test_a_flush_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    with mounted("ext4", tmp_path / "mount") as place:
        target = place / "file"
        target.write_bytes(OLD)
        with use(Refusing(syncfs=errno.EIO)), pytest.raises(OSError, match=os.strerror(errno.EIO)):
            with durably.staged_path(target) as temporary:
                temporary.write_bytes(NEW)
        assert target.read_bytes() == OLD
        assert set(names(place)) == {"file", "lost+found"}


# Links.


@needs_posix
@pytest.mark.parametrize("options", [{}, {"symlinks": "replace"}], ids=str)
def test_the_private_directory_lies_beside_the_real_target(tmp_path: Path, options: Any) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "link").symlink_to("../data/file")
    with durably.staged_path(tmp_path / "links" / "link", **options) as temporary:
        assert temporary.parent.parent == tmp_path / ("links" if options else "data")
        assert temporary.name == ("link" if options else "file")
        temporary.write_bytes(NEW)
    assert (tmp_path / "links" / "link").is_symlink() == (not options)
    assert (tmp_path / "links" / "link").read_bytes() == NEW


@needs_posix
def test_a_rewrite_in_place_that_breaks_off_names_the_copy_itself(target: Path) -> None:
    with use(Refusing(replace=errno.EBUSY, ftruncate=errno.EIO)), pytest.raises(durably.TornError) as caught:
        with durably.staged_path(target, allow_in_place=True) as temporary:
            temporary.write_bytes(NEW)
    assert caught.value.staged is not None
    assert Path(caught.value.staged).read_bytes() == NEW
    assert os.path.basename(caught.value.staged) == target.name
