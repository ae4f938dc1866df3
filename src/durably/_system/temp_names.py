"""Names of temporaries: short, random, and telling who made them.

    .durably-<kind>-<boot>-<space>-<process>-<start>-<random>.tmp

``kind`` is f (a file made and renamed by one call), h (a file held under a lock while it is
written), b (one of many files, closed while their maker has a shared lock on the directory), d (a
private directory) or v (a version of a directory, which a link may lead to: it is no
temporary, and its name ends in .tree) or t (what a transaction has staged or kept: a file or a
directory, which a journal may need). The maker is the boot of the kernel, the space of process
numbers, the process number and its start time, in hexadecimal: enough for `durably.sweep` to prove
that it is dead. The name does not contain the target's, so a name of 255 bytes can be saved; it is
plain ASCII that stays unique where case is folded, and no reader of ``*.parquet`` trips over it.
"""

from __future__ import annotations

import os

from durably._system.native import darwin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["f", "h", "b", "d", "v", "t"]

PREFIX = ".durably-"
SUFFIX = ".tmp"
VERSION_SUFFIX = ".tree"
JOURNAL = ".durably-journal"
"""The name of a transaction's journal in its root: fixed, so that recovery finds it."""
LOCK = ".durably-lock"
"""The name of the file that excludes other transactions from a root on Windows; gone with its handle."""
_FIELDS = 6
_RANDOM_BYTES = 8
_POOL = 64


class Maker:
    """The process that made a temporary, as far as a name can tell."""

    __slots__ = ("boot", "process", "space", "start")

    def __init__(self, boot: str, space: str, process: int, start: int) -> None:
        self.boot: str = boot
        self.space: str = space
        self.process: int = process
        self.start: int = start

    def __str__(self) -> str:
        return f"{self.boot}-{self.space}-{self.process:x}-{self.start:x}"


UNKNOWN = "0"

_prefix = ""
_pools: dict[str, list[str]] = {"f": [], "h": [], "b": [], "d": [], "v": [], "t": []}


def fresh(kind: Kind) -> str:
    """A new name. The random part comes from the system, a pool at a time."""
    try:
        return _pools[kind].pop()
    except IndexError:
        _refill(kind)
        return fresh(kind)


def split(name: str) -> tuple[str, str]:
    """A temporary's name in two parts: what all of this process's of its kind begin with, and the rest."""
    at = len(name) - len(SUFFIX) - 2 * _RANDOM_BYTES
    return name[:at], name[at:]


def parse(name: str) -> tuple[Kind, Maker] | None:
    """Who made this temporary; None for every name that is not exactly of our pattern."""
    suffix = VERSION_SUFFIX if name.startswith(PREFIX + "v") else SUFFIX
    if not (name.startswith(PREFIX) and name.endswith(suffix)):
        return None
    fields = name[len(PREFIX) : -len(suffix)].split("-")
    if len(fields) != _FIELDS or fields[0] not in _pools or not all(map(_is_hex, fields[1:])):
        return None
    kind, boot, space, process, start, random = fields
    if len(random) != 2 * _RANDOM_BYTES:
        return None
    return kind, Maker(boot, space, int(process, 16), int(start, 16))  # type: ignore[return-value] # of _pools


def is_of(name: str, kind: Kind) -> bool:
    """Whether this is exactly the name of a temporary of that kind."""
    made = parse(name)
    return made is not None and made[0] == kind


def this_process() -> Maker:
    """The maker that names made by this process carry."""
    return Maker(_boot(), _process_space(), os.getpid(), process_start(os.getpid()))


def process_start(process: int) -> int:
    """When the process started, in clock ticks since the boot; 0 where the system does not tell."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            # The command's name, in parentheses, may hold anything: count from its end.
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _refill(kind: Kind) -> None:
    global _prefix
    _prefix = _prefix or f"-{this_process()}-"
    digits = os.urandom(_RANDOM_BYTES * _POOL).hex()
    width = 2 * _RANDOM_BYTES
    start = f"{PREFIX}{kind}{_prefix}"
    suffix = VERSION_SUFFIX if kind == "v" else SUFFIX
    _pools[kind].extend([start + digits[at : at + width] + suffix for at in range(0, len(digits), width)])


def forget() -> None:
    """Drop what a forked child inherited: it is another process, and must not repeat names."""
    global _prefix
    _prefix = ""
    for pool in _pools.values():
        pool.clear()


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            boot = file.read()
    except OSError:
        try:
            boot = darwin.boot_session()
        except OSError:
            return UNKNOWN
    return boot.replace("-", "").lower()[:8]


def _process_space() -> str:
    try:
        return f"{os.stat('/proc/self/ns/pid').st_ino:x}"
    except OSError:
        return UNKNOWN


def _is_hex(text: str) -> bool:
    return bool(text) and not text.strip("0123456789abcdef")


_register = getattr(os, "register_at_fork", None)  # Windows has no fork
if _register is not None:
    _register(after_in_child=forget)
