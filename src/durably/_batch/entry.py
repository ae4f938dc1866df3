"""What is remembered of each of many files that are staged and closed: little."""

from __future__ import annotations

from durably._system import temp_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._commit.pending import PendingFile
    from durably._types import Durability, Options

_TAIL = 20
"""Characters at the end of a temporary's name by which it is told from the others of its process."""


class SharedAttributes:
    """What many files have in common. They share one."""

    __slots__ = (
        "device",
        "flushed",
        "limit",
        "lost",
        "options",
        "replaced",
        "shared_locked",
        "skipped",
        "temp_prefix",
        "steps",
    )

    def __init__(self, save: PendingFile, flushed: bool) -> None:
        assert save.identity is not None
        assert save.temporary is not None
        self.options: Options = save.options
        self.temp_prefix: str = temp_names.split(save.temporary)[0]
        """What the temporaries' names begin with: all of one process under a shared lock, or without."""
        self.shared_locked: bool = save.shared_locked
        self.steps: list[str] = list(save.steps)
        self.skipped: dict[str, str] = dict(save.skipped)
        self.lost: tuple[str, ...] = save.lost
        self.replaced: bool = save.old is not None
        self.limit: Durability = save.limit
        self.device: int = save.identity[0]
        self.flushed: bool = flushed

    def fit(self, save: PendingFile, flushed: bool) -> bool:
        """Whether they are a save's. Asked for every file, so the cheap answers come first."""
        return (
            self.options is save.options
            and self.replaced is (save.old is not None)
            and self.shared_locked is save.shared_locked
            and self.flushed is flushed
            and self.steps == save.steps
            and self.skipped == save.skipped
            and self.lost == save.lost
            and self.limit is save.limit
            and self.device == save.identity[0]  # type: ignore[index] # it is known by now
        )

    def key(self) -> object:
        """By which equal ones are found."""
        skipped = tuple(self.skipped.items())
        return (
            self.options,
            self.temp_prefix,
            tuple(self.steps),
            skipped,
            self.lost,
            self.replaced,
            self.limit,
            self.device,
            self.flushed,
        )

    def having(self, skipped: dict[str, str]) -> SharedAttributes:
        """The same, with more that was left out."""
        other = object.__new__(SharedAttributes)
        for slot in SharedAttributes.__slots__:
            setattr(other, slot, getattr(self, slot))
        other.skipped = self.skipped | skipped
        return other


class StagedEntry:
    """One file that is staged and closed. There may be a hundred thousand of them."""

    __slots__ = ("inode", "path", "size", "temp_suffix", "shared")

    def __init__(self, path: str | None, save: PendingFile, size: int, shared: SharedAttributes) -> None:
        self.path: str | None = path
        """The target as the caller named it; None where that is the place's own name for it."""
        self.temp_suffix: str | None = save.temporary[-_TAIL:]  # type: ignore[index] # it has one
        """What the temporary's name ends in; None once it is published."""
        self.size: int = size
        self.inode: int = save.identity[1]  # type: ignore[index] # it is known by now
        self.shared: SharedAttributes = shared
