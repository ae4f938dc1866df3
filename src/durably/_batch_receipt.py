"""What became of the files of one batch."""

from __future__ import annotations

from collections.abc import Sequence

from durably._options import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import overload

    from durably._options import Receipt


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
