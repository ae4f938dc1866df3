"""What every save gives back: receipts, guarantees, and what a sweep or a recovery found."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import ClassVar, Literal, NamedTuple, Self, overload

    from durably._types import Durability


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
    """What one save did. Returned by every function that saves, and held by ``writer.receipt``.

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


class Receipts(Sequence["Receipt"]):
    """Receipts that are made when they are looked at: a hundred thousand of them take much memory."""

    __slots__ = ("_count", "_each")

    def __init__(self, count: int, each: Callable[[], Iterator[Receipt]]) -> None:
        self._count = count
        self._each = each

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Receipt]:
        return self._each()

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: int) -> Receipt: ...
        @overload
        def __getitem__(self, index: slice) -> Sequence[Receipt]: ...

    def __getitem__(self, index: int | slice) -> Receipt | Sequence[Receipt]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (Receipts, tuple, list)):
            return list(self) == list(other)  # pyright: ignore[reportUnknownArgumentType] # of whatever
        return NotImplemented

    __hash__ = None  # type: ignore[assignment] # a receipt holds a dict

    def __repr__(self) -> str:
        return repr(tuple(self))

    def __reduce__(self) -> tuple[type, tuple[tuple[Receipt, ...]]]:
        return tuple, (tuple(self),)


class BatchReceipt(Record):
    """What became of every file that was added to a `durably.Batch`. Each is in one of the three.

    ``saved``: a sequence of their `Receipt`, directory by directory.
    ``failed``: the error of each of the others that has one, by path. Those with a `NotDurableError`
    are in place all the same.
    ``unsaved``: the paths of the files that were given up with the others.
    """

    __slots__ = ("saved", "failed", "unsaved")

    def __init__(
        self, saved: Sequence[Receipt], failed: dict[str, OSError], unsaved: tuple[str, ...] = ()
    ) -> None:
        self.saved: Sequence[Receipt] = saved
        self.failed: dict[str, OSError] = failed
        self.unsaved: tuple[str, ...] = unsaved


class TransactionReceipt(Record):
    """What one `durably.Transaction` did.

    ``root``: str, the root as the caller named it.
    ``written``, ``removed``: tuples of str, the files, as paths below the root, with "/" between
    components.
    ``durability``: `Durability`, the level that was kept, for all of them together.
    ``steps``: tuple of str, what was done, in order; no "journal" where there was one change only.
    ``skipped``: dict, what was left out or cannot be promised here, each with its reason.
    ``lost``: tuple of str, the metadata of old files that could not be kept.
    """

    __slots__ = ("root", "written", "removed", "durability", "steps", "skipped", "lost")

    def __init__(
        self,
        root: str,
        written: tuple[str, ...],
        removed: tuple[str, ...],
        durability: Durability,
        steps: tuple[str, ...],
        skipped: dict[str, str],
        lost: tuple[str, ...],
    ) -> None:
        self.root: str = root
        self.written: tuple[str, ...] = written
        self.removed: tuple[str, ...] = removed
        self.durability: Durability = durability
        self.steps: tuple[str, ...] = steps
        self.skipped: dict[str, str] = skipped
        self.lost: tuple[str, ...] = lost


class Recovered(Record):
    """What `durably.recover` found and did.

    ``root``: str, the root as the caller named it.
    ``outcome``: str, "nothing": there was no unfinished transaction; "finished": all its files are new;
    "undone": all are old.
    ``files``: tuple of str, the files of the transaction, as paths below the root, with "/" between
    components.
    """

    __slots__ = ("root", "outcome", "files")

    def __init__(
        self, root: str, outcome: Literal["nothing", "finished", "undone"], files: tuple[str, ...]
    ) -> None:
        self.root: str = root
        self.outcome: Literal["nothing", "finished", "undone"] = outcome
        self.files: tuple[str, ...] = files


class Swept(Record):
    """One leftover that `sweep` looked at.

    ``path``: str, where it lies, or lay.
    ``removed``: bool, whether it was removed (under ``dry_run=True``: would have been).
    ``reason``: str, why it was removed, or why it was left.
    """

    __slots__ = ("path", "removed", "reason")

    def __init__(self, path: str, removed: bool, reason: str) -> None:
        self.path: str = path
        self.removed: bool = removed
        self.reason: str = reason
