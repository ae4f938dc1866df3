"""Putting a file system behind the protocols of fsspec's own local one, and taking it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsspec.registry import (  # pyright: ignore[reportMissingTypeStubs] # fsspec is not typed
    get_filesystem_class,  # pyright: ignore[reportUnknownVariableType]
    register_implementation,  # pyright: ignore[reportUnknownVariableType]
)

if TYPE_CHECKING:
    from types import TracebackType

_before: dict[str, type] = {}


class Installed:
    """Takes back, at the end of a with block, what `install` did."""

    def __init__(self, *, is_first: bool) -> None:
        self._is_first = is_first

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_first:
            uninstall()


def install(cls: Any) -> Installed:
    """Register a class for all its protocols."""
    is_first = False
    for protocol in cls.protocol:
        present: type = get_filesystem_class(protocol)
        if present is not cls:
            is_first = True
            _before[protocol] = present
            register_implementation(protocol, cls, clobber=True)
    return Installed(is_first=is_first)


def uninstall() -> None:
    """Register what was there before."""
    while _before:
        protocol, present = _before.popitem()
        register_implementation(protocol, present, clobber=True)
