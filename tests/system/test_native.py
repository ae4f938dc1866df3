"""The native calls of other systems, as far as Linux can run them: arguments, layouts, answers.

The functions of the other systems' libraries are stood in for; what they do is tested there.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from capabilities import needs_linux
from durably._system.native import darwin, win32, win32_dll
from fakes import windows_error

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = needs_linux

INVALID = ctypes.c_void_p(-1).value


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Stand in for functions of Win32; a failure of theirs is the last error that was set."""
    monkeypatch.setattr(win32_dll, "failure", lambda path=None: windows_error(fail.code, path))

    def stand_in(**functions: Callable[..., Any]) -> None:
        for name, function in functions.items():
            monkeypatch.setitem(win32_dll.bound, name, function)

    return stand_in


class fail:  # noqa: N801 # used like a function
    """A Win32 function that fails with this code; ``result`` is how it says so."""

    code = 0

    def __init__(self, code: int, result: Any = 0) -> None:
        self.number = code
        self.result = result

    def __call__(self, *arguments: object) -> Any:
        fail.code = self.number
        return self.result


# On a system that lacks them.


@pytest.mark.parametrize(
    "call",
    [
        lambda: win32.create_file("a", 0, 0, 0, 0),
        lambda: win32.open_osfhandle(0, 0),
        lambda: win32.get_osfhandle(0),
        win32_dll.failure,
    ],
)
def test_calls_of_windows_do_not_exist_elsewhere(call: Callable[[], object]) -> None:
    with pytest.raises(NotImplementedError, match="on this system"):
        call()


def test_a_missing_call_of_macos_is_an_old_kernel() -> None:
    with pytest.raises(OSError, match="renameatx_np") as caught:
        darwin.renameatx_np(0, "a", 0, "b", 0)
    assert caught.value.errno == errno.ENOSYS


# macOS.


def test_the_answer_of_a_call_of_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Linux has a function of this name too: with another structure, but it fails in the same way.
    monkeypatch.setattr(darwin._c, "bound", {})
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        darwin.fstatfs(-1)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        darwin.fstatfs(fd)
    finally:
        os.close(fd)


def test_the_file_system_is_read_from_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fstatfs(fd: int, buffer: Any) -> None:
        assert len(buffer) == 2168
        buffer[64:68] = (darwin.MNT_LOCAL | darwin.MNT_JOURNALED).to_bytes(4, "little")
        buffer[72:77] = b"apfs\0"

    monkeypatch.setitem(darwin._c.bound, "fstatfs", fstatfs)
    assert darwin.fstatfs(3) == ("apfs", darwin.MNT_LOCAL | darwin.MNT_JOURNALED)


def test_names_go_out_as_bytes_and_a_copy_without_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    for name in ("renameatx_np", "fclonefileat", "fcopyfile"):
        monkeypatch.setitem(darwin._c.bound, name, lambda *arguments: calls.append(arguments))
    darwin.renameatx_np(3, "\udcff", 4, "b", darwin.RENAME_EXCL)
    darwin.fclonefileat(3, 4, "\udcff", 0)
    darwin.fcopyfile(3, 4, darwin.COPYFILE_ACL)
    assert calls == [(3, b"\xff", 4, b"b", 4), (3, 4, b"\xff", 0), (3, 4, None, 1)]


def test_the_boot_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def sysctlbyname(name: bytes, buffer: Any, size: Any, *_: object) -> None:
        assert name == b"kern.bootsessionuuid"
        buffer.value = b"ABCD-12"

    monkeypatch.setitem(darwin._c.bound, "sysctlbyname", sysctlbyname)
    assert darwin.boot_session() == "ABCD-12"


# Windows.


def test_create_file(foreign: Any) -> None:
    seen: list[Any] = []

    def create(*arguments: Any) -> int:
        seen.append(arguments)
        return 7

    foreign(CreateFileW=create)
    assert win32.create_file("a", win32.DELETE, 4, win32.CREATE_NEW, 2) == 7
    assert seen.pop() == ("a", win32.DELETE, 4, None, win32.CREATE_NEW, 2, None)
    win32.create_file("a", win32.DELETE, 4, win32.CREATE_NEW, 2, b"\1\0descriptor")
    attributes = seen.pop()[3]._obj
    assert attributes.nLength == ctypes.sizeof(attributes)
    assert not attributes.bInheritHandle
    assert attributes.lpSecurityDescriptor[:1] == b"\1"


def test_a_file_that_cannot_be_made(foreign: Any) -> None:
    foreign(CreateFileW=fail(win32.ERROR_FILE_EXISTS, INVALID))
    with pytest.raises(FileExistsError):
        win32.create_file("a", 0, 0, 0, 0)


def test_the_layout_of_a_rename(foreign: Any) -> None:
    seen: list[Any] = []

    def set_information(handle: int, kind: int, information: Any, size: int) -> int:
        seen.append((handle, kind, ctypes.string_at(information, size)))
        return 1

    foreign(SetFileInformationByHandle=set_information)
    win32.rename_by_handle(7, "C:\\\U0001f600", 3)
    ((handle, kind, data),) = seen
    name = "C:\\\U0001f600".encode("utf-16-le")
    assert (handle, kind) == (7, 22)
    assert int.from_bytes(data[:4], "little") == 3
    assert data[8:16] == bytes(8)
    assert int.from_bytes(data[16:20], "little") == len(name) == 10
    assert data[20:32] == name + b"\0\0"


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("SetFileInformationByHandle", lambda: win32.rename_by_handle(7, "a", 0)),
        ("MoveFileExW", lambda: win32.move_file("a", "b", 0)),
        ("CloseHandle", lambda: win32.close_handle(7)),
        ("SetFileAttributesW", lambda: win32.set_file_attributes("a", 0)),
        ("SetKernelObjectSecurity", lambda: win32.set_security(7, 4, b"")),
        ("GetFileSecurityW", lambda: win32.get_security("a", 4)),
        ("GetVolumePathNameW", lambda: win32.volume_information("a")),
    ],
)
def test_failures_and_successes(foreign: Any, name: str, call: Callable[[], object]) -> None:
    foreign(**{name: fail(win32.ERROR_SHARING_VIOLATION)})
    with pytest.raises(PermissionError) as caught:
        call()
    assert caught.value.winerror == win32.ERROR_SHARING_VIOLATION  # type: ignore[attr-defined, unused-ignore] # on Windows
    if not name.startswith("Get"):
        foreign(**{name: lambda *arguments: 1})
        call()


def test_attributes(foreign: Any) -> None:
    foreign(GetFileAttributesW=lambda path: 0x22)
    assert win32.get_file_attributes("a") == 0x22
    foreign(GetFileAttributesW=fail(win32.ERROR_FILE_NOT_FOUND, 0xFFFFFFFF))
    with pytest.raises(FileNotFoundError):
        win32.get_file_attributes("a")


def test_a_security_descriptor_is_read_in_two_steps(foreign: Any) -> None:
    def get(path: str, information: int, buffer: Any, size: int, needed: Any) -> int:
        if size < 5:
            needed._obj.value = 5
            fail.code = win32.ERROR_INSUFFICIENT_BUFFER
            return 0
        buffer.raw = b"1\0003\0005"
        return 1

    foreign(GetFileSecurityW=get)
    assert win32.get_security("a", 4) == b"1\0003\0005"


def test_streams(foreign: Any) -> None:
    names = iter(["::$DATA", ":Zone.Identifier:$DATA", ":other:$DATA"])
    closed: list[int] = []

    def put(data: Any) -> int:
        name = next(names, None)
        if name is None:
            return 0
        data.raw = bytes(8) + name.encode("utf-16-le").ljust(len(data) - 8, b"\0")
        return 7

    foreign(
        FindFirstStreamW=lambda path, level, data, flags: put(data),
        FindNextStreamW=lambda handle, data: put(data),
        FindClose=closed.append,
    )
    assert win32.list_streams("a") == ["Zone.Identifier", "other"]
    assert closed == [7]


def test_no_streams(foreign: Any) -> None:
    foreign(FindFirstStreamW=fail(win32.ERROR_HANDLE_EOF, INVALID))
    assert win32.list_streams("a") == []
    foreign(FindFirstStreamW=fail(win32.ERROR_INVALID_PARAMETER, INVALID))
    with pytest.raises(OSError, match="87"):
        win32.list_streams("a")


def test_a_volume(foreign: Any) -> None:
    def root(path: str, buffer: Any, size: int) -> int:
        buffer.value = "Z:\\"
        return 1

    def information(path: str, *arguments: Any) -> int:
        assert path == "Z:\\"
        arguments[4]._obj.value = 0x400
        arguments[5].value = "NTFS"
        return 1

    foreign(GetVolumePathNameW=root, GetVolumeInformationW=information, GetDriveTypeW=lambda path: 4)
    assert win32.volume_information("Z:\\a") == ("NTFS", 0x400, win32.DRIVE_REMOTE)
    foreign(GetVolumeInformationW=fail(win32.ERROR_ACCESS_DENIED))
    with pytest.raises(PermissionError):
        win32.volume_information("Z:\\a")


@pytest.mark.parametrize(("state", "running"), [(258, True), (0, False)])
def test_a_process_that_can_be_opened(foreign: Any, state: int, running: bool) -> None:
    closed: list[int] = []

    def close(handle: int) -> int:
        closed.append(handle)
        return 1

    foreign(
        OpenProcess=lambda *arguments: 7,
        WaitForSingleObject=lambda handle, milliseconds: state,
        CloseHandle=close,
    )
    assert win32.is_process_running(1234) is running
    assert closed == [7]


@pytest.mark.parametrize(("code", "running"), [(87, False), (5, True)])
def test_a_process_that_cannot_be_opened(foreign: Any, code: int, running: bool) -> None:
    foreign(OpenProcess=fail(code, None))
    assert win32.is_process_running(1234) is running


def test_every_function_has_a_prototype() -> None:
    source = Path(win32.__file__).read_text(encoding="utf-8")
    called = set(re.findall(r'function\("(\w+)"\)', source))
    assert called == set(win32_dll.prototypes())
