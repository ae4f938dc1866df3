"""Win32 calls that Python lacks. Everything imports everywhere; the libraries are bound at first use.

Errors are OSErrors with ``winerror`` set. Handles are integers.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

GENERIC_READ = 0x80000000
GENERIC_WRITE = 0x40000000
DELETE = 0x00010000
READ_CONTROL = 0x00020000
WRITE_DAC = 0x00040000
WRITE_OWNER = 0x00080000
FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_SHARE_DELETE = 1, 2, 4
CREATE_NEW, OPEN_EXISTING = 1, 3
FILE_FLAG_BACKUP_SEMANTICS = 0x02000000
FILE_FLAG_OPEN_REPARSE_POINT = 0x00200000

FILE_ATTRIBUTE_READONLY = 0x1
FILE_ATTRIBUTE_HIDDEN = 0x2
FILE_ATTRIBUTE_SYSTEM = 0x4
FILE_ATTRIBUTE_DIRECTORY = 0x10
FILE_ATTRIBUTE_NORMAL = 0x80
FILE_ATTRIBUTE_REPARSE_POINT = 0x400
FILE_ATTRIBUTE_COMPRESSED = 0x800
FILE_ATTRIBUTE_NOT_CONTENT_INDEXED = 0x2000
FILE_ATTRIBUTE_ENCRYPTED = 0x4000

OWNER_SECURITY_INFORMATION = 1
GROUP_SECURITY_INFORMATION = 2
DACL_SECURITY_INFORMATION = 4

FILE_RENAME_REPLACE_IF_EXISTS = 1
FILE_RENAME_POSIX_SEMANTICS = 2
MOVEFILE_REPLACE_EXISTING = 1
MOVEFILE_WRITE_THROUGH = 8

ERROR_INVALID_FUNCTION = 1
ERROR_FILE_NOT_FOUND = 2
ERROR_ACCESS_DENIED = 5
ERROR_SHARING_VIOLATION = 32
ERROR_LOCK_VIOLATION = 33
ERROR_HANDLE_EOF = 38
ERROR_NOT_SUPPORTED = 50
ERROR_FILE_EXISTS = 80
ERROR_INVALID_PARAMETER = 87
ERROR_INSUFFICIENT_BUFFER = 122
ERROR_ALREADY_EXISTS = 183
ERROR_INVALID_OWNER = 1307
ERROR_INVALID_PRIMARY_GROUP = 1308
ERROR_PRIVILEGE_NOT_HELD = 1314

DRIVE_REMOTE = 4

_FILE_RENAME_INFO_EX = 22
_PROCESS_SYNCHRONIZE = 0x00100000
_WAIT_TIMEOUT = 258
_PATH_SIZE = 32768
_NAME_SIZE = 261
_STREAM_SIZE = 296
_INVALID_ATTRIBUTES = 0xFFFFFFFF

_bound: dict[str, Any] = {}


def _function(name: str) -> Callable[..., int]:
    try:
        return _bound[name]  # type: ignore[no-any-return] # made by _bind
    except KeyError:
        return _bind(name)


def _prototypes() -> dict[str, tuple[str, Any, tuple[Any, ...]]]:
    """Library, result and arguments of each function."""
    from ctypes import POINTER, c_int, c_uint32, c_void_p, c_wchar_p

    dword, kernel, security = c_uint32, "kernel32", "advapi32"
    pointer = POINTER(c_uint32)
    return {
        "CreateFileW": (kernel, c_void_p, (c_wchar_p, dword, dword, c_void_p, dword, dword, c_void_p)),
        "CloseHandle": (kernel, c_int, (c_void_p,)),
        "SetFileInformationByHandle": (kernel, c_int, (c_void_p, c_int, c_void_p, dword)),
        "MoveFileExW": (kernel, c_int, (c_wchar_p, c_wchar_p, dword)),
        "GetFileAttributesW": (kernel, dword, (c_wchar_p,)),
        "SetFileAttributesW": (kernel, c_int, (c_wchar_p, dword)),
        "GetFileSecurityW": (security, c_int, (c_wchar_p, dword, c_void_p, dword, pointer)),
        "SetKernelObjectSecurity": (security, c_int, (c_void_p, dword, c_void_p)),
        "GetVolumePathNameW": (kernel, c_int, (c_wchar_p, c_wchar_p, dword)),
        "GetVolumeInformationW": (
            kernel,
            c_int,
            (c_wchar_p, c_void_p, dword, c_void_p, c_void_p, pointer, c_wchar_p, dword),
        ),
        "GetDriveTypeW": (kernel, dword, (c_wchar_p,)),
        "FindFirstStreamW": (kernel, c_void_p, (c_wchar_p, c_int, c_void_p, dword)),
        "FindNextStreamW": (kernel, c_int, (c_void_p, c_void_p)),
        "FindClose": (kernel, c_int, (c_void_p,)),
        "OpenProcess": (kernel, c_void_p, (dword, c_int, dword)),
        "WaitForSingleObject": (kernel, dword, (c_void_p, dword)),
    }


if sys.platform == "win32":
    import msvcrt

    open_osfhandle = msvcrt.open_osfhandle
    get_osfhandle = msvcrt.get_osfhandle

    def _bind(name: str) -> Callable[..., int]:
        import ctypes

        library, result, arguments = _prototypes()[name]
        function = getattr(ctypes.WinDLL(library, use_last_error=True), name)
        function.restype = result
        function.argtypes = arguments
        _bound[name] = function
        return function  # type: ignore[no-any-return] # a foreign function

    def _failure(path: str | None = None) -> OSError:
        import ctypes

        code = ctypes.get_last_error()
        return OSError(0, ctypes.FormatError(code).strip(), path, code)

else:

    def open_osfhandle(handle: int, flags: int, /) -> int:
        """msvcrt's, which only Windows has."""
        raise NotImplementedError("open_osfhandle does not exist on this system")

    def get_osfhandle(fd: int, /) -> int:
        """msvcrt's, which only Windows has."""
        raise NotImplementedError("get_osfhandle does not exist on this system")

    def _bind(name: str) -> Callable[..., int]:
        raise NotImplementedError(f"{name} does not exist on this system")

    def _failure(path: str | None = None) -> OSError:
        raise NotImplementedError("Win32 errors do not exist on this system")


def _is_handle(value: int | None) -> bool:
    import ctypes

    return value not in (None, ctypes.c_void_p(-1).value)


def create_file(
    path: str, access: int, share: int, disposition: int, flags: int, security: bytes | None = None
) -> int:
    """CreateFileW: a handle that is not inherited. ``security``: a self-relative descriptor."""
    function = _function("CreateFileW")
    handle = function(path, access, share, _security_attributes(security), disposition, flags, None)
    if not _is_handle(handle):
        raise _failure(path)
    return handle


def _security_attributes(security: bytes | None) -> Any:
    if security is None:
        return None
    import ctypes

    class SecurityAttributes(ctypes.Structure):
        _fields_ = (
            ("nLength", ctypes.c_uint32),
            ("lpSecurityDescriptor", ctypes.c_char_p),
            ("bInheritHandle", ctypes.c_int),
        )

    attributes = SecurityAttributes(ctypes.sizeof(SecurityAttributes), security, 0)
    return ctypes.byref(attributes)


def close_handle(handle: int) -> None:
    """CloseHandle."""
    if not _function("CloseHandle")(handle):
        raise _failure()


def rename_by_handle(handle: int, path: str, flags: int) -> None:
    """SetFileInformationByHandle(FileRenameInfoEx): Windows 10 1607; ``path`` is absolute."""
    function = _function("SetFileInformationByHandle")
    import ctypes

    name = path.encode("utf-16-le", "surrogatepass")

    class FileRenameInfo(ctypes.Structure):
        _fields_ = (
            ("Flags", ctypes.c_uint32),
            ("RootDirectory", ctypes.c_void_p),
            ("FileNameLength", ctypes.c_uint32),
            # Not of c_char: that would end at the first zero byte.
            ("FileName", ctypes.c_ubyte * (len(name) + 2)),
        )

    information = FileRenameInfo(flags, None, len(name), tuple(name))
    size = ctypes.sizeof(information)
    if not function(handle, _FILE_RENAME_INFO_EX, ctypes.byref(information), size):
        raise _failure(path)


def move_file(old: str, new: str, flags: int) -> None:
    """MoveFileExW."""
    if not _function("MoveFileExW")(old, new, flags):
        raise _failure(new)


def get_file_attributes(path: str) -> int:
    """GetFileAttributesW: those of a link itself."""
    attributes = _function("GetFileAttributesW")(path)
    if attributes == _INVALID_ATTRIBUTES:
        raise _failure(path)
    return attributes


def set_file_attributes(path: str, attributes: int) -> None:
    """SetFileAttributesW."""
    if not _function("SetFileAttributesW")(path, attributes):
        raise _failure(path)


def get_security(path: str, information: int) -> bytes:
    """GetFileSecurityW: a self-relative security descriptor."""
    function = _function("GetFileSecurityW")
    import ctypes

    size = ctypes.c_uint32(0)
    buffer = ctypes.create_string_buffer(0)
    while not function(path, information, buffer, len(buffer), ctypes.byref(size)):
        failure = _failure(path)
        if getattr(failure, "winerror", None) != ERROR_INSUFFICIENT_BUFFER:
            raise failure
        buffer = ctypes.create_string_buffer(size.value)
    return buffer.raw


def set_security(handle: int, information: int, security: bytes) -> None:
    """SetKernelObjectSecurity: needs WRITE_DAC, and WRITE_OWNER for the owner and the group."""
    if not _function("SetKernelObjectSecurity")(handle, information, security):
        raise _failure()


def list_streams(path: str) -> list[str]:
    """The named streams of a file, by FindFirstStreamW. Raises OSError where there can be none."""
    first = _function("FindFirstStreamW")
    import ctypes

    # WIN32_FIND_STREAM_DATA: the size in 8 bytes, then ":name:$DATA"; the file itself is "::$DATA".
    data = ctypes.create_string_buffer(8 + 2 * _STREAM_SIZE)
    handle = first(path, 0, data, 0)
    if not _is_handle(handle):
        failure = _failure(path)
        if getattr(failure, "winerror", None) == ERROR_HANDLE_EOF:
            return []
        raise failure
    names: list[str] = []
    try:
        names.append(_stream_name(data.raw))
        while _function("FindNextStreamW")(handle, data):
            names.append(_stream_name(data.raw))
    finally:
        _function("FindClose")(handle)
    return [name for name in names if name]


def _stream_name(data: bytes) -> str:
    return data[8:].decode("utf-16-le", "surrogatepass").partition("\0")[0].split(":")[1]


def volume_information(path: str) -> tuple[str, int, int]:
    """The file system's name, its flags, and the kind of drive (GetDriveTypeW), of a path's volume."""
    function = _function("GetVolumePathNameW")
    import ctypes

    root = ctypes.create_unicode_buffer(_PATH_SIZE)
    if not function(path, root, _PATH_SIZE):
        raise _failure(path)
    flags = ctypes.c_uint32(0)
    kind = ctypes.create_unicode_buffer(_NAME_SIZE)
    function = _function("GetVolumeInformationW")
    if not function(root.value, None, 0, None, None, ctypes.byref(flags), kind, _NAME_SIZE):
        raise _failure(path)
    return kind.value, flags.value, _function("GetDriveTypeW")(root.value)


def is_process_running(process: int) -> bool:
    """Whether a process of that number runs. Signal 0, which asks this elsewhere, would end it here."""
    handle = _function("OpenProcess")(_PROCESS_SYNCHRONIZE, 0, process)
    if not handle:
        # Only "invalid parameter" means that there is none: others belong to somebody else.
        return getattr(_failure(), "winerror", None) != ERROR_INVALID_PARAMETER
    try:
        return _function("WaitForSingleObject")(handle, 0) == _WAIT_TIMEOUT
    finally:
        close_handle(handle)
