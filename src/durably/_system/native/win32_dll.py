"""The functions of the Win32 libraries, by ctypes, bound at first use."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

bound: dict[str, Any] = {}


def function(name: str) -> Callable[..., int]:
    """A function by name, its arguments and result declared."""
    try:
        return bound[name]  # type: ignore[no-any-return] # made by _bind
    except KeyError:
        return _bind(name)


def prototypes() -> dict[str, tuple[str, Any, tuple[Any, ...]]]:
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

    def _bind(name: str) -> Callable[..., int]:
        import ctypes

        library, result, arguments = prototypes()[name]
        found = getattr(ctypes.WinDLL(library, use_last_error=True), name)
        found.restype = result
        found.argtypes = arguments
        bound[name] = found
        return found  # type: ignore[no-any-return] # a foreign function

    def failure(path: str | None = None) -> OSError:
        """What the last call on this thread failed with."""
        import ctypes

        code = ctypes.get_last_error()
        return OSError(0, ctypes.FormatError(code).strip(), path, code)

else:

    def _bind(name: str) -> Callable[..., int]:
        raise NotImplementedError(f"{name} does not exist on this system")

    def failure(path: str | None = None) -> OSError:
        """What the last call on this thread failed with."""
        raise NotImplementedError("Win32 errors do not exist on this system")
