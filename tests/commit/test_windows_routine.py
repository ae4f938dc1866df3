"""The routine of Windows, on Linux, over a table whose calls act on the real disk."""

from __future__ import annotations

import errno
import ntpath
import os
import tempfile
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_linux
from durably import OutcomeUnknownError, UnsupportedError, _commit, testing
from durably._commit.pending import PendingFile
from durably._commit.windows import paths as _windows_paths
from durably._commit.windows.handles import PATIENCE, TRIES
from durably._commit.windows.strategy import Windows
from durably._system import temp_names
from durably._system.native import win32 as win
from durably._types import Options
from fakes import LINUX, NO_SPACE, FakeWindows, windows_error
from windows_failures import every_windows_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    EntryPoint = Callable[..., object]

pytestmark = needs_linux

STEPS = ("create", "write", "fsync", "rename")
MISSING_RENAME = (win.ERROR_INVALID_PARAMETER, win.ERROR_NOT_SUPPORTED, win.ERROR_INVALID_FUNCTION)
HELD = (win.ERROR_ACCESS_DENIED, win.ERROR_SHARING_VIOLATION, win.ERROR_LOCK_VIOLATION)


@pytest.fixture
def fake() -> FakeWindows:
    return FakeWindows()


@pytest.fixture
def table(fake: FakeWindows) -> Iterator[testing.RecordingSyscalls]:
    table = testing.RecordingSyscalls(fake)
    with testing.use(table, "win32"):
        yield table


@pytest.fixture
def target(tmp_path: Path, table: testing.RecordingSyscalls) -> Path:
    path = tmp_path / "target"
    path.write_bytes(b"old")
    return path


def listed(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


# The order of the steps, and the receipt.


def test_order_of_calls_of_a_new_file(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    receipt = durably.write_bytes(tmp_path / "new", b"data")
    assert (tmp_path / "new").read_bytes() == b"data"
    assert receipt.steps == STEPS
    assert not receipt.replaced
    changing = [name for name in table.names if name not in ("stat", "fstat", "get_osfhandle")]
    assert changing == [
        "create_file",
        "open_osfhandle",
        "write",
        "fsync",
        "rename_by_handle",
        "close",
        "volume_information",
    ]


def test_the_receipt_declares_that_no_directory_is_flushed(target: Path) -> None:
    receipt = durably.write_bytes(target, b"new")
    assert receipt.replaced
    assert receipt.durability == "consistent"
    assert "no fsync for directories" in receipt.skipped["fsync directory"]


def test_consistent_skips_nothing(target: Path) -> None:
    receipt = durably.write_bytes(target, b"new", durability="consistent")
    assert receipt.durability == "consistent"
    assert receipt.skipped == {}


def test_none_does_not_flush(target: Path) -> None:
    receipt = durably.write_bytes(target, b"new", durability="none")
    assert receipt.steps == ("create", "write", "rename")


def test_a_network_drive_promises_nothing(target: Path, fake: FakeWindows) -> None:
    fake.volume.information = ("NTFS", 0, win.DRIVE_REMOTE)
    assert durably.write_bytes(target, b"new").durability == "none"
    assert durably.probe(target).options == ("remote",)


def test_an_unreadable_volume_is_unknown(target: Path, fake: FakeWindows) -> None:
    fake.volume.plan.fail("volume_information", win.ERROR_ACCESS_DENIED)
    assert durably.write_bytes(target, b"new").durability == "none"
    assert durably.probe(target).file_system == "unknown"


def test_the_temporary_can_be_renamed_and_shared(target: Path, table: testing.RecordingSyscalls) -> None:
    durably.write_bytes(target, b"new")
    made = next(call for call in table.record if call.name == "create_file")
    access, share, disposition = made.arguments[1:4]
    assert access == win.GENERIC_READ | win.GENERIC_WRITE | win.DELETE
    assert share == win.FILE_SHARE_READ | win.FILE_SHARE_WRITE | win.FILE_SHARE_DELETE
    assert disposition == win.CREATE_NEW


def test_a_handle_without_a_descriptor_is_closed(target: Path, fake: FakeWindows) -> None:
    fake.volume.plan.fail("open_osfhandle", NO_SPACE)
    with pytest.raises(OSError, match="112"):
        durably.write_bytes(target, b"new")
    assert fake.volume.handles == {}
    assert listed(target.parent) == ["target"]


# The rename.


@pytest.mark.parametrize("code", MISSING_RENAME)
def test_without_posix_renames(target: Path, fake: FakeWindows, table: Any, code: int) -> None:
    fake.volume.plan.fail("rename_by_handle", code)
    receipt = durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert str(code) in receipt.skipped["posix rename"]
    moved = next(call for call in table.record if call.name == "move_file")
    assert moved.arguments[2] == win.MOVEFILE_REPLACE_EXISTING | win.MOVEFILE_WRITE_THROUGH


@pytest.mark.parametrize("code", [17, 112, 123])
def test_other_errors_do_not_fall_back(target: Path, fake: FakeWindows, table: Any, code: int) -> None:
    fake.volume.plan.fail("rename_by_handle", code)
    with pytest.raises(OSError, match=str(code)):
        durably.write_bytes(target, b"new")
    assert "move_file" not in table.names
    assert fake.clocks.pauses == []
    assert target.read_bytes() == b"old"
    assert listed(target.parent) == ["target"]


def test_the_older_rename_leaves_the_old_file_when_it_fails(target: Path, fake: FakeWindows) -> None:
    fake.volume.plan.fail("rename_by_handle", win.ERROR_NOT_SUPPORTED)
    fake.volume.plan.fail("move_file", NO_SPACE)
    with pytest.raises(OSError, match="112"):
        durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert listed(target.parent) == ["target"]


@pytest.mark.parametrize("code", HELD)
def test_a_file_held_for_a_while(target: Path, fake: FakeWindows, code: int) -> None:
    fake.volume.plan.fail("rename_by_handle", code, times=6 * TRIES)
    durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert len(fake.clocks.pauses) == 6
    assert fake.clocks.pauses == sorted(fake.clocks.pauses)


def test_a_gap_of_a_moment_is_met_without_a_pause(target: Path, fake: FakeWindows) -> None:
    fake.volume.plan.fail("rename_by_handle", win.ERROR_SHARING_VIOLATION, times=TRIES - 1)
    durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert fake.clocks.pauses == []


@pytest.mark.parametrize("code", HELD)
def test_a_file_held_for_ever(target: Path, fake: FakeWindows, code: int) -> None:
    fake.volume.plan.fail("rename_by_handle", code)
    with pytest.raises(PermissionError) as caught:
        durably.write_bytes(target, b"new")
    assert caught.value.filename == str(target)
    assert sum(fake.clocks.pauses) == pytest.approx(2)
    assert target.read_bytes() == b"old"
    assert listed(target.parent) == ["target"]


def test_a_busy_machine_does_not_count_its_own_delays(target: Path, fake: FakeWindows) -> None:
    """The time is up at once, but a quarter of it has to be spent on tries."""
    fake.volume.plan.fail("rename_by_handle", win.ERROR_SHARING_VIOLATION)
    sleep = fake.clocks.sleep

    def slowly(seconds: float) -> None:
        sleep(seconds)
        fake.clocks.now += 10

    fake.sleep = slowly
    with testing.use(fake, "win32"), pytest.raises(PermissionError):
        durably.write_bytes(target, b"new")
    assert len(fake.clocks.pauses) > 200
    assert sum(fake.clocks.pauses) == pytest.approx(0.5, abs=0.003)
    assert target.read_bytes() == b"old"
    assert listed(target.parent) == ["target"]


def test_a_reader_that_does_not_share_deletion(target: Path, fake: FakeWindows) -> None:
    with fake.volume.held(target), pytest.raises(PermissionError):
        durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"


def test_a_reader_that_shares_deletion(target: Path, fake: FakeWindows) -> None:
    with fake.volume.held(target, win.FILE_SHARE_READ | win.FILE_SHARE_DELETE):
        durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert fake.clocks.pauses == []


def test_a_held_file_is_rewritten_in_place_on_request(
    target: Path, fake: FakeWindows, tmp_path: Path
) -> None:
    with fake.volume.held(target):
        receipt = durably.write_bytes(target, b"newer", allow_in_place=True)
    assert receipt.in_place
    assert receipt.durability == "none"
    assert target.read_bytes() == b"newer"
    assert listed(tmp_path) == ["target"]


def test_a_directory_without_room_for_a_copy(
    target: Path, fake: FakeWindows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setenv("TEMP", str(spare))
    fake.volume.plan.fail("create_file", win.ERROR_ACCESS_DENIED, times=1)
    receipt = durably.write_bytes(target, b"newer", allow_in_place=True)
    assert receipt.in_place
    assert receipt.steps[0] == "create elsewhere"
    assert target.read_bytes() == b"newer"
    assert listed(spare) == []


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("0.25", 0.25)])
def test_the_patience_is_configurable(
    target: Path, monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    monkeypatch.setenv(PATIENCE, text)
    fake = FakeWindows()
    fake.volume.plan.fail("rename_by_handle", win.ERROR_SHARING_VIOLATION)
    with testing.use(fake, "win32"), pytest.raises(PermissionError):
        durably.write_bytes(target, b"new")
    assert sum(fake.clocks.pauses) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", ""])
def test_an_unusable_patience_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(PATIENCE, text)
    with pytest.raises(ValueError, match=PATIENCE):
        Windows(FakeWindows())


def test_a_target_that_becomes_read_only_fails_at_once(target: Path, fake: FakeWindows) -> None:
    with pytest.raises(PermissionError, match="read-only"), durably.open(target, "wb") as file:
        file.write(b"new")
        fake.volume.set_attributes(target, win.FILE_ATTRIBUTE_READONLY)
    assert fake.clocks.pauses == []
    assert target.read_bytes() == b"old"
    assert listed(target.parent) == ["target"]


def test_a_target_that_becomes_a_directory_fails_at_once(target: Path, fake: FakeWindows) -> None:
    with pytest.raises(IsADirectoryError), durably.open(target, "wb") as file:
        file.write(b"new")
        target.unlink()
        target.mkdir()
    assert fake.clocks.pauses == []
    assert listed(target.parent) == ["target"]


@pytest.mark.parametrize("code", [win.ERROR_FILE_NOT_FOUND, win.ERROR_ACCESS_DENIED])
def test_a_denial_that_cannot_be_explained_is_waited_out(target: Path, fake: FakeWindows, code: int) -> None:
    with durably.open(target, "wb") as file:
        file.write(b"new")
        fake.volume.plan.fail("rename_by_handle", win.ERROR_ACCESS_DENIED, times=2 * TRIES)
        fake.volume.plan.fail("get_file_attributes", code, times=2)
    assert target.read_bytes() == b"new"
    assert len(fake.clocks.pauses) == 2


# A rename whose answer was lost.


def renamed_without_an_answer(fake: FakeWindows) -> None:
    rename = fake.rename_by_handle

    def answer_lost(handle: int, path: str, flags: int) -> None:
        rename(handle, path, flags)
        raise windows_error(59, path)

    fake.rename_by_handle = answer_lost


def test_a_lost_answer_is_found_out(target: Path, fake: FakeWindows) -> None:
    renamed_without_an_answer(fake)
    with testing.use(fake, "win32"):
        receipt = durably.write_bytes(target, b"new")
    assert receipt.steps == STEPS
    assert target.read_bytes() == b"new"


def test_a_lost_answer_that_cannot_be_checked(target: Path, fake: FakeWindows) -> None:
    renamed_without_an_answer(fake)
    looked = fake.stat

    def denied(path: Any, **keywords: Any) -> os.stat_result:
        if target.read_bytes() == b"new":
            raise windows_error(win.ERROR_ACCESS_DENIED)
        return looked(path, **keywords)

    fake.stat = denied
    with testing.use(fake, "win32"), pytest.raises(OutcomeUnknownError):
        durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("lost", [False, True])
def test_files_without_numbers_are_told_apart_by_the_temporary(
    target: Path, fake: FakeWindows, lost: bool
) -> None:
    looked = fake.stat

    def unnumbered(path: Any, **keywords: Any) -> os.stat_result:
        found = looked(path, **keywords)
        return os.stat_result((found.st_mode, 0, *tuple(found)[2:]))

    fake.stat = unnumbered
    if lost:
        renamed_without_an_answer(fake)
    else:
        fake.volume.plan.fail("rename_by_handle", NO_SPACE)
    with testing.use(fake, "win32"):
        if lost:
            durably.write_bytes(target, b"new")
        else:
            with pytest.raises(OSError, match="112"):
                durably.write_bytes(target, b"new")
    assert target.read_bytes() == (b"new" if lost else b"old")
    assert listed(target.parent) == ["target"]


# Create only.


@pytest.mark.parametrize("posix", [True, False])
def test_create_only(tmp_path: Path, fake: FakeWindows, table: Any, posix: bool) -> None:
    if not posix:
        fake.volume.plan.fail("rename_by_handle", win.ERROR_INVALID_PARAMETER)
    durably.write_bytes(tmp_path / "new", b"data", overwrite=False)
    assert (tmp_path / "new").read_bytes() == b"data"
    move = next(call for call in table.record if call.name == ("rename_by_handle" if posix else "move_file"))
    assert move.arguments[2] == (win.FILE_RENAME_POSIX_SEMANTICS if posix else win.MOVEFILE_WRITE_THROUGH)


def test_create_only_refuses_at_once(target: Path, table: testing.RecordingSyscalls) -> None:
    with pytest.raises(FileExistsError):
        durably.write_bytes(target, b"new", overwrite=False)
    assert "create_file" not in table.names


@pytest.mark.parametrize("posix", [True, False])
def test_create_only_loses_the_race(tmp_path: Path, fake: FakeWindows, table: Any, posix: bool) -> None:
    if not posix:
        fake.volume.plan.fail("rename_by_handle", win.ERROR_INVALID_PARAMETER)
    path = tmp_path / "new"
    with pytest.raises(FileExistsError) as caught, durably.open(path, "xb") as file:
        file.write(b"ours")
        path.write_bytes(b"theirs")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"theirs"
    assert listed(tmp_path) == ["new"]


# What is refused before anything is written.


@pytest.mark.parametrize(
    "name",
    ["NUL", "con", "Com1", "lpt9.txt", "aux .tar.gz", "COM\u00b2", "conout$", "a:stream", "a.", "a "],
)
def test_names_that_mean_something_else(tmp_path: Path, table: testing.RecordingSyscalls, name: str) -> None:
    with pytest.raises(UnsupportedError, match="nothing was written"):
        durably.write_bytes(tmp_path / name, b"data")
    assert table.record == []
    assert listed(tmp_path) == []


@pytest.mark.parametrize("name", ["a?", "a*", "<a", 'a"', "a|b", "a\tb"])
def test_names_that_cannot_be(tmp_path: Path, table: testing.RecordingSyscalls, name: str) -> None:
    with pytest.raises(OSError, match="character") as caught:
        durably.write_bytes(tmp_path / name, b"data")
    assert caught.value.errno == errno.EINVAL
    assert table.record == []


@pytest.mark.parametrize("name", ["console", "com", "nulls.txt", ".nul", "com10", "\u00e9"])
def test_names_that_only_look_like_devices(
    tmp_path: Path, table: testing.RecordingSyscalls, name: str
) -> None:
    durably.write_bytes(tmp_path / name, b"data")
    assert listed(tmp_path) == [name]


def test_an_embedded_nul(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    with pytest.raises(ValueError, match="null"):
        durably.write_bytes(str(tmp_path / "a\0b"), b"data")
    assert listed(tmp_path) == []


@pytest.mark.parametrize(("path", "error"), [("", FileNotFoundError), ("a/", IsADirectoryError)])
def test_paths_without_a_name(table: testing.RecordingSyscalls, path: str, error: type[OSError]) -> None:
    with pytest.raises(error):
        durably.write_bytes(path, b"data")


def test_a_read_only_target(target: Path, fake: FakeWindows) -> None:
    fake.volume.set_attributes(target, win.FILE_ATTRIBUTE_READONLY)
    with pytest.raises(PermissionError, match="read-only"):
        durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert listed(target.parent) == ["target"]


def test_a_directory(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    with pytest.raises(IsADirectoryError):
        durably.write_bytes(tmp_path, b"data")


def test_a_pipe(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    LINUX.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsupportedError):
        durably.write_bytes(tmp_path / "pipe", b"data")


def test_a_missing_directory(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    with pytest.raises(FileNotFoundError):
        durably.write_bytes(tmp_path / "a" / "b", b"data")


def test_a_file_for_a_directory(target: Path, fake: FakeWindows) -> None:
    looked = fake.stat
    # Windows looks at the path itself, where Linux says ENOTDIR by itself.
    fake.stat = lambda path, **keywords: looked(target, **keywords)
    with testing.use(fake, "win32"), pytest.raises(NotADirectoryError):
        durably.write_bytes(target / "b", b"data")


def test_missing_directories_are_made(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    durably.write_bytes(tmp_path / "a" / "b" / "c", b"data", make_parents=True)
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"data"


def test_directories_that_were_made_are_removed(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    with pytest.raises(ZeroDivisionError), durably.open(tmp_path / "a" / "b" / "c", "wb", make_parents=True):
        raise ZeroDivisionError
    assert listed(tmp_path) == []


def test_a_directory_that_others_made_meanwhile_stays(tmp_path: Path, fake: FakeWindows) -> None:
    mkdir = fake.mkdir

    def beaten(path: str, mode: int) -> None:
        os.mkdir(path)
        mkdir(path, mode)

    fake.mkdir = beaten
    with (
        testing.use(fake, "win32"),
        pytest.raises(ZeroDivisionError),
        durably.open(tmp_path / "a" / "b", "wb", make_parents=True),
    ):
        raise ZeroDivisionError
    assert listed(tmp_path) == ["a"]


def test_permissions_are_declared_to_mean_nothing(target: Path) -> None:
    assert (
        "access control list" in durably.write_bytes(target, b"new", permissions=0o600).skipped["permissions"]
    )


def test_a_chdir_in_the_body(tmp_path: Path, table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with durably.open("name", "wb") as file:
        file.write(b"data")
        os.chdir("elsewhere")
    assert (tmp_path / "name").read_bytes() == b"data"


# Symbolic links.


@pytest.mark.parametrize("relative", [True, False])
def test_links_are_followed(tmp_path: Path, target: Path, relative: bool) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "link"
    link.symlink_to("../target" if relative else target)
    durably.write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert listed(tmp_path / "links") == ["link"]


def test_a_dangling_link_creates_its_referent(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    (tmp_path / "link").symlink_to("referent")
    durably.write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "referent").read_bytes() == b"new"


def test_links_are_replaced_on_request(tmp_path: Path, target: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    durably.write_bytes(link, b"new", symlinks="replace")
    assert not link.is_symlink()
    assert (link.read_bytes(), target.read_bytes()) == (b"new", b"old")


def test_a_link_to_a_directory_is_not_replaced(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    with pytest.raises(IsADirectoryError):
        durably.write_bytes(tmp_path / "link", b"new", symlinks="replace")


@pytest.mark.parametrize(
    ("options", "number"),
    [({"symlinks": "refuse"}, errno.ELOOP), ({"overwrite": False}, errno.EEXIST)],
)
def test_links_are_refused(tmp_path: Path, target: Path, options: Any, number: int) -> None:
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OSError, match="link") as caught:
        durably.write_bytes(tmp_path / "link", b"new", **options)
    assert caught.value.errno == number
    assert target.read_bytes() == b"old"


def test_a_loop_of_links(tmp_path: Path, table: testing.RecordingSyscalls) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match="one") as caught:
        durably.write_bytes(tmp_path / "one", b"new")
    assert caught.value.errno == errno.ELOOP


# Metadata.


def test_attributes_and_security_are_carried_over(target: Path, fake: FakeWindows) -> None:
    fake.volume.set_attributes(target, win.FILE_ATTRIBUTE_HIDDEN | win.FILE_ATTRIBUTE_SYSTEM)
    fake.volume.protect(target)
    receipt = durably.write_bytes(target, b"new")
    assert fake.volume.attributes_of(target) == win.FILE_ATTRIBUTE_HIDDEN | win.FILE_ATTRIBUTE_SYSTEM
    assert fake.volume.security_of(target) == (b"me", b"private")
    assert receipt.lost == ()


def test_the_temporary_is_never_looser(target: Path, fake: FakeWindows) -> None:
    fake.volume.protect(target)
    with durably.open(target, "wb"):
        (temporary,) = [entry for entry in target.parent.iterdir() if entry != target]
        assert fake.volume.security_of(temporary) == (b"me", b"private")


def test_fresh_metadata(target: Path, fake: FakeWindows) -> None:
    fake.volume.set_attributes(target, win.FILE_ATTRIBUTE_HIDDEN)
    fake.volume.protect(target)
    durably.write_bytes(target, b"new", metadata="fresh")
    assert fake.volume.attributes_of(target) == win.FILE_ATTRIBUTE_NORMAL
    assert fake.volume.security_of(target) == (b"me", b"inherited")


def test_an_owner_that_cannot_be_given(target: Path, fake: FakeWindows) -> None:
    fake.volume.protect(target, owner=b"somebody")
    receipt = durably.write_bytes(target, b"new")
    assert receipt.lost == ("owner",)
    assert fake.volume.security_of(target) == (b"me", b"private")


def test_security_that_cannot_be_read(target: Path, fake: FakeWindows) -> None:
    fake.volume.plan.fail("get_security", win.ERROR_ACCESS_DENIED)
    assert durably.write_bytes(target, b"new").lost == ("acl",)


@pytest.mark.parametrize("code", MISSING_RENAME)
def test_a_file_system_without_security(target: Path, fake: FakeWindows, code: int) -> None:
    fake.volume.plan.fail("get_security", code)
    fake.volume.plan.fail("list_streams", code)
    assert durably.write_bytes(target, b"new").lost == ()


def test_streams_that_cannot_be_listed(target: Path, fake: FakeWindows) -> None:
    fake.volume.plan.fail("list_streams", win.ERROR_ACCESS_DENIED)
    assert durably.write_bytes(target, b"new").lost == ("streams",)


def lose_everything(fake: FakeWindows, target: Path) -> None:
    fake.volume.set_attributes(target, win.FILE_ATTRIBUTE_COMPRESSED)
    found = target.stat()
    fake.volume.streams[found.st_dev, found.st_ino] = ["Zone.Identifier"]


def test_streams_and_compression_are_named_as_lost(target: Path, fake: FakeWindows) -> None:
    lose_everything(fake, target)
    assert durably.write_bytes(target, b"new").lost == ("stream:Zone.Identifier", "compression")


def test_compression_that_the_directory_gives_is_not_lost(target: Path, fake: FakeWindows) -> None:
    fake.volume.compresses = True
    fake.volume.set_attributes(target, win.FILE_ATTRIBUTE_COMPRESSED)
    assert durably.write_bytes(target, b"new").lost == ()


def test_encryption_is_asked_for(target: Path, fake: FakeWindows) -> None:
    fake.volume.set_attributes(target, win.FILE_ATTRIBUTE_ENCRYPTED)
    assert durably.write_bytes(target, b"new").lost == ()
    assert fake.volume.attributes_of(target) == win.FILE_ATTRIBUTE_ENCRYPTED


@pytest.mark.parametrize("what", ["owner", "acl", "stream", "compression"])
def test_strict_raises_before_anything_is_written(target: Path, fake: FakeWindows, what: str) -> None:
    match what:
        case "owner":
            fake.volume.protect(target, owner=b"somebody")
        case "acl":
            fake.volume.plan.fail("get_security", win.ERROR_ACCESS_DENIED)
        case "stream":
            lose_everything(fake, target)
        case "compression":
            fake.volume.set_attributes(target, win.FILE_ATTRIBUTE_COMPRESSED)
    with pytest.raises(OSError, match=f"cannot keep the old file's {what}"):
        durably.write_bytes(target, b"new", metadata="strict")
    assert target.read_bytes() == b"old"
    assert listed(target.parent) == ["target"]


# Streams of bytes, and files that others write.


@pytest.mark.parametrize(("mode", "content"), [("ab", b"oldmore"), ("r+b", b"more")])
def test_going_on_from_the_old_file(target: Path, fake: FakeWindows, mode: str, content: bytes) -> None:
    with durably.open(target, mode) as file:
        file.write(b"more")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == content
    assert fake.volume.handles == {}


def test_appending_appends_wherever_the_file_stands(target: Path) -> None:
    with durably.open(target, "a+b") as file:
        file.seek(0)
        file.write(b"!")
    assert target.read_bytes() == b"old!"


def test_a_discard_leaves_nothing(target: Path, fake: FakeWindows) -> None:
    writer = durably.open(target, "wb")
    writer.file.write(b"new")
    writer.discard()
    assert target.read_bytes() == b"old"
    assert listed(target.parent) == ["target"]
    assert fake.volume.handles == {}


def test_a_temporary_that_a_scanner_holds_is_removed_later(target: Path, fake: FakeWindows) -> None:
    with pytest.raises(ZeroDivisionError), durably.open(target, "wb"):
        fake.volume.plan.fail("unlink", win.ERROR_SHARING_VIOLATION, times=3 * TRIES)
        raise ZeroDivisionError
    assert len(fake.clocks.pauses) == 3
    assert listed(target.parent) == ["target"]


def test_a_temporary_that_stays_is_named(target: Path, fake: FakeWindows) -> None:
    with pytest.raises(ZeroDivisionError) as caught, durably.open(target, "wb"):
        fake.volume.plan.fail("unlink", win.ERROR_SHARING_VIOLATION)
        raise ZeroDivisionError
    (left,) = (entry for entry in target.parent.iterdir() if entry != target)
    assert caught.value.leftovers == (str(left),)  # type: ignore[attr-defined] # added


def test_a_staged_file_gets_what_ours_get(target: Path, fake: FakeWindows) -> None:
    fake.volume.protect(target)
    fake.volume.set_attributes(target, win.FILE_ATTRIBUTE_HIDDEN)
    saving = durably.staged_path(target)
    with saving as path:
        assert path.name == target.name
        path.write_bytes(b"new")
        fake.volume.set_attributes(path, win.FILE_ATTRIBUTE_READONLY)
    assert target.read_bytes() == b"new"
    assert fake.volume.security_of(target) == (b"me", b"private")
    assert fake.volume.attributes_of(target) == win.FILE_ATTRIBUTE_HIDDEN
    assert saving.receipt is not None
    assert saving.receipt.lost == ()
    assert listed(target.parent) == ["target"]


def test_a_new_staged_file_gets_the_access_of_its_directory(
    tmp_path: Path, fake: FakeWindows, table: Any
) -> None:
    with durably.staged_path(tmp_path / "new") as path:
        path.write_bytes(b"new")
        fake.volume.protect(path, access=b"the private directory's")
    assert fake.volume.security_of(tmp_path / "new") == (b"me", b"inherited")


def test_a_staged_file_cannot_get_another_owner(target: Path, fake: FakeWindows) -> None:
    fake.volume.protect(target, owner=b"somebody")
    saving = durably.staged_path(target)
    with saving as path:
        path.write_bytes(b"new")
    assert saving.receipt is not None
    assert saving.receipt.lost == ("owner",)


def test_a_staged_file_cannot_be_encrypted_afterwards(target: Path, fake: FakeWindows) -> None:
    fake.volume.set_attributes(target, win.FILE_ATTRIBUTE_ENCRYPTED)
    saving = durably.staged_path(target)
    with saving as path:
        path.write_bytes(b"new")
    assert saving.receipt is not None
    assert saving.receipt.lost == ("encryption",)


@pytest.mark.parametrize("old", [True, False])
def test_an_access_list_that_cannot_be_set(target: Path, fake: FakeWindows, old: bool) -> None:
    if not old:
        target.unlink()
    fake.volume.plan.fail("set_security", win.ERROR_ACCESS_DENIED)
    saving = durably.staged_path(target)
    with saving as path:
        path.write_bytes(b"new")
    assert saving.receipt is not None
    assert saving.receipt.lost == (("acl",) if old else ())
    assert ("acl" in saving.receipt.skipped) is not old


def test_a_staged_file_on_a_file_system_without_security(target: Path, fake: FakeWindows) -> None:
    fake.volume.plan.fail("get_security", win.ERROR_NOT_SUPPORTED)
    fake.volume.plan.fail("set_security", NO_SPACE)
    with durably.staged_path(target) as path:
        path.write_bytes(b"new")
    assert target.read_bytes() == b"new"


def test_read_only_and_nested_leftovers_are_removed(target: Path, fake: FakeWindows) -> None:
    with pytest.raises(OSError, match="other files"), durably.staged_path(target) as path:
        path.write_bytes(b"new")
        (path.parent / "nested").mkdir()
        (path.parent / "nested" / "file").write_bytes(b"")
        fake.volume.set_attributes(path.parent / "nested" / "file", win.FILE_ATTRIBUTE_READONLY)
    assert listed(target.parent) == ["target"]


def test_a_removal_does_not_follow_a_link_to_a_directory(
    target: Path, tmp_path: Path, fake: FakeWindows
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"kept")
    removed: list[str] = []

    def remove_link(path: str) -> None:
        removed.append(os.path.basename(path))
        os.unlink(path) if os.path.islink(path) else os.rmdir(path)

    fake.rmdir = remove_link  # RemoveDirectoryW removes such links
    with (
        testing.use(fake, "win32"),
        pytest.raises(ZeroDivisionError),
        durably.staged_path(target) as path,
    ):
        (path.parent / "link").symlink_to(tmp_path / "kept")
        raise ZeroDivisionError
    assert removed[0] == "link"
    assert (tmp_path / "kept" / "file").read_bytes() == b"kept"


@pytest.mark.parametrize("private", [False, True])
def test_a_name_that_is_taken_is_left_alone(
    target: Path, fake: FakeWindows, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    fresh = temp_names.fresh
    taken = fresh("d" if private else "h")
    (target.parent / taken).mkdir()
    names = iter(["model", taken] if private else [taken])
    monkeypatch.setattr(temp_names, "fresh", lambda kind: next(names, None) or fresh(kind))
    if private:
        with durably.staged_path(target) as path:
            path.write_bytes(b"new")
    else:
        durably.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert listed(target.parent) == sorted([taken, "target"])


def test_a_lock_that_cannot_be_closed_is_noted(target: Path, fake: FakeWindows) -> None:
    close = fake.close_handle

    def closed_badly(handle: int) -> None:
        directory = os.path.isdir(f"/proc/self/fd/{handle}")
        close(handle)
        if directory:
            raise windows_error(NO_SPACE)

    fake.close_handle = closed_badly
    with testing.use(fake, "win32"):
        saving = durably.staged_path(target)
        with saving as path:
            path.write_bytes(b"new")
    assert saving.receipt is not None
    assert "112" in saving.receipt.skipped["close"]
    assert listed(target.parent) == ["target"]


def test_no_temporary_is_without_a_name(target: Path, table: testing.RecordingSyscalls) -> None:
    with durably.open(target, "wb"):
        assert len(listed(target.parent)) == 2
    with pytest.raises(NotImplementedError):
        _commit.routine().link(PendingFile(str(target), Options()))


def test_write_out_is_not_started_early(target: Path, table: testing.RecordingSyscalls) -> None:
    durably.write_bytes(target, bytes(17 << 20))
    assert target.stat().st_size == 17 << 20
    assert table.names.count("fsync") == 1


def test_a_directory_that_others_use_by_now_stays(tmp_path: Path, fake: FakeWindows, table: Any) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        durably.open(tmp_path / "a" / "b" / "c", "wb", make_parents=True),
    ):
        (tmp_path / "a" / "theirs").write_bytes(b"")
        raise ZeroDivisionError
    assert listed(tmp_path / "a") == ["theirs"]


def test_a_directory_that_could_not_be_made(tmp_path: Path, fake: FakeWindows) -> None:
    mkdir = fake.mkdir

    def refused(path: str, mode: int) -> None:
        if os.path.basename(path) == "b":
            raise windows_error(win.ERROR_ACCESS_DENIED, path)
        mkdir(path, mode)

    fake.mkdir = refused
    with testing.use(fake, "win32"), pytest.raises(PermissionError):
        durably.write_bytes(tmp_path / "a" / "b" / "c", b"data", make_parents=True)
    assert listed(tmp_path) == []


def test_what_is_in_a_directory_is_looked_up(target: Path) -> None:
    assert _commit.routine().lookup(str(target.parent), "target").st_size == 3


# Liveness.


@pytest.mark.parametrize("private", [False, True])
def test_what_a_live_writer_has_cannot_be_claimed(target: Path, private: bool) -> None:
    routine = _commit.routine()
    directory = routine.open_directory(str(target.parent))
    with durably.staged_path(target) if private else durably.open(target, "wb") as made:
        (name,) = (entry for entry in listed(target.parent) if entry != "target")
        assert temp_names.parse(name) is not None
        assert routine.try_lock(directory, name) is None
        if private:
            made.write_bytes(b"new")  # type: ignore[union-attr] # a path
    assert listed(target.parent) == ["target"]


@pytest.mark.parametrize("kind", ["h", "d"])
def test_what_nobody_has_can_be_claimed_and_removed(
    tmp_path: Path, fake: FakeWindows, table: Any, kind: Any
) -> None:
    name = temp_names.fresh(kind)
    (tmp_path / name).mkdir() if kind == "d" else (tmp_path / name).write_bytes(b"")
    routine = _commit.routine()
    directory = routine.open_directory(str(tmp_path))
    claim = routine.try_lock(directory, name)
    assert claim is not None
    assert routine.try_lock(directory, name) is None
    routine.remove_locked(directory, name, claim)
    routine.remove_entry(directory, name)
    routine.close_directory(directory)
    assert listed(tmp_path) == []


def test_a_claim_that_cannot_be_made_is_an_error(tmp_path: Path, fake: FakeWindows, table: Any) -> None:
    fake.volume.plan.fail("create_file", win.ERROR_ACCESS_DENIED)
    with pytest.raises(PermissionError):
        _commit.routine().try_lock(str(tmp_path), "name")


def test_every_temporary_is_of_the_kind_whose_handle_is_its_lock(target: Path, table: Any) -> None:
    durably.write_bytes(target, b"new")
    made = next(call.arguments[0] for call in table.record if call.name == "create_file")
    assert os.path.basename(made).startswith(".durably-h-")


def test_processes_are_asked_for_without_a_signal(table: testing.RecordingSyscalls) -> None:
    routine = _commit.routine()
    assert routine.is_running(temp_names.Maker("0", "0", os.getpid(), 0))
    assert not routine.is_running(temp_names.Maker("0", "0", 1 << 30, 0))


def test_a_directory_is_opened_only_if_it_is_one(target: Path) -> None:
    with pytest.raises(NotADirectoryError):
        _commit.routine().open_directory(str(target))


def test_no_replace_is_tried(tmp_path: Path, fake: FakeWindows, table: Any) -> None:
    assert durably.probe(tmp_path).supports == {"no-replace"}
    fake.volume.plan.fail("create_file", win.ERROR_ACCESS_DENIED)
    assert durably.probe(tmp_path).supports == frozenset()
    assert listed(tmp_path) == []


def test_a_system_that_replaces_all_the_same_is_found_out(tmp_path: Path, fake: FakeWindows) -> None:
    fake.move_file = lambda old, new, flags: os.rename(old, new)
    with testing.use(fake, "win32"):
        assert durably.probe(tmp_path).supports == frozenset()
    assert listed(tmp_path) == []


def test_an_error_of_the_disk_while_trying_is_raised(tmp_path: Path, fake: FakeWindows, table: Any) -> None:
    fake.volume.plan.fail("move_file", NO_SPACE)
    with pytest.raises(OSError, match="112"):
        durably.probe(tmp_path)
    assert listed(tmp_path) == []


# Paths of Windows itself.


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = SimpleNamespace(
        split=ntpath.split, abspath=lambda path: ntpath.normpath(ntpath.join("C:\\here", path))
    )
    there = SimpleNamespace(path=paths, getcwd=lambda: "C:\\here", strerror=os.strerror)
    monkeypatch.setattr(_windows_paths, "os", there)


@pytest.mark.parametrize(
    ("path", "directory", "name"),
    [
        ("name", "C:\\here", "name"),
        ("a/b\\c", "C:\\here\\a\\b", "c"),
        ("D:\\a\\..\\b\\c", "D:\\b", "c"),
        ("D:/c", "D:\\", "c"),
        ("\\\\server\\share\\a", "\\\\server\\share\\", "a"),
        ("\\\\?\\C:\\a\\nul.", "\\\\?\\C:\\a", "nul."),
    ],
)
def test_paths_are_split(on_windows: None, path: str, directory: str, name: str) -> None:
    assert _windows_paths.split(path) == (directory, name)


@pytest.mark.parametrize("path", ["\\\\.\\COM1", "//./pipe/x", "C:\\a\\NUL", "C:\\a:b", "\\\\?\\C:\\a:b"])
def test_paths_of_other_things(on_windows: None, path: str) -> None:
    with pytest.raises(UnsupportedError):
        _windows_paths.split(path)


@pytest.mark.parametrize(
    ("start", "prefixed"),
    [
        ("C:\\", "\\\\?\\C:\\"),
        ("\\\\server\\share\\", "\\\\?\\UNC\\server\\share\\"),
        ("\\\\?\\C:\\", "\\\\?\\C:\\"),
        ("/", "/"),
    ],
)
def test_long_paths_get_a_prefix(start: str, prefixed: str) -> None:
    assert _windows_paths.extended(start + "d" * 100, 90) == start + "d" * 100
    assert _windows_paths.extended(start + "d" * 200, 90) == prefixed + "d" * 200


# Every call fails in turn.


def by_bytes(path: Path, **options: Any) -> None:
    durably.write_bytes(path, b"new", **options)


def by_stream(path: Path, **options: Any) -> None:
    with durably.open(path, "wb", **options) as file:
        file.write(b"new")


def by_append(path: Path, **options: Any) -> None:
    with durably.open(path, "ab", **options) as file:
        file.truncate(0)
        file.write(b"new")


def by_others(path: Path, **options: Any) -> None:
    with durably.staged_path(path, **options) as staged:
        staged.write_bytes(b"new")


def check(save: EntryPoint, path: Path, options: Any, table: testing.FailingSyscalls) -> None:
    old = path.read_bytes() if path.exists() else None
    before = set(path.parent.iterdir())
    error: OSError | None = None
    expected: tuple[bytes | None, ...] = (b"new",)
    try:
        save(path, **options)
    except OSError as caught:
        error = caught
        expected = (old, b"new") if isinstance(caught, OutcomeUnknownError) else (old,)
    now = path.read_bytes() if path.exists() else None
    assert now in expected, (table.failed, error)
    left = {str(entry) for entry in set(path.parent.iterdir()) - before - {path}}
    if error is None:
        # The tidying of a published save: its receipt names what is left.
        assert all(os.path.basename(entry).startswith(".durably-d-") for entry in left), table.failed
    else:
        assert left <= set(getattr(error, "leftovers", ())), (table.failed, error)


@pytest.mark.parametrize("save", [by_bytes, by_stream, by_append, by_others])
@pytest.mark.parametrize("options", [{}, {"overwrite": False}, {"durability": "none"}], ids=str)
@pytest.mark.parametrize("codes", [False, True])
def test_every_call_fails_in_turn(tmp_path: Path, save: Any, options: Any, codes: bool) -> None:
    if save is by_append and not options.get("overwrite", True):
        options = {}
    failures = every_windows_failure() if codes else testing.every_failure(system="win32", base=FakeWindows())
    turns = 0
    for turn, table in enumerate(failures):
        path = tmp_path / str(turn) / "target"
        path.parent.mkdir()
        if options.get("overwrite", True):
            path.write_bytes(b"old")
        check(save, path, options, table)
        turns += 1
    assert turns > 20


# The local copy that a store's file is changed in.


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As tempfile does on Windows, which has no unnamed files. Returns the directory of the copies."""
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    place = tmp_path / "copies"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setattr(tempfile, "TemporaryFile", tempfile.NamedTemporaryFile)
    return place


@pytest.mark.parametrize("mode", ["ab", "ab+"])
@pytest.mark.parametrize("old", [None, b"old "])
def test_a_file_of_a_store_is_appended_to(
    table: testing.RecordingSyscalls, named: Path, mode: str, old: bytes | None
) -> None:
    url = f"memory://{named.parent.name}/file"
    if old is not None:
        durably.write_bytes(url, old)
    writer = durably.open(url, mode)
    with writer as file:
        file.write(b"one ")
        file.seek(0)
        file.write(b"two")
    with durably.open(url, "rb+") as file:
        assert file.read() == (old or b"") + b"one two"
    assert listed(named) == []


def test_a_file_of_a_store_that_cannot_be_appended_to(
    table: testing.RecordingSyscalls, fake: FakeWindows, named: Path
) -> None:
    fake.volume.plan.fail("create_file", win.ERROR_ACCESS_DENIED)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PermissionError):
        durably.open(f"memory://{named.parent.name}/file", "ab")
    assert listed(named) == []
    assert len(os.listdir("/proc/self/fd")) == before
