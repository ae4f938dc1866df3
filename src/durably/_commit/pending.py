"""The state of one save in flight. Routines change it, the rooms above them drive it."""

from __future__ import annotations

from durably._types import DURABLE, LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any

    from durably._system.temp_names import Kind
    from durably._types import Durability, Options

CLOSED = -1


class PendingFile:
    """One save: where it goes, what was there, what is staged, and how far it has come.

    The defaults are the class's, so that a new one costs little.
    """

    path: str
    """The target as the caller named it."""
    options: Options
    held: bool
    """Whether the temporary is held under a lock for as long as the caller likes."""

    directory: Any = None
    """The directory of the real target: a descriptor, on Windows an absolute path."""
    borrowed: Any = None
    """That directory, where it is others' as well, and not to be closed with this save."""
    where: str = ""
    """That directory as a path, for messages; relative where the caller's path is."""
    name: str = ""
    """The name of the real target in that directory, after symbolic links."""
    links: int = 0
    """Symbolic links followed on the way."""
    made: tuple[tuple[Any, str], ...] = ()
    """Directories made on the way: the parent's descriptor and the name."""

    old: os.stat_result | None = None
    """The file that is to be replaced."""
    old_attributes: Any = None
    """What else the routine has read of the old file, to carry it over."""
    preserve_metadata: bool = False
    """Whether the old file's metadata is to be carried over."""
    plain_mode: int = 0
    """The mode that a new file gets, as the builtin open would give it (private directory only)."""
    plain_acl: bytes | None = None
    """The POSIX ACL that it inherits from the directory."""

    staging: Any = None
    """The directory of the temporary: the target's own, a private one in it, or a fallback elsewhere."""
    private: str | None = None
    """The name of the private directory."""
    lock: Any = None
    """What keeps it from being swept where that is no lock on ``staging``: a handle of Windows."""
    in_fallback_dir: bool = False
    """Whether the staging directory is elsewhere, as the target's cannot hold it (in place only)."""
    fd: int = CLOSED
    """The descriptor of the temporary."""
    temporary: str | None = None
    """Its name in the staging directory; None before it has one and after publication."""
    second: str | None = None
    """A second name that it may have while it is moved from one to the other."""
    identity: tuple[int, int] | None = None
    """Its device and inode, by which a published file is recognised."""

    closes: bool = False
    """Whether the temporary is closed, and kept, until others are published with it."""
    shared_locked: bool = False
    """Whether a shared lock on its directory keeps it from being swept while it is closed."""

    closing: list[Any] | tuple[()] = ()
    """What is to be closed, at the end."""
    limit: Durability = DURABLE
    """The highest level that is still kept, after what had to be left out."""
    published: bool = False
    in_place: bool = False
    lost: tuple[str, ...] = ()
    """What of the old file's metadata could not be kept."""

    def __init__(self, path: str, options: Options, held: bool = False) -> None:
        self.path = path
        self.options = options
        self.held = held
        self.steps: list[str] = []
        self.skipped: dict[str, str] = {}

    def replaces(self, old: os.stat_result) -> None:
        """There is a file at the target."""
        self.old = old
        self.preserve_metadata = self.options.preserve_metadata

    def skip_flush(self, step: str, reason: str, limit: Durability) -> None:
        """Note a flush that cannot be had here, and the level that is left without it."""
        self.skipped[step] = reason
        self.limit = min(self.limit, limit, key=LEVELS.index)

    @property
    def kind(self) -> Kind:
        """The kind of name that the temporary gets."""
        return "h" if self.held else "b" if self.shared_locked else "f"


class PendingTree(PendingFile):
    """One save of a whole directory. ``private`` is the directory that the new tree lies in."""

    fallback: str | None = None
    """"symlink": the target is a symbolic link to one of several versions of the tree."""
    copies: bool = False
    """Whether the new tree begins as a copy of the old one."""
    keep_old: str | None = None
    """The path that the old tree is moved to, as the caller named it."""
    kept: tuple[Any, str] | None = None
    """That path's directory and name."""
    publishing: bool = False
    """Whether the step has been tried after which the target is the new tree."""
    version: str | None = None
    """The name of the new tree beside the target, where the target is to be a link to it."""
    old_version: str | None = None
    """The name of the old one."""
