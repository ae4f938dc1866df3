"""Names of temporaries: short, random, and telling who made them.

    .durably-<kind>-<boot>-<space>-<process>-<start>-<random>.tmp

``kind`` is f (a file made and renamed by one call), h (a file held under a lock while it is
written) or d (a private directory). The maker is the boot of the kernel, the space of process
numbers, the process number and its start time, in hexadecimal: enough for `durably.sweep` to prove
that it is dead. The name does not contain the target's, so a name of 255 bytes can be saved; it is
plain ASCII that stays unique where case is folded, and no reader of ``*.parquet`` trips over it.
"""

from __future__ import annotations

import os

from durably._native import darwin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["f", "h", "d"]

PREFIX = ".durably-"
SUFFIX = ".tmp"
_FIELDS = 6
_RANDOM_BYTES = 8
_POOL = 64


class Maker:
    """The process that made a temporary, as far as a name can tell."""

    __slots__ = ("boot", "process", "space", "start")

    def __init__(self, boot: str, space: str, process: int, start: int) -> None:
        self.boot = boot
        self.space = space
        self.process = process
        self.start = start

    def __str__(self) -> str:
        return f"{self.boot}-{self.space}-{self.process:x}-{self.start:x}"


UNKNOWN = "0"

_prefix = ""
_pools: dict[str, list[str]] = {"f": [], "h": [], "d": []}


def fresh(kind: Kind) -> str:
    """A new name. The random part comes from the system, a pool at a time."""
    try:
        return _pools[kind].pop()
    except IndexError:
        _refill(kind)
        return fresh(kind)


def parse(name: str) -> tuple[Kind, Maker] | None:
    """Who made this temporary; None for every name that is not exactly of our pattern."""
    if not (name.startswith(PREFIX) and name.endswith(SUFFIX)):
        return None
    fields = name[len(PREFIX) : -len(SUFFIX)].split("-")
    if len(fields) != _FIELDS or fields[0] not in ("f", "h", "d") or not all(map(_is_hex, fields[1:])):
        return None
    kind, boot, space, process, start, random = fields
    if len(random) != 2 * _RANDOM_BYTES:
        return None
    return kind, Maker(boot, space, int(process, 16), int(start, 16))  # type: ignore[return-value] # f, h or d


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
    _pools[kind].extend([start + digits[at : at + width] + SUFFIX for at in range(0, len(digits), width)])


def forget() -> None:
    """Drop what a forked child inherited: it is another process, and must not repeat names."""
    global _prefix
    _prefix = ""
    for pool in _pools.values():
        pool.clear()


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
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
