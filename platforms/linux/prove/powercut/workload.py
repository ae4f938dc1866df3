"""What a workload is: what is done on the disk while the power may go, and what must hold then."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import courses

if TYPE_CHECKING:
    from collections.abc import Callable

    from .session import Session, Writer

#: The file systems.
ALL = ("ext4", "xfs", "btrfs")
#: Kinds of violation that a control may be there for: a file that is torn; one that is old or missing.
WHOLE, KEPT = frozenset({"torn"}), frozenset({"stale", "lost"})


class Workload(NamedTuple):
    """One line of the tables.

    ``durable``: whether a save that has returned must stay. ``refused``: flags of open(2) that fail, as
    where the file system lacks them. ``overlay``: whether it runs in an overlay on the file system.
    ``lie``: whether the disk ignores flushes. ``recover``: what a program calls after a crash with the
    path of the directory, before it reads; `durably.sweep` comes after it in any case.
    ``control``: the name of the control that shows that this course can fail. ``careless``: a writer for
    the same course that flushes nothing, which a disk that fails a write must be seen to rob; None: such
    disks are not tried.

    Of a control: ``expects``: kinds of violation of which one must be found, on the file systems
    ``where``. ``again``: whether it is found only where the recovery is cut off too.
    """

    name: str
    course: Callable[[Session, Writer], None]
    writer: Writer
    control: str = ""
    careless: Writer | None = None
    durable: bool = True
    refused: int = 0
    overlay: bool = False
    lie: bool = False
    recover: Callable[[str], object] | None = None
    again: bool = False
    expects: frozenset[str] = frozenset()
    where: tuple[str, ...] = ALL

    @property
    def is_short(self) -> bool:
        """Whether a few rounds of it are a few saves, so that every position of its log can be tried."""
        return self.course.__module__ == courses.__name__
