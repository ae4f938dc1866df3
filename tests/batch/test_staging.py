"""The temporary: a name of its own whatever is in the way, and a lock that a sweep respects."""

from __future__ import annotations

import errno
import importlib.util
import io
import os
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_linux, needs_posix
from disk import NEW, OLD, Refusing, Without, names
from durably._commit.linux import strategy
from durably._commit.linux.strategy import Linux
from durably._commit.posix.strategy import Posix
from durably._system import fork, temp_names
from durably._system.promises import FileSystem
from durably._system.syscalls import Syscalls, _missing
from durably.testing import RecordingSyscalls, use
from entry_points import ENTRY_POINTS, MAIN, EntryPoint, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

fcntl = pytest.importorskip("fcntl", reason="needs a POSIX system")
pytestmark = needs_posix
every_entry_point = pytest.mark.parametrize("entry_point", MAIN, ids=shown)
TAKEN = ".durably-f-0-0-0-0-0000000000000000.tmp"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


# Names that are taken.


@every_entry_point
@pytest.mark.parametrize("lacks", [(), ("unnamed",)], ids=str)
def test_a_name_that_is_taken_is_left_alone(
    target: Path, entry_point: EntryPoint, lacks: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    (target.parent / TAKEN).write_bytes(b"theirs")
    fresh = temp_names.fresh
    given: list[str] = []

    def first_taken(kind: Any) -> str:
        given.append(fresh(kind) if given else TAKEN)
        return given[-1]

    monkeypatch.setattr(temp_names, "fresh", first_taken)
    with use(Without(*lacks)):
        entry_point.save(target, NEW)
    assert len(given) > 1
    assert target.read_bytes() == NEW
    assert (target.parent / TAKEN).read_bytes() == b"theirs"
    assert names(target.parent) == sorted([TAKEN, "file"])


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=shown)
@needs_linux
def test_without_proc_every_temporary_has_a_name(
    tmp_path: Path, entry_point: EntryPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy, "_descriptors_can_be_linked", None)
    monkeypatch.setattr(strategy, "_DESCRIPTORS", str(tmp_path / "missing"))
    target = tmp_path / "file"
    if "replaced" in entry_point.states:
        target.write_bytes(OLD)
    table = RecordingSyscalls()
    with use(table):
        entry_point.save(target, NEW)
    assert target.read_bytes() == entry_point.content(OLD if "replaced" in entry_point.states else None, NEW)
    assert not any(
        call.arguments[1] & os.O_TMPFILE == os.O_TMPFILE  # type: ignore[operator] # flags
        for call in table.record
        if call.name == "open"
    )
    assert names(tmp_path) == ["file"]


# Sweeps that are faster.


class Swept(Without):
    """A sweep takes the first temporary before it is locked, or has its lock."""

    def __init__(self, directory: Path, how: str) -> None:
        super().__init__("unnamed")
        self.directory = directory
        self.how = how
        self.swept = ""
        self.held = -1

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        super()._before(name, arguments, keywords, function)
        if name == "flock" and not self.swept:
            (self.swept,) = [entry for entry in names(self.directory) if temp_names.parse(entry)]
            path = self.directory / self.swept
            if self.how == "locks":
                self.held = os.open(path, os.O_RDONLY)
                fcntl.flock(self.held, fcntl.LOCK_EX)
            else:
                path.rmdir() if path.is_dir() else path.unlink()
                self.how = "removed"


@pytest.mark.parametrize("how", ["locks", "removes"])
@pytest.mark.parametrize(
    "entry_point", [entry_point for entry_point in MAIN if entry_point.name != "write_bytes"], ids=shown
)
def test_a_temporary_that_a_sweep_took_is_made_anew(target: Path, entry_point: EntryPoint, how: str) -> None:
    table = Swept(target.parent, how)
    with use(table):
        entry_point.save(target, NEW)
    assert table.swept
    assert table.names.count("flock") == 2
    if how == "locks":
        os.close(table.held)
    assert target.read_bytes() == NEW
    assert names(target.parent) == ["file"]


@pytest.mark.parametrize("call", ["open", "flock", "rmdir"])
def test_a_private_directory_that_vanishes_is_made_anew(target: Path, call: str) -> None:
    class Vanishing(RecordingSyscalls):
        gone = False

        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            made = [entry for entry in names(target.parent) if temp_names.parse(entry)]
            if name == call and made and not self.gone:
                self.gone = True
                (target.parent / made[0]).rmdir()
            if name == "flock" and call == "rmdir" and not self.gone:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    table = Vanishing()
    with use(table), durably.staged_path(target) as temporary:
        temporary.write_bytes(NEW)
    assert table.gone
    assert target.read_bytes() == NEW
    assert names(target.parent) == ["file"]


def test_what_may_still_be_there_is_named(target: Path) -> None:
    table = Without("unnamed")
    with pytest.raises(KeyError) as caught, use(table), durably.open(target):
        table._before = lambda name, *_: _fails(name)  # type: ignore[method-assign]
        raise KeyError
    (left,) = set(names(target.parent)) - {"file"}
    assert caught.value.leftovers == (str(target.parent / left),)  # type: ignore[attr-defined]


def _fails(name: str) -> None:
    if name in ("unlink", "stat"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
@every_entry_point
def test_where_there_are_no_locks_there_is_none(target: Path, entry_point: EntryPoint, number: int) -> None:
    with use(Refusing(flock=number)):
        entry_point.save(target, NEW)
    assert target.read_bytes() == NEW


@pytest.mark.parametrize(
    "entry_point", [entry_point for entry_point in MAIN if entry_point.name != "write_bytes"], ids=shown
)
def test_a_lock_that_fails_is_an_error(target: Path, entry_point: EntryPoint) -> None:
    with use(Refusing(flock=errno.EIO)), pytest.raises(OSError, match=os.strerror(errno.EIO)):
        entry_point.save(target, NEW)
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["file"]


# File systems that say little, or do things their own way.


@every_entry_point
@needs_linux
def test_a_file_system_that_cannot_be_told_promises_nothing(target: Path, entry_point: EntryPoint) -> None:
    with use(Refusing(mount_id=errno.ENOSYS)):
        receipt = entry_point.save(target, NEW)
    assert receipt.durability == "none"
    assert "nothing is known about this file system" in receipt.skipped["durable"]
    assert target.read_bytes() == NEW


@needs_linux
def test_create_only_on_smb_does_not_trust_the_clients_no_replace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Linux, "file_system", lambda _, __: FileSystem("cifs"))
    table = RecordingSyscalls()
    with use(table):
        durably.write_bytes(tmp_path / "file", NEW, overwrite=False)
        assert "no-replace" not in durably.probe(tmp_path).supports
    assert "link" in table.names
    assert (tmp_path / "file").read_bytes() == NEW


def test_the_plain_posix_routine_starts_no_write_out_and_links_nothing(tmp_path: Path) -> None:
    table = RecordingSyscalls()
    with use(table, system="freebsd14"), durably.open(tmp_path / "file", "wb") as file:
        file.write(bytes(9 << 20))
    assert "sync_file_range" not in table.names
    assert (tmp_path / "file").stat().st_size == 9 << 20
    with pytest.raises(NotImplementedError):
        Posix(Syscalls()).link(None)  # type: ignore[arg-type]


def test_a_call_that_the_system_lacks_says_so() -> None:
    with pytest.raises(NotImplementedError, match="levitate does not exist on this system"):
        _missing("levitate")(1, height=2)


# Writes that fail, and a caller that does not care.


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_write_that_failed_is_not_forgotten(target: Path, buffering: int) -> None:
    table = Refusing()
    with (
        use(table),
        pytest.raises(OSError, match="an earlier write failed") as caught,
        durably.open(target, "wb", buffering=buffering) as file,
    ):
        table.errors = {"write": errno.ENOSPC}
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as first:
            file.write(b"x" * 100_000)
            file.flush()
        assert first.value.filename == str(target)
        table.errors = {}
        file.write(NEW)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(target))
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["file"]


def test_a_truncate_that_failed_is_not_forgotten(target: Path) -> None:
    with (
        use(Refusing(ftruncate=errno.EIO)),
        pytest.raises(OSError, match="an earlier write failed"),
        durably.open(target, "r+b") as file,
        pytest.raises(OSError, match=os.strerror(errno.EIO)),
    ):
        file.truncate(3)
    assert target.read_bytes() == OLD


def test_a_size_that_is_none_loses_nothing(target: Path) -> None:
    with durably.open(target, "r+b") as file, pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        file.truncate(-1)
    assert target.read_bytes() == OLD


def test_an_unbuffered_file_truncates_where_it_stands(target: Path) -> None:
    with durably.open(target, "r+b", buffering=0) as file:
        file.seek(3)
        assert file.truncate() == 3
        assert isinstance(file, io.FileIO)
    assert target.read_bytes() == OLD[:3]


@pytest.mark.parametrize("buffering", [0, -1])
def test_short_writes_of_a_stream_are_gone_on_with(target: Path, buffering: int) -> None:
    class Short(RecordingSyscalls):
        def __init__(self) -> None:
            super().__init__()
            self.write = lambda fd, data: os.write(
                fd, memoryview(data)[: max(1, memoryview(data).nbytes // 3)]
            )

    with use(Short()), durably.open(target, "wb", buffering=buffering) as file:
        assert file.write(NEW * 5000) == len(NEW) * 5000
    assert target.read_bytes() == NEW * 5000


# What a forked child does with its parent's writers, done here as if this were the child.


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_childs_writer_is_closed_unflushed_and_cannot_commit(
    target: Path, as_child: Callable[[], None], mode: str
) -> None:
    table = Without()
    with use(table):
        writer = durably.open(target, mode)
        writer.file.write(NEW if "b" in mode else NEW.decode())
        as_child()
        assert writer.file.closed
        with pytest.raises(RuntimeError, match="forked child cannot commit"):
            writer.commit()
        with pytest.raises(ValueError, match="is over"):
            writer.commit()
        other = durably.open(target.with_name("other"), mode)
        as_child()
        other.discard()
        dropped = durably.open(target, mode)
        as_child()
        del dropped  # without a warning: the parent's is not lost
    assert "write" not in table.names
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["file"]


@pytest.mark.parametrize("raises", [True, False])
def test_a_childs_staged_path_is_its_parents(
    target: Path, as_child: Callable[[], None], raises: bool
) -> None:
    expected = KeyError if raises else RuntimeError
    with pytest.raises(expected), durably.staged_path(target) as temporary:
        temporary.write_bytes(NEW)
        as_child()
        if raises:
            raise KeyError
    assert temporary.read_bytes() == NEW
    assert target.read_bytes() == OLD


@pytest.mark.parametrize("module", [fork, temp_names])
def test_a_system_without_fork(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork")
    assert module.__file__ is not None
    spec = importlib.util.spec_from_file_location("without_fork", module.__file__)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_a_child_makes_other_names() -> None:
    before = temp_names.fresh("f")
    temp_names.forget()
    assert temp_names.fresh("f") != before
