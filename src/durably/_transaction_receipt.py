"""What a transaction and a recovery have done."""

from __future__ import annotations

from durably._options import Durability, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal


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
