"""What every door takes and gives: the durability levels, the options, the receipt, the guarantees."""

from __future__ import annotations

import errno
from collections import namedtuple
from enum import StrEnum
from functools import lru_cache

from durably._errors import StoreNamedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, ClassVar, Literal, NamedTuple, Self, TypedDict

    class SaveOptions(TypedDict, total=False):
        """The options that every door takes; see `durably.open` for their meaning."""

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
_OF_STORES = "storage_options and fs name a store, which cannot do this in one step; nothing was written"


class Options:
    """The options of one save, checked. Equal options share one instance: see `resolve`."""

    __slots__ = (
        "allow_in_place",
        "carries",
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
        storage_options: object = None,
        fs: object = None,
    ) -> None:
        if storage_options is not None or fs is not None:
            raise StoreNamedError(errno.ENOTSUP, _OF_STORES)
        self.durability: Durability = Durability(_one_of("durability", durability, tuple(Durability)))
        self.overwrite: bool = flag("overwrite", overwrite)
        self.metadata: str = _one_of("metadata", metadata, _METADATA)
        self.symlinks: str = _one_of("symlinks", symlinks, _SYMLINKS)
        self.permissions: int | None = _mode(permissions)
        self.make_parents: bool = flag("make_parents", make_parents)
        self.allow_in_place: bool = flag("allow_in_place", allow_in_place)
        self.carries: bool = self.metadata != "fresh"
        if self.allow_in_place and not self.overwrite:
            raise ValueError("allow_in_place=True rewrites an existing file; overwrite=False forbids it")


def resolve(options: SaveOptions) -> Options:
    """Check the options of a call. Raises TypeError or ValueError before the disk is touched."""
    try:
        return _resolved(**options)  # pyright: ignore[reportArgumentType] # a dict is not: TypeError
    except TypeError:
        return Options(**options)  # an unhashable value: let the checks name it


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


class Record:
    """Equality and a readable form for light result classes."""

    __slots__: tuple[str, ...] = ()

    def _values(self) -> Iterator[object]:
        return (getattr(self, name) for name in self.__slots__)

    def __repr__(self) -> str:
        fields = zip(self.__slots__, self._values(), strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in fields)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return tuple(self._values()) == tuple(other._values())

    __hash__: ClassVar[None] = None  # type: ignore[assignment] # holds a dict


if TYPE_CHECKING:

    class _Receipt(NamedTuple):
        path: str
        size: int
        replaced: bool | None
        in_place: bool
        durability: Durability
        steps: tuple[str, ...]
        skipped: dict[str, str]
        lost: tuple[str, ...]
else:
    _FIELDS = ("path", "size", "replaced", "in_place", "durability", "steps", "skipped", "lost")
    _Receipt = namedtuple("_Receipt", _FIELDS)  # noqa: PYI024 # typing is not imported at run time


class Receipt(_Receipt):
    """What one save did. Returned by every door, and held by ``writer.receipt``.

    ``path``: str, the target as the caller named it; of an object at a store its URL.
    ``size``: int, bytes in the new file.
    ``replaced``: bool, whether there was a file before; None at a store that was not asked, as that
    costs a request.
    ``in_place``: bool, whether the old file was rewritten instead (``allow_in_place=True``); then none
    of the three promises holds.
    ``durability``: `Durability`, the level that was kept, which a file system or an operating system
    may make lower than the level that was asked for.
    ``steps``: tuple of str, what was done, in order.
    ``skipped``: dict, what was left out or cannot be promised here, each with its reason.
    ``lost``: tuple of str, the metadata of the old file that could not be kept ("owner", "group",
    "acl", "xattr:user.name", ..., and "xattrs" where they could not even be listed).
    """

    __slots__ = ()
    __hash__: ClassVar[None] = None  # type: ignore[assignment] # holds a dict


class Promise(str):
    """An answer, the str "yes", "no" or "unknown", with the ``reason`` for it, a str."""

    __slots__ = ("reason",)
    reason: str

    def __new__(cls, answer: Literal["yes", "no", "unknown"], reason: str) -> Self:
        promise = super().__new__(cls, answer)
        promise.reason = reason
        return promise

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override] # str's own has one
        return str(self), self.reason


class Guarantees(Record):
    """What `durably.probe` found out about a place.

    ``path``: str, the path that was asked about.
    ``file_system``: str, its type as the system names it ("ext4", "tmpfs", "NTFS"), or "unknown".
    ``options``: tuple of str, its mount options.
    ``routine``: str, the commit routine that is used ("linux", "macos", "posix", "windows").
    ``readers``, ``crash``, ``durable``: the three promises, each a `Promise`: the answer "yes", "no"
    or "unknown", with a ``reason``.
    ``supports``: frozenset of str, what was found to work there: "unnamed", "no-replace",
    "exchange", "reflink", "xattrs".
    """

    __slots__ = (
        "path",
        "file_system",
        "options",
        "routine",
        "readers",
        "crash",
        "durable",
        "supports",
    )

    def __init__(
        self,
        path: str,
        file_system: str,
        options: tuple[str, ...],
        routine: str,
        readers: Promise,
        crash: Promise,
        durable: Promise,
        supports: frozenset[str],
    ) -> None:
        self.path: str = path
        self.file_system: str = file_system
        self.options: tuple[str, ...] = options
        self.routine: str = routine
        self.readers: Promise = readers
        self.crash: Promise = crash
        self.durable: Promise = durable
        self.supports: frozenset[str] = supports
