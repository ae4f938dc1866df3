"""The one interface to stores: how one kind of store takes a whole object, or nothing.

A save goes through the verbs in this order::

    begin ─ write ─ ... ─ commit
                 or: discard

After a commit that failed, `Store.landed` says what the store holds; `Store.discard` follows unless it
is the new object.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from durably._receipts import Promise

if TYPE_CHECKING:
    from typing import Literal

    Answer = tuple[Literal["yes", "no", "unknown"], str]


CHUNK = 1 << 20


def promises(readers: Answer, crash: Answer, durable: Answer) -> tuple[Promise, Promise, Promise]:
    """The three promises of a kind of store, each an answer and its reason."""
    return Promise(*readers), Promise(*crash), Promise(*durable)


_UNTOLD: Answer = ("unknown", "this routine does not say what its store keeps")


class Store(ABC):
    """One save to a store. Make a subclass for a kind of store, and `durably.stores.register` it.

    ``fs``: the fsspec file system. ``path``: the object's, as that file system names it.
    ``fresh``: whether the object must not exist yet (``overwrite=False``).
    """

    name: ClassVar[str]
    """The routine, as `durably.probe` shows it."""
    promises: ClassVar[tuple[Promise, Promise, Promise]] = promises(_UNTOLD, _UNTOLD, _UNTOLD)
    """The three promises: readers, crash, durable."""
    creates_only: ClassVar[bool] = False
    """Whether the store itself can refuse to replace an object, without a race."""
    is_concurrent: ClassVar[bool] = False
    """Whether a `durably.Batch` may run several saves over one ``fs`` at a time, each on its thread."""
    has_directories: ClassVar[bool] = False
    """Whether a missing directory is an error, and ``make_parents`` makes it."""

    def __init__(self, fs: Any, path: str, *, fresh: bool = False) -> None:
        self.fs = fs
        self.path = path
        self.fresh = fresh
        self.steps: list[str] = []
        """What was done, in order, for the receipt."""
        self.skipped: dict[str, str] = {}
        """What was left out, each with its reason, for the receipt."""
        self.left: tuple[str, ...] = ()
        """What lies at the store until it is committed or discarded, for a message."""

    @classmethod
    def check(cls, fs: Any) -> str:  # noqa: ARG003 # for those that look
        """Why this file system cannot be saved to after all; "" where it can."""
        return ""

    @abstractmethod
    def begin(self) -> None:
        """Start. The old object stands; nothing is to be seen under ``path``."""

    @abstractmethod
    def write(self, data: memoryview) -> None:
        """Take all of these bytes."""

    @abstractmethod
    def commit(self) -> None:
        """Put the whole object in place; FileExistsError if ``fresh`` and there is one."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing behind: no upload, no temporary. The old object stands.

        Also after `begin` or `commit` failed, and twice. Raises any exception if something stays;
        ``left`` names it then.
        """

    def landed(self, error: Exception) -> bool | None:  # noqa: ARG002 # for those that can tell
        """Whether the store holds the new object, after `commit` failed with ``error``.

        True: it does. False: it does not, and will not. None: that cannot be told. May raise what the
        client raises: that counts as None.
        """
        return None

    def let_go(self) -> None:  # noqa: B027 # not every store holds something
        """Forget the save without a request: in a forked child, where it is the parent's."""

    def fetch(self, sink: Any) -> None:
        """Copy the object that is there into a local file; FileNotFoundError if there is none."""
        with self.fs.open(self.path, "rb") as old:
            shutil.copyfileobj(old, sink, CHUNK)
