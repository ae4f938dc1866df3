"""What file systems keep: the one table behind `durably.probe` and every receipt."""

from __future__ import annotations

from durably._receipts import Promise
from durably._system import ext4_journal
from durably._types import CONSISTENT, DURABLE, NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from durably._types import Durability

    Answer = Literal["yes", "no", "unknown"]
    Promises = tuple[Promise, Promise, Promise]


class FileSystem:
    """A mounted file system, as the system describes it."""

    __slots__ = ("device", "kind", "known", "options")

    def __init__(self, kind: str, options: tuple[str, ...] = (), device: str = "") -> None:
        self.kind: str = kind
        """The type as the system names it: "ext4", "fuse.sshfs", "apfs", "NTFS"; or "unknown"."""
        self.options: tuple[str, ...] = options
        self.device: str = device
        """On Linux "major:minor"."""
        self.known: tuple[str, Promises] | None = None
        """The system and the promises that were looked up, for as long as this object is in use."""


class Row:
    """One line of the table: what holds on these kinds where one of these options is set."""

    __slots__ = ("kinds", "options", "promises", "system")

    def __init__(
        self,
        system: str,
        kinds: tuple[str, ...],
        options: tuple[str, ...],
        readers: tuple[Answer, str],
        crash: tuple[Answer, str],
        durable: tuple[Answer, str],
    ) -> None:
        self.system = system
        self.kinds = kinds
        """Types; one that ends in a dot stands for all that begin with it, and "" for every type."""
        self.options = options
        """Mount options, of which one must be set; none: always."""
        self.promises = (Promise(*readers), Promise(*crash), Promise(*durable))

    def fits(self, system: str, kind: str, options: tuple[str, ...]) -> bool:
        """Whether the line speaks of this file system, mounted like this."""
        return (
            system == self.system
            and any(own in (kind, "") or (own[-1] == "." and kind.startswith(own)) for own in self.kinds)
            and (not self.options or any(option.partition(":")[0] in self.options for option in options))
        )


_RENAME: tuple[Answer, str] = ("yes", "a rename puts the whole new file in place in one step")
_BOTH: tuple[Answer, str] = (
    "yes",
    "the file is flushed before it is renamed, and the name is changed wholly or not at all",
)
_FLUSHED: tuple[Answer, str] = (
    "yes",
    "the directory is flushed after the rename, as far as the disk honours flushes",
)
_NO_FLUSHES: tuple[Answer, str] = (
    "no",
    "mounted without barriers: the disk's cache is not flushed, and may be written in any order or lost",
)
_MEMORY: tuple[Answer, str] = ("no", "the files lie in memory: nothing survives a power cut")
_VOLATILE: tuple[Answer, str] = (
    "no",
    "mounted with 'volatile': every flush reports success and does nothing",
)
_UPPER: tuple[Answer, str] = (
    "unknown",
    "what the upper directory's file system keeps, and that cannot be told from inside the overlay",
)
_UNJOURNALED: tuple[Answer, str] = (
    "no",
    "no journal: a power cut can split the rename, and the name may then be missing",
)
_UNJOURNALED_AFTER: tuple[Answer, str] = (
    "unknown",
    "flushed to the disk, but without a journal a later power cut can still damage the directory",
)
_JOURNAL_HIDDEN: tuple[Answer, str] = (
    "unknown",
    "whether this file system has a journal cannot be told: neither /proc/fs nor /sys can be read",
)
_SERVER: tuple[Answer, str] = (
    "unknown",
    "the server decides, and a flush of the directory ends at this host",
)
_SERVER_RENAMES: tuple[Answer, str] = (
    "unknown",
    "the server renames; other hosts may meet the old file or a stale handle for a while",
)
_SMB_GAP: tuple[Answer, str] = (
    "no",
    "where the server refuses to replace the file, the kernel removes it first and then renames",
)
_DAEMON: tuple[Answer, str] = (
    "unknown",
    "a program serves this file system: it decides, and a flush that it lacks reports success",
)
_HOST: tuple[Answer, str] = ("unknown", "another machine's file system is passed through, and it decides")
_NTFS3: tuple[Answer, str] = ("unknown", "what this driver brings back after a power cut is not established")
_MAN_PAGE: tuple[Answer, str] = (
    "yes",
    "the file is flushed before the rename, and rename(2) leaves an instance of the target after a crash",
)
_DIRECTORY_UNDOCUMENTED: tuple[Answer, str] = (
    "unknown",
    "the directory is flushed after the rename, but Apple does not document what that does",
)
_WHOLE: tuple[Answer, str] = (
    "yes",
    "whoever opens the file gets a whole one; an attempt to open it may fail for a moment and be repeated",
)
_LOGGED: tuple[Answer, str] = (
    "yes",
    "the file is flushed before it is renamed, and NTFS logs changes of names",
)
_NOT_DOCUMENTED: tuple[Answer, str] = (
    "unknown",
    "Windows has no flush for directories, and does not document when a rename is on the disk",
)
_REMOTE: tuple[Answer, str] = ("unknown", "a network drive: the server decides")
_UNKNOWN: tuple[Answer, str] = ("unknown", "nothing is known about this file system, so nothing is promised")

# Read from above: the first line that fits counts. platforms/ gives the sources of each.
TABLE = (
    # Linux: on the disks of this machine.
    Row(
        "linux",
        ("ext3", "ext4", "xfs", "btrfs"),
        ("nobarrier", "barrier=0"),
        _RENAME,
        _NO_FLUSHES,
        _NO_FLUSHES,
    ),
    Row("linux", ("ext4",), (ext4_journal.ABSENT,), _RENAME, _UNJOURNALED, _UNJOURNALED_AFTER),
    Row("linux", ("ext4",), (ext4_journal.HIDDEN,), _RENAME, _JOURNAL_HIDDEN, _JOURNAL_HIDDEN),
    Row("linux", ("ext4", "ext3", "xfs", "btrfs"), (), _RENAME, _BOTH, _FLUSHED),
    Row("linux", ("ext2",), (), _RENAME, _UNJOURNALED, _UNJOURNALED_AFTER),
    Row("linux", ("f2fs",), ("nobarrier", "fsync_mode=nobarrier"), _RENAME, _NO_FLUSHES, _NO_FLUSHES),
    Row(
        "linux",
        ("f2fs",),
        ("checkpoint=disable",),
        _RENAME,
        ("no", "mounted with checkpoint=disable: flushes report success and do nothing"),
        ("no", "mounted with checkpoint=disable: flushes report success and do nothing"),
    ),
    Row("linux", ("f2fs",), (), _RENAME, _BOTH, _FLUSHED),
    Row(
        "linux",
        ("zfs",),
        (),
        _RENAME,
        _BOTH,
        ("unknown", "with the property sync=disabled flushes do nothing, and that cannot be seen from here"),
    ),
    Row("linux", ("vfat", "exfat", "msdos"), (), _RENAME, _UNJOURNALED, _UNJOURNALED_AFTER),
    Row("linux", ("ntfs3", "ntfs"), (), _RENAME, _NTFS3, _NTFS3),
    # Linux: not on a disk, or not this file system's own.
    Row("linux", ("tmpfs", "ramfs"), (), _RENAME, _MEMORY, _MEMORY),
    Row("linux", ("overlay",), ("volatile", "fsync=volatile"), _RENAME, _VOLATILE, _VOLATILE),
    Row("linux", ("overlay",), (), _RENAME, _UPPER, _UPPER),
    Row("linux", ("nfs", "nfs4"), (), _SERVER_RENAMES, _SERVER, _SERVER),
    Row("linux", ("cifs", "smb3", "smbfs"), (), _SMB_GAP, _SMB_GAP, _SERVER),
    Row("linux", ("fuse", "fuse.", "fuseblk", "fuseblk."), (), _DAEMON, _DAEMON, _DAEMON),
    Row("linux", ("9p", "virtiofs", "vboxsf", "drvfs"), (), _HOST, _HOST, _HOST),
    Row("linux", ("",), (), _UNKNOWN, _UNKNOWN, _UNKNOWN),
    # macOS.
    Row("macos", ("apfs",), (), _RENAME, _MAN_PAGE, _DIRECTORY_UNDOCUMENTED),
    Row("macos", ("hfs",), ("journaled",), _RENAME, _MAN_PAGE, _DIRECTORY_UNDOCUMENTED),
    Row("macos", ("hfs", "msdos", "exfat"), (), _RENAME, _UNJOURNALED, _UNJOURNALED_AFTER),
    Row("macos", ("tmpfs",), (), _RENAME, _MEMORY, _MEMORY),
    Row("macos", ("smbfs", "nfs", "afpfs", "webdav"), (), _SERVER_RENAMES, _SERVER, _SERVER),
    Row("macos", ("macfuse", "osxfuse", "fusefs"), (), _DAEMON, _DAEMON, _DAEMON),
    Row("macos", ("",), (), _UNKNOWN, _UNKNOWN, _UNKNOWN),
    # Windows.
    Row("windows", ("",), ("remote",), _REMOTE, _REMOTE, _REMOTE),
    Row("windows", ("NTFS",), (), _WHOLE, _LOGGED, _NOT_DOCUMENTED),
    Row(
        "windows",
        ("ReFS",),
        (),
        ("unknown", "may refuse the rename that replaces at once; nothing is promised about the other one"),
        ("unknown", "Microsoft does not document what a rename leaves after a power cut"),
        _NOT_DOCUMENTED,
    ),
    Row("windows", ("FAT", "FAT32", "exFAT"), (), _UNKNOWN, _UNJOURNALED, _NOT_DOCUMENTED),
    Row("windows", ("",), (), _UNKNOWN, _UNKNOWN, _UNKNOWN),
    # The other POSIX systems do not tell the type of a file system.
    Row("posix", ("",), (), _UNKNOWN, _UNKNOWN, _UNKNOWN),
)


def promises(system: str, file_system: FileSystem) -> Promises:
    """What a durable save keeps there: readers, crash and durable. ``system``: the routine's name."""
    known = file_system.known
    if known is None or known[0] != system:
        known = (system, _looked_up(system, file_system))
        file_system.known = known
    return known[1]


def kept(level: Durability, system: str, file_system: FileSystem) -> tuple[Durability, str]:
    """What a finished save at ``level`` keeps there, and why it is less; "" where it is not."""
    if level is NONE:
        return NONE, ""  # without a look at the file system
    return level_kept(level, promises(system, file_system))


def level_kept(level: Durability, promised: Promises) -> tuple[Durability, str]:
    """As `kept`, of what is promised already."""
    if level is NONE:
        return NONE, ""
    readers, crash, durable = promised
    for promise in (readers, crash):
        if promise != "yes":
            return NONE, promise.reason
    if level is DURABLE and durable != "yes":
        return CONSISTENT, durable.reason
    return level, ""


def _looked_up(system: str, file_system: FileSystem) -> Promises:
    kind, options = file_system.kind, file_system.options
    if system == "linux" and kind == "ext4":
        options = (*options, ext4_journal.state(file_system.device))
    return next(row.promises for row in TABLE if row.fits(system, kind, options))
