"""``overwrite=False`` and mode x: a file is created, or another's stays, and there is no moment between."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_posix, needs_unnamed_files
from disk import NEW, OLD, Refusing, Without, names
from durably import UnsupportedError
from durably.testing import RecordingSyscalls, use
from entry_points import CREATORS, EntryPoint, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

every_entry_point = pytest.mark.parametrize("entry_point", CREATORS, ids=shown)
STREAMS: list[Callable[..., Any]] = [
    lambda path, **options: durably.open(path, "x", **options),
    lambda path, **options: durably.open(path, "xb", buffering=0, **options),
    lambda path, **options: durably.open(path, "x+", **options),
    lambda path, **options: durably.open(path, "w", overwrite=False, **options),
    lambda path, **options: durably.staged_path(path, overwrite=False, **options),
]
every_stream = pytest.mark.parametrize("stream", STREAMS, ids=["x", "xb", "x+", "w", "staged_path"])
LADDER = [
    (),
    ("no-replace",),
    ("unnamed",),
    ("unnamed", "no-replace"),
]


def fill(stream: Any) -> None:
    """Write through what the block has yielded."""
    if hasattr(stream, "write"):
        stream.write(NEW.decode() if hasattr(stream, "encoding") else NEW)
    else:
        stream.write_bytes(NEW)


@every_entry_point
def test_a_file_is_created(tmp_path: Path, entry_point: EntryPoint) -> None:
    receipt = entry_point.save(tmp_path / "file", NEW)
    text = entry_point.name == "open x"  # its text layer writes the system's own line ends
    assert (tmp_path / "file").read_bytes() == (NEW.replace(b"\n", os.linesep.encode()) if text else NEW)
    assert not receipt.replaced
    assert names(tmp_path) == ["file"]


@every_entry_point
@pytest.mark.parametrize("durability", ["none", "consistent", "durable"])
def test_an_existing_file_is_kept(tmp_path: Path, entry_point: EntryPoint, durability: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(OLD)
    table = RecordingSyscalls()
    with use(table), pytest.raises(FileExistsError) as caught:
        entry_point.save(target, NEW, durability=durability)
    assert (caught.value.errno, caught.value.filename) == (errno.EEXIST, str(target))
    assert not {"write", "mkdir", "link", "replace", "renameat2"} & set(table.names)
    assert target.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


@every_stream
def test_an_existing_file_is_refused_before_the_body_runs(tmp_path: Path, stream: Callable[..., Any]) -> None:
    (tmp_path / "file").write_bytes(OLD)
    ran = False
    with pytest.raises(FileExistsError):  # that the body does not run is the point
        with stream(tmp_path / "file"):
            ran = True
    assert not ran


@every_stream
@pytest.mark.parametrize("lacks", LADDER, ids=str)
@pytest.mark.parametrize("durability", ["none", "durable"])
@needs_posix
def test_a_file_that_appears_meanwhile_is_kept(
    tmp_path: Path, stream: Callable[..., Any], lacks: tuple[str, ...], durability: str
) -> None:
    target = tmp_path / "file"
    with use(Without(*lacks)), pytest.raises(FileExistsError) as caught:
        with stream(target, durability=durability) as file:
            fill(file)
            target.write_bytes(b"somebody else's")
    assert (caught.value.errno, caught.value.filename) == (errno.EEXIST, str(target))
    assert target.read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["file"]


class Rival(RecordingSyscalls):
    """Somebody else makes the target just before it would get its name."""

    def __init__(self, target: Path, *lacks: str) -> None:
        super().__init__()
        self.target = target
        self.without = Without(*lacks)

    def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
        self.without._before(name, arguments, keywords, function)
        names = [argument for argument in arguments if isinstance(argument, str)]
        if name in ("renameat2", "link", "replace") and self.target.name in names:
            self.target.write_bytes(b"somebody else's")


@every_entry_point
@pytest.mark.parametrize("lacks", LADDER, ids=str)
@needs_posix
def test_there_is_no_moment_between_the_look_and_the_rename(
    tmp_path: Path, entry_point: EntryPoint, lacks: tuple[str, ...]
) -> None:
    target = tmp_path / "file"
    with use(Rival(target, *lacks)), pytest.raises(FileExistsError):
        entry_point.save(target, NEW)
    assert target.read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["file"]


@every_entry_point
@pytest.mark.parametrize("lacks", LADDER, ids=str)
@needs_posix
def test_every_rung_creates(tmp_path: Path, entry_point: EntryPoint, lacks: tuple[str, ...]) -> None:
    table = Without(*lacks)
    with use(table):
        receipt = entry_point.save(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").stat().st_nlink == 1
    assert "replace" not in table.names
    assert not receipt.replaced


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("refusal", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
@every_entry_point
@needs_posix
def test_where_no_rung_holds_nothing_is_created(
    tmp_path: Path, entry_point: EntryPoint, number: int, refusal: int
) -> None:
    table = Refusing(renameat2=number, link=refusal)
    with (
        use(table),
        pytest.raises(OSError, match="|".join(map(os.strerror, (refusal, errno.ENOTSUP)))) as caught,
    ):
        entry_point.save(tmp_path / "file", NEW)
    assert caught.value.filename == str(tmp_path / "file")
    assert names(tmp_path) == []


@every_stream
@needs_posix
def test_a_place_that_cannot_do_it_is_refused_before_the_body_runs(
    tmp_path: Path, stream: Callable[..., Any]
) -> None:
    ran = False
    lacking = Without("unnamed", "no-replace", "links")
    with use(lacking), pytest.raises(UnsupportedError, match="without replacing one here") as caught:
        with stream(tmp_path / "file"):
            ran = True
    assert not ran
    assert (caught.value.errno, caught.value.path) == (errno.ENOTSUP, str(tmp_path / "file"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOSPC])
@every_entry_point
@needs_posix
def test_other_errors_do_not_lead_down_the_ladder(
    tmp_path: Path, entry_point: EntryPoint, number: int
) -> None:
    table = Refusing(renameat2=number)
    with use(table), pytest.raises(OSError, match=os.strerror(number)) as caught:
        entry_point.save(tmp_path / "file", NEW)
    assert caught.value.errno == number
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
@needs_posix
def test_an_error_of_the_link_is_raised(tmp_path: Path, number: int) -> None:
    with (
        use(Refusing(renameat2=errno.EINVAL, link=number)),
        pytest.raises(OSError, match=os.strerror(number)),
    ):
        durably.write_bytes(tmp_path / "file", NEW, overwrite=False)
    assert names(tmp_path) == []


@needs_posix
def test_a_temporary_that_cannot_be_unlinked_is_named_in_the_receipt(tmp_path: Path) -> None:
    with use(Refusing(renameat2=errno.EINVAL, unlink=errno.EIO)):
        receipt = durably.write_bytes(tmp_path / "file", NEW, overwrite=False)
    (left,) = set(names(tmp_path)) - {"file"}
    assert receipt.skipped["unlink"] == f"{tmp_path / left} is left over: {os.strerror(errno.EIO)}"
    assert (tmp_path / "file").read_bytes() == NEW


@every_entry_point
@needs_posix
@pytest.mark.parametrize("symlinks", ["follow", "replace"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_in_the_way_wherever_it_leads(
    tmp_path: Path, entry_point: EntryPoint, symlinks: str, dangling: bool
) -> None:
    (tmp_path / "other").write_bytes(OLD)
    (tmp_path / "link").symlink_to("nowhere" if dangling else "other")
    with pytest.raises(FileExistsError):
        entry_point.save(tmp_path / "link", NEW, symlinks=symlinks)
    assert names(tmp_path) == ["link", "other"]
    assert (tmp_path / "other").read_bytes() == OLD


@every_entry_point
@pytest.mark.parametrize("make", ["directory", "fifo"])
@needs_posix
def test_what_is_no_file_is_in_the_way_too(tmp_path: Path, entry_point: EntryPoint, make: str) -> None:
    (tmp_path / "file").mkdir() if make == "directory" else os.mkfifo(tmp_path / "file")
    with pytest.raises(OSError, match=r".") as caught:
        entry_point.save(tmp_path / "file", NEW)
    assert isinstance(caught.value, (FileExistsError, IsADirectoryError, UnsupportedError))
    assert names(tmp_path) == ["file"]


@needs_unnamed_files
def test_mode_x_is_create_only_whatever_overwrite_says(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(FileExistsError):
        durably.open(tmp_path / "file", "x", overwrite=True)


@pytest.mark.parametrize("mode", ["a", "a+", "r+", "ab", "r+b"])
def test_modes_that_go_on_from_the_old_file_contradict_create_only(tmp_path: Path, mode: str) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(ValueError, match="overwrite=False forbids that"):
        durably.open(tmp_path / "file", mode, overwrite=False)
    assert names(tmp_path) == ["file"]
