"""What Windows itself does with a save: sharing, names, paths, text, metadata. Real calls only."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import (
    EVERYBODY,
    needs_access_lists,
    needs_hidden_files,
    needs_open_files_replaced,
    needs_posix_rename,
    needs_streams,
    needs_windows,
    posix_rename,
)
from disk import NEW, OLD, names
from durably import UnsupportedError
from durably._commit.windows.handles import PATIENCE
from durably._system.native import win32 as win
from durably._system.syscalls import Syscalls
from durably.testing import RecordingSyscalls, use
from entry_points import BY_NAME, MAIN, EntryPoint, attempt, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = needs_windows
every_entry_point = pytest.mark.parametrize("entry_point", MAIN, ids=shown)
EVERY_RIGHT = win.FILE_SHARE_READ | win.FILE_SHARE_WRITE | win.FILE_SHARE_DELETE
HOLD = "import sys; file = open(sys.argv[1], 'rb'); print(flush=True); sys.stdin.read()"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Do not try for two seconds what cannot work."""
    monkeypatch.setenv(PATIENCE, "0.05")
    with use(Syscalls()):
        yield


class Waiting(RecordingSyscalls):
    """A table that counts the waits for others. ``release``: what the others do at the third."""

    def __init__(self, release: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.waits = 0
        sleep = self.sleep

        def counted(seconds: float) -> None:
            self.waits += 1
            if self.waits == 3 and release is not None:
                release()
            sleep(seconds)

        self.sleep = counted


@contextmanager
def opened(path: Path, share: int) -> Iterator[int]:
    handle = win.create_file(str(path), win.GENERIC_READ, share, win.OPEN_EXISTING, 0)
    try:
        yield handle
    finally:
        win.close_handle(handle)


def saved(entry_point: EntryPoint, path: Path, **options: Any) -> durably.Receipt:
    receipt = entry_point.save(path, NEW, **options)
    assert path.read_bytes() == NEW
    return receipt


# The receipt.


@every_entry_point
@pytest.mark.parametrize("there", [True, False], ids=["replaced", "new"])
def test_a_save(target: Path, entry_point: EntryPoint, there: bool) -> None:
    if not there:
        target.unlink()
    receipt = saved(entry_point, target)
    assert receipt.steps[-2:] == ("fsync", "rename")
    assert receipt.replaced is there
    assert "Windows has no fsync for directories" in receipt.skipped["fsync directory"]
    assert receipt.durability != "durable"
    assert receipt.lost == ()
    assert ("posix rename" in receipt.skipped) is bool(posix_rename())
    assert names(target.parent) == ["file"]


@every_entry_point
def test_what_probe_says_is_what_receipts_say(target: Path, entry_point: EntryPoint) -> None:
    found = durably.probe(target)
    assert found.routine == "windows"
    assert "no-replace" in found.supports
    assert found.durable != "yes"
    kept = saved(entry_point, target).durability
    assert (kept == "consistent") is (found.crash == "yes")


# Those who hold the target.


@every_entry_point
def test_a_reader_that_closes_the_file_after_a_while(target: Path, entry_point: EntryPoint) -> None:
    with target.open("rb") as file:
        table = Waiting(file.close)
        with use(table):
            saved(entry_point, target)
    assert names(target.parent) == ["file"]
    assert table.waits >= 3


@needs_open_files_replaced
def test_a_reader_that_keeps_the_file(target: Path) -> None:
    with target.open("rb") as file:
        saved(BY_NAME["write_bytes"], target)
        assert file.read() == OLD


@every_entry_point
@pytest.mark.usefixtures("short")
def test_a_reader_that_never_closes_the_file(target: Path, entry_point: EntryPoint) -> None:
    table = Waiting()
    with target.open("rb") as file:
        with use(table), pytest.raises(PermissionError) as caught:
            entry_point.save(target, NEW)
        assert file.read() == OLD
    assert caught.value.filename == str(target)
    assert caught.value.winerror in (win.ERROR_ACCESS_DENIED, win.ERROR_SHARING_VIOLATION)  # type: ignore[attr-defined, unused-ignore]
    assert table.waits > 0
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["file"]
    saved(entry_point, target)


@needs_posix_rename
@every_entry_point
def test_a_reader_that_shares_deletion_keeps_the_old_file(target: Path, entry_point: EntryPoint) -> None:
    table = Waiting()
    with opened(target, EVERY_RIGHT) as handle, use(table):
        saved(entry_point, target)
        old = win.open_osfhandle(handle, os.O_RDONLY)
        assert os.read(old, 1 << 10) == OLD
    assert table.waits == 0


@pytest.mark.skipif(not posix_rename(), reason="has POSIX renames")
@pytest.mark.usefixtures("short")
def test_without_posix_renames_sharing_deletion_does_not_help(target: Path) -> None:
    with opened(target, EVERY_RIGHT), pytest.raises(PermissionError):
        durably.write_bytes(target, NEW)
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["file"]


def test_a_reader_in_another_process_that_is_killed(target: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        table = Waiting(child.kill)
        with use(table):
            saved(BY_NAME["write_bytes"], target)
    assert table.waits >= 3


@every_entry_point
def test_nobody_can_hold_the_temporary_so_that_it_cannot_be_renamed(
    target: Path, entry_point: EntryPoint
) -> None:
    """It is open with the right to be deleted: others open it sharing deletion, or not at all."""
    held: list[int] = []

    class Scanned(Waiting):
        def _before(self, name: str, arguments: Any, keywords: Any, function: Any) -> None:
            if name in ("rename_by_handle", "move_file") and not held:
                (staged,) = (entry for entry in target.parent.rglob("*") if entry not in (target, *folders()))
                with pytest.raises(PermissionError), opened(staged, EVERY_RIGHT - win.FILE_SHARE_DELETE):
                    pass
                held.append(win.create_file(str(staged), win.GENERIC_READ, EVERY_RIGHT, win.OPEN_EXISTING, 0))

    def folders() -> list[Path]:
        return [entry for entry in target.parent.iterdir() if entry.is_dir()]

    table = Scanned()
    with use(table):
        saved(entry_point, target)
    win.close_handle(*held)
    assert table.waits == 0
    assert names(target.parent) == ["file"]


@pytest.mark.usefixtures("short")
def test_a_map_of_the_target(target: Path) -> None:
    """A section keeps the file from being replaced, also when its descriptor is closed."""
    import mmap

    with target.open("rb") as file:
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with view:
        receipt, error = attempt(durably.write_bytes, target, NEW)
        assert view[:] == OLD
    assert target.read_bytes() == (NEW if receipt else OLD)
    assert receipt is not None or isinstance(error, PermissionError)
    assert names(target.parent) == ["file"]


@every_entry_point
def test_a_read_only_target_fails_at_once(target: Path, entry_point: EntryPoint) -> None:
    target.chmod(0o400)
    table = Waiting()
    with use(table), pytest.raises(PermissionError, match="read-only"):
        entry_point.save(target, NEW)
    assert table.waits == 0
    target.chmod(0o600)
    assert target.read_bytes() == OLD
    assert names(target.parent) == ["file"]


@every_entry_point
def test_a_directory_is_not_replaced(tmp_path: Path, entry_point: EntryPoint) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        entry_point.save(tmp_path / "file", NEW)
    assert names(tmp_path) == ["file"]


def test_create_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    saved(BY_NAME["write_bytes create"], path)
    with pytest.raises(FileExistsError):
        durably.write_bytes(path, OLD, overwrite=False)
    with pytest.raises(FileExistsError), durably.open(tmp_path / "late", "x") as file:
        file.write("late")
        (tmp_path / "late").write_bytes(OLD)
    assert (tmp_path / "late").read_bytes() == OLD
    assert names(tmp_path) == ["file", "late"]


# Names.


@every_entry_point
@pytest.mark.parametrize(
    "name", ["CON", "nul", "Aux.txt", "com1", "LPT9.log", "file.", "file ", "file:stream", "con .txt", "a.. "]
)
def test_names_that_mean_something_else(tmp_path: Path, entry_point: EntryPoint, name: str) -> None:
    with pytest.raises(UnsupportedError):
        entry_point.save(Path(f"{tmp_path}\\{name}"), NEW)
    assert names(tmp_path) == []


@every_entry_point
@pytest.mark.parametrize("name", ["a?b", "a<b", "a|b", 'a"b', "a*b", "a\tb"])
def test_names_that_cannot_be(tmp_path: Path, entry_point: EntryPoint, name: str) -> None:
    with pytest.raises(OSError, match="no name on Windows may have") as caught:
        entry_point.save(Path(f"{tmp_path}\\{name}"), NEW)
    assert caught.value.errno == errno.EINVAL
    assert names(tmp_path) == []


@every_entry_point
def test_a_name_ending_in_a_dot_is_taken_literally_after_the_prefix(
    tmp_path: Path, entry_point: EntryPoint
) -> None:
    path = f"\\\\?\\{tmp_path}\\file."
    entry_point.save(Path(path), NEW)
    assert names(tmp_path) == ["file."]
    with open(path, "rb") as file:
        assert file.read() == NEW
    os.unlink(path)


@every_entry_point
def test_case_does_not_count(target: Path, entry_point: EntryPoint) -> None:
    receipt = entry_point.save(target.with_name("FILE"), NEW)
    assert receipt.replaced
    assert target.read_bytes() == NEW
    assert len(names(target.parent)) == 1
    with pytest.raises(FileExistsError):
        durably.write_bytes(target.with_name("File"), OLD, overwrite=False)


# Paths.


@every_entry_point
@pytest.mark.parametrize("prefix", ["", "\\\\?\\"], ids=["plain", "prefixed"])
def test_long_paths(tmp_path: Path, entry_point: EntryPoint, prefix: str) -> None:
    directory = f"\\\\?\\{tmp_path}" + "\\long directory" * 20
    os.makedirs(directory)
    path = f"{directory}\\file"
    assert len(path) > 300
    entry_point.save(Path(prefix + path[4:]), NEW)
    with open(path, "rb") as file:
        assert file.read() == NEW
    assert os.listdir(directory) == ["file"]


def test_a_component_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(OSError):  # noqa: PT011 # 2 or 123 or 206, by version
        durably.write_bytes(tmp_path / ("n" * 256), NEW)
    assert names(tmp_path) == []


@every_entry_point
def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry_point: EntryPoint) -> None:
    """Relative to the directory, to that of the drive, and to the drive's root."""
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    drive = os.path.splitdrive(tmp_path)[0]
    for number, path in enumerate(("file", "a\\file", "a/file", f"{drive}file", f"{drive}a\\file")):
        new = NEW + bytes(number)
        entry_point.save(Path(path), new)
        assert Path(path).read_bytes() == new
    rooted = str(tmp_path / "rooted")[len(drive) :]
    entry_point.save(Path(rooted), NEW)
    assert names(tmp_path) == ["a", "file", "rooted"]
    assert names(tmp_path / "a") == ["file"]


def test_a_relative_path_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    with durably.open(os.path.splitdrive(tmp_path)[0] + "file", "wb") as file:
        file.write(NEW)
        os.chdir("a")
    assert names(tmp_path) == ["a", "file"]


def test_the_path_of_a_device(tmp_path: Path) -> None:
    for path in ("\\\\.\\NUL", "//./pipe/durably", "NUL", "conout$"):
        with pytest.raises(UnsupportedError):
            durably.write_bytes(path, NEW)


@pytest.fixture
def share(target: Path) -> str:
    """The target's path through a share of this machine."""
    drive, rest = os.path.splitdrive(target)
    path = f"\\\\localhost\\{drive[0]}${rest}"
    if not os.path.exists(path):
        pytest.skip("no share of this machine's drive can be reached")
    return path


@every_entry_point
@pytest.mark.parametrize("prefixed", [False, True])
def test_a_share_of_this_machine(target: Path, share: str, entry_point: EntryPoint, prefixed: bool) -> None:
    receipt = entry_point.save(Path(f"\\\\?\\UNC{share[1:]}" if prefixed else share), NEW)
    assert receipt.replaced
    assert receipt.durability == "none"  # the server decides
    assert target.read_bytes() == NEW


# fsspec.


@pytest.mark.parametrize("mode", ["ab", "at", "ab+", "rb+"])
def test_a_file_of_a_store_is_changed_in_a_local_copy(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    url = f"memory://{tmp_path.name}/file"
    durably.write_bytes(url, b"old ")
    with durably.open(url, mode) as file:
        if mode == "rb+":
            file.seek(4)
        file.write("new" if mode == "at" else b"new")
    with durably.open(url, "rb+") as file:
        assert file.read() == b"old new"
    assert names(tmp_path) == []


@pytest.mark.parametrize("start", ["durable://", ""])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("C:\\a\\b", "C:/a/b"),
        ("C:/a\\b", "C:/a/b"),
        ("\\\\server\\share\\b", "//server/share/b"),
        ("//server/share/b", "//server/share/b"),
    ],
)
def test_what_fsspec_calls_a_path(start: str, path: str, name: str) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    from durably.filesystem import DurableFileSystem

    assert DurableFileSystem._strip_protocol(start + path) == name


@pytest.mark.parametrize("slash", ["/", "\\"])
def test_saving_through_fsspec(target: Path, slash: str) -> None:
    fsspec: Any = pytest.importorskip("fsspec", reason="fsspec is not installed")
    url = f"durable://{target}".replace("\\", slash)
    with fsspec.open(url, "wb") as file:
        file.write(NEW)
        assert target.read_bytes() == OLD
    assert target.read_bytes() == NEW
    fs, name = fsspec.url_to_fs(url)
    fs.pipe(f"{name}2", OLD)
    fs.mv(f"{name}2", name)
    assert fs.ls(str(target.parent)) == [target.as_posix()]
    assert target.read_bytes() == OLD


@pytest.mark.parametrize("slash", ["/", "\\"])
def test_saving_to_a_share_through_fsspec(target: Path, share: str, slash: str) -> None:
    fsspec: Any = pytest.importorskip("fsspec", reason="fsspec is not installed")
    url = "durable://" + share.replace("\\", slash)
    with fsspec.open(url, "wb") as file:
        file.write(NEW)
        assert target.read_bytes() == OLD
    assert target.read_bytes() == NEW
    fs, name = fsspec.url_to_fs(url)
    assert fs.ls(name.rpartition("/")[0]) == [name]


# Text.


def test_line_ends(target: Path) -> None:
    durably.write_text(target, "a\nb\r\nc")
    assert target.read_bytes() == b"a\r\nb\r\r\nc"  # as pathlib's
    durably.write_text(target, "a\nb\r\n", newline="")
    assert target.read_bytes() == b"a\nb\r\n"
    durably.atomic_write(target, "a\nb\r\n")
    assert target.read_bytes() == b"a\nb\r\n"
    with durably.open(target, "w") as file:
        file.write("a\n")
    assert target.read_bytes() == b"a\r\n"
    with durably.open(target, "a", newline="\n") as file:
        file.write("b\n")
    assert target.read_bytes() == b"a\r\nb\n"
    with durably.open(target, "r+") as file:
        assert file.read() == "a\nb\n"


# Metadata.


@every_entry_point
@needs_hidden_files
@pytest.mark.parametrize(("metadata", "kept"), [("preserve", True), ("strict", True), ("fresh", False)])
def test_a_hidden_file(target: Path, entry_point: EntryPoint, metadata: str, kept: bool) -> None:
    win.set_file_attributes(str(target), win.FILE_ATTRIBUTE_HIDDEN)
    receipt = saved(entry_point, target, metadata=metadata)
    attributes = win.get_file_attributes(str(target))
    assert bool(attributes & win.FILE_ATTRIBUTE_HIDDEN) is kept
    assert receipt.lost == ()


@needs_access_lists
@every_entry_point
@pytest.mark.parametrize(("metadata", "kept"), [("preserve", True), ("strict", True), ("fresh", False)])
def test_the_access_list(target: Path, entry_point: EntryPoint, metadata: str, kept: bool) -> None:
    target.unlink()
    access = win.GENERIC_WRITE | win.WRITE_DAC
    handle = win.create_file(str(target), access, 0, win.CREATE_NEW, 0, EVERYBODY)
    win.close_handle(handle)
    old = win.get_security(str(target), win.DACL_SECURITY_INFORMATION)
    saved(entry_point, target, metadata=metadata)
    assert (win.get_security(str(target), win.DACL_SECURITY_INFORMATION) == old) is kept


@needs_streams
@every_entry_point
def test_streams_are_named_as_lost(target: Path, entry_point: EntryPoint) -> None:
    target.with_name("file:stream").write_bytes(b"hidden")
    assert saved(entry_point, target).lost == ("stream:stream",)
    assert win.list_streams(str(target)) == []


@needs_streams
@every_entry_point
def test_strict_does_not_lose_a_stream(target: Path, entry_point: EntryPoint) -> None:
    target.with_name("file:stream").write_bytes(b"hidden")
    with pytest.raises(OSError, match="stream"):
        entry_point.save(target, NEW, metadata="strict")
    assert target.read_bytes() == OLD
    assert win.list_streams(str(target)) == ["stream"]
    assert names(target.parent) == ["file"]
