"""The functions of the running system's C library, by ctypes, bound at first use."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class CLibrary:
    """Functions by name, called with their arguments checked and their errors raised as OSError.

    ``prototypes`` gives each function's argument types; it is asked at the first call, as importing
    ctypes costs more than most programs' saves need. ``variants`` are suffixes that a function may
    go by, the first that is there counting.
    """

    def __init__(
        self, prototypes: Callable[[], dict[str, tuple[Any, ...]]], variants: tuple[str, ...] = ("",)
    ) -> None:
        self._prototypes = prototypes
        self._variants = variants
        self.bound: dict[str, Callable[..., int]] = {}

    def __call__(self, name: str, *arguments: object) -> int:
        function = self.bound.get(name) or self._bind(name)
        return function(*arguments)

    def _bind(self, name: str) -> Callable[..., int]:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        found = (getattr(library, name + variant, None) for variant in self._variants)
        function = next(filter(None, found), None)
        if function is None:
            # An old C library (musl before 1.2.5 has no renameat2) is an old kernel to us.
            raise OSError(errno.ENOSYS, f"the C library has no {name}")
        function.argtypes = self._prototypes()[name]

        def checked(*arguments: object) -> int:
            result: int = function(*arguments)
            if result < 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            return result

        self.bound[name] = checked
        return checked
