"""What every save takes: the durability levels and the options, checked."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal, TypedDict

    class SaveOptions(TypedDict, total=False):
        """The options that every save takes; see `durably.open` for their meaning."""

        durability: Durability | Literal["none", "consistent", "durable"]
        overwrite: bool
        metadata: Literal["preserve", "strict", "fresh"]
        symlinks: Literal["follow", "replace", "refuse"]
        permissions: int | None
        make_parents: bool
        allow_in_place: bool
        storage_options: Mapping[str, Any] | None
        fs: Any


class Durability(StrEnum):
    """How much a save is to survive. The terms are GLib's; the plain strings do as well.

    ``NONE``: atomic to readers only. After a power cut the file may be old, new, empty or zeros.
    ``CONSISTENT``: after a power cut the path holds the whole old or the whole new file.
    ``DURABLE``: the default; once the call has returned, a power cut cannot bring the old file back.

    The level asks for effort. What is kept depends on the system and the file system: the receipt
    says it afterwards, `durably.probe` beforehand.
    """

    NONE = "none"
    CONSISTENT = "consistent"
    DURABLE = "durable"


NONE, CONSISTENT, DURABLE = LEVELS = tuple(Durability)

_METADATA = ("preserve", "strict", "fresh")
_SYMLINKS = ("follow", "replace", "refuse")
_PERMISSIONS = 0o7777


class Options:
    """The options of one save, checked. Equal options share one instance: see `resolve`."""

    __slots__ = (
        "allow_in_place",
        "preserve_metadata",
        "durability",
        "make_parents",
        "metadata",
        "overwrite",
        "permissions",
        "symlinks",
    )

    def __init__(
        self,
        *,
        durability: str = DURABLE,
        overwrite: bool = True,
        metadata: str = "preserve",
        symlinks: str = "follow",
        permissions: int | None = None,
        make_parents: bool = False,
        allow_in_place: bool = False,
    ) -> None:
        self.durability: Durability = Durability(_one_of("durability", durability, tuple(Durability)))
        self.overwrite: bool = flag("overwrite", overwrite)
        self.metadata: str = _one_of("metadata", metadata, _METADATA)
        self.symlinks: str = _one_of("symlinks", symlinks, _SYMLINKS)
        self.permissions: int | None = _mode(permissions)
        self.make_parents: bool = flag("make_parents", make_parents)
        self.allow_in_place: bool = flag("allow_in_place", allow_in_place)
        self.preserve_metadata: bool = self.metadata != "fresh"
        if self.allow_in_place and not self.overwrite:
            raise ValueError("allow_in_place=True rewrites an existing file; overwrite=False forbids it")


def resolve(options: SaveOptions) -> Options:
    """Check the options of a call. Raises TypeError or ValueError before the disk is touched."""
    try:
        return _resolved(**options)  # pyright: ignore[reportArgumentType] # a dict is not: TypeError
    except TypeError:
        return _resolved.__wrapped__(**options)  # an unhashable value: let the checks name it


@lru_cache(maxsize=128, typed=True)
def _resolved(**options: object) -> Options:
    return Options(**options)  # type: ignore[arg-type] # checked at run time


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in allowed:
        return value
    choices = ", ".join(repr(str(choice)) for choice in allowed)
    raise ValueError(f"{name} must be one of {choices}, not {value!r}")


def flag(name: str, value: object) -> bool:
    """An option that is on or off. Raises TypeError for what is neither True nor False."""
    if isinstance(value, bool):
        return value
    raise TypeError(f"{name} must be True or False, not {value!r}")


def _mode(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"permissions must be a mode such as 0o640, not {value!r}")
    if not 0 <= value <= _PERMISSIONS:
        raise ValueError(f"permissions must lie between 0 and 0o7777, not {value:#o}")
    return value
