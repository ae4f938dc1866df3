"""Win32 calls that Python lacks. Everything imports everywhere; the libraries are bound at first use.

Errors are OSErrors with ``winerror`` set. Handles are integers.
"""

from __future__ import annotations

import sys

from durably._system.native import win32_dll as library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GENERIC_READ = 0x80000000
GENERIC_WRITE = 0x40000000
DELETE = 0x00010000
WRITE_DAC = 0x00040000
FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_SHARE_DELETE = 1, 2, 4
CREATE_NEW, OPEN_EXISTING, OPEN_ALWAYS = 1, 3, 4
FILE_FLAG_BACKUP_SEMANTICS = 0x02000000
FILE_FLAG_OPEN_REPARSE_POINT = 0x00200000
FILE_FLAG_DELETE_ON_CLOSE = 0x04000000

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
ERROR_DIR_NOT_EMPTY = 145
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

if sys.platform == "win32":
    import _winapi
    import msvcrt

    create_junction = _winapi.CreateJunction
    open_osfhandle = msvcrt.open_osfhandle
    get_osfhandle = msvcrt.get_osfhandle
else:

    def create_junction(target: str, path: str, /) -> None:
        """CPython's own, which only Windows has: a directory that leads to another, an absolute path."""
        raise NotImplementedError("create_junction does not exist on this system")

    def open_osfhandle(handle: int, flags: int, /) -> int:
        """msvcrt's, which only Windows has."""
        raise NotImplementedError("open_osfhandle does not exist on this system")

    def get_osfhandle(fd: int, /) -> int:
        """msvcrt's, which only Windows has."""
        raise NotImplementedError("get_osfhandle does not exist on this system")


def _is_handle(value: int | None) -> bool:
    import ctypes

    return value not in (None, ctypes.c_void_p(-1).value)


def create_file(
    path: str, access: int, share: int, disposition: int, flags: int, security: bytes | None = None
) -> int:
    """CreateFileW: a handle that is not inherited. ``security``: a self-relative descriptor."""
    function = library.function("CreateFileW")
    handle = function(path, access, share, _security_attributes(security), disposition, flags, None)
    if not _is_handle(handle):
        raise library.failure(path)
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
    if not library.function("CloseHandle")(handle):
        raise library.failure()


def rename_by_handle(handle: int, path: str, flags: int) -> None:
    """SetFileInformationByHandle(FileRenameInfoEx): Windows 10 1607; ``path`` is absolute."""
    function = library.function("SetFileInformationByHandle")
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
        raise library.failure(path)


def move_file(old: str, new: str, flags: int) -> None:
    """MoveFileExW."""
    if not library.function("MoveFileExW")(old, new, flags):
        raise library.failure(new)


def get_file_attributes(path: str) -> int:
    """GetFileAttributesW: those of a link itself."""
    attributes = library.function("GetFileAttributesW")(path)
    if attributes == _INVALID_ATTRIBUTES:
        raise library.failure(path)
    return attributes


def set_file_attributes(path: str, attributes: int) -> None:
    """SetFileAttributesW."""
    if not library.function("SetFileAttributesW")(path, attributes):
        raise library.failure(path)


def get_security(path: str, information: int) -> bytes:
    """GetFileSecurityW: a self-relative security descriptor."""
    function = library.function("GetFileSecurityW")
    import ctypes

    size = ctypes.c_uint32(0)
    buffer = ctypes.create_string_buffer(0)
    while not function(path, information, buffer, len(buffer), ctypes.byref(size)):
        failure = library.failure(path)
        if getattr(failure, "winerror", None) != ERROR_INSUFFICIENT_BUFFER:
            raise failure
        buffer = ctypes.create_string_buffer(size.value)
    return buffer.raw


def set_security(handle: int, information: int, security: bytes) -> None:
    """SetKernelObjectSecurity: needs WRITE_DAC, and WRITE_OWNER for the owner and the group."""
    if not library.function("SetKernelObjectSecurity")(handle, information, security):
        raise library.failure()


def list_streams(path: str) -> list[str]:
    """The named streams of a file, by FindFirstStreamW. Raises OSError where there can be none."""
    first = library.function("FindFirstStreamW")
    import ctypes

    # WIN32_FIND_STREAM_DATA: the size in 8 bytes, then ":name:$DATA"; the file itself is "::$DATA".
    data = ctypes.create_string_buffer(8 + 2 * _STREAM_SIZE)
    handle = first(path, 0, data, 0)
    if not _is_handle(handle):
        failure = library.failure(path)
        if getattr(failure, "winerror", None) == ERROR_HANDLE_EOF:
            return []
        raise failure
    names: list[str] = []
    try:
        names.append(_stream_name(data.raw))
        while library.function("FindNextStreamW")(handle, data):
            names.append(_stream_name(data.raw))
    finally:
        library.function("FindClose")(handle)
    return [name for name in names if name]


def _stream_name(data: bytes) -> str:
    return data[8:].decode("utf-16-le", "surrogatepass").partition("\0")[0].split(":")[1]


def volume_information(path: str) -> tuple[str, int, int]:
    """The file system's name, its flags, and the kind of drive (GetDriveTypeW), of a path's volume."""
    function = library.function("GetVolumePathNameW")
    import ctypes

    root = ctypes.create_unicode_buffer(_PATH_SIZE)
    if not function(path, root, _PATH_SIZE):
        raise library.failure(path)
    flags = ctypes.c_uint32(0)
    kind = ctypes.create_unicode_buffer(_NAME_SIZE)
    function = library.function("GetVolumeInformationW")
    if not function(root.value, None, 0, None, None, ctypes.byref(flags), kind, _NAME_SIZE):
        raise library.failure(path)
    return kind.value, flags.value, library.function("GetDriveTypeW")(root.value)


def is_process_running(process: int) -> bool:
    """Whether a process of that number runs. Signal 0, which asks this elsewhere, would end it here."""
    handle = library.function("OpenProcess")(_PROCESS_SYNCHRONIZE, 0, process)
    if not handle:
        # Only "invalid parameter" means that there is none: others belong to somebody else.
        return getattr(library.failure(), "winerror", None) != ERROR_INVALID_PARAMETER
    try:
        return library.function("WaitForSingleObject")(handle, 0) == _WAIT_TIMEOUT
    finally:
        close_handle(handle)
