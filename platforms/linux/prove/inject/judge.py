"""What must hold after a save in which one call failed, or that was killed at one."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

import durably

from .errors import FLUSHES, REPEATED
from .shapes import ROOT
from .ways import MODE, NOTE, OWNER, GivenUpError, Way

assert sys.platform == "linux"

if TYPE_CHECKING:
    from .outcome import Outcome

#: What can be wrong.
KINDS = {
    "torn": "the target is neither the whole old nor the whole new file",
    "changed": "an error says that the target is unchanged, and it is not",
    "unsaved": "success is reported, and the target is not the new file",
    "silent": "a flush failed, and the receipt claims what it was for",
    "metadata": "the old file's metadata are neither kept nor named as lost",
    "kind": "the error is of the wrong kind, or names the wrong path",
    "litter": "something is left over that nobody names, or that sweep does not remove",
}
#: Errors after which the target holds the new file, or a whole one.
_IN_PLACE = "NotDurableError"
_UNKNOWN = "OutcomeUnknownError"
_UNSUPPORTED = "UnsupportedError"
_TORN = "TornError"
_RECOVERY = "RecoveryNeededError"


class Fault(NamedTuple):
    """What was done to one save.

    ``call`` and ``at``: the call, and its number among those of the save, from 1. ``error``: by name;
    "": the process was killed. ``forever``: whether every later one failed too.
    """

    call: str
    at: int
    error: str
    forever: bool = False

    def __str__(self) -> str:
        what = f"fails with {self.error}" if self.error else "is the last thing before a kill"
        return f"{self.call} {self.at} {what}{', and all later ones' if self.forever else ''}"


class Wrong(NamedTuple):
    """One violation: of `KINDS`, and what was seen."""

    kind: str
    detail: str


def judge(way: Way, state: str, place: str, fault: Fault, said: Outcome | None) -> list[Wrong]:
    """What is wrong with a directory, after a save that said this, or was killed."""
    target = os.path.join(place, way.target)
    old = way.shape.old if state == "old" else None
    new = way.content(state)
    if said is None or said.error == _RECOVERY:
        way.shape.recover(target)
        return _killed(way, place, (old, new))
    content = way.shape.read(target)
    if way.discards:
        wrong = _discarded(way, content, old, said)
    elif not said.error:
        wrong = _success(way, state, target, fault, said, content == new)
    else:
        wrong = _failure(way, place, said, content, old, new)
    return wrong + _unnamed(way, place, said)


def _killed(way: Way, place: str, whole: tuple[bytes | None, bytes]) -> list[Wrong]:
    wrong: list[Wrong] = []
    target = os.path.join(place, way.target)
    content = way.shape.read(target)
    if content not in whole and not way.in_place:
        wrong.append(Wrong("torn", f"after the kill: {_word(way, content)}"))
    for directory, _, _ in os.walk(place):
        durably.sweep(directory, older_than=0)
    left = _beside(way, place)
    if left:
        wrong.append(Wrong("litter", f"after a kill and a sweep: {', '.join(sorted(left))}"))
    if way.shape.read(target) != content:
        wrong.append(Wrong("changed", "by sweeping"))
    return wrong


def _success(way: Way, state: str, target: str, fault: Fault, said: Outcome, is_new: bool) -> list[Wrong]:
    wrong: list[Wrong] = []
    if not is_new:
        wrong.append(Wrong("unsaved", _word(way, way.shape.read(target))))
    # Of a journal's removal it does not matter: what it says was done, and doing it again changes nothing.
    flushed = fault.call in FLUSHES and fault.error != REPEATED and "fsync journal" not in said.skipped
    if flushed and said.durability == way.level != "none" and not said.in_place:
        wrong.append(Wrong("silent", f"the receipt says {said.durability}; skipped: {said.skipped}"))
    if state == "old" and way.carries and not said.in_place:
        missing = _missing(target)
        if missing and not said.lost:
            wrong.append(Wrong("metadata", f"{', '.join(missing)} of the old file"))
    return wrong


def _missing(target: str) -> list[str]:
    found = os.stat(target)
    missing: list[str] = []
    if stat.S_IMODE(found.st_mode) != MODE:
        missing.append(f"mode {found.st_mode:o}")
    if (found.st_uid, found.st_gid) != (OWNER, OWNER):
        missing.append("owner")
    if NOTE[0] not in os.listxattr(target):
        missing.append("attribute")
    return missing


def _failure(
    way: Way, place: str, said: Outcome, content: bytes | None, old: bytes | None, new: bytes
) -> list[Wrong]:
    told = f"{said.error} [{said.number}] {said.message}; the target: {_word(way, content)}"
    if said.error == _TORN and way.in_place:
        staged = way.shape.read(_only_file(said.staged))
        return [] if staged == new else [Wrong("torn", f"{told}; the staged copy: {_word(way, staged)}")]
    if said.error == _IN_PLACE:
        wrong = [] if content == new else [Wrong("unsaved", told)]
        return wrong + ([Wrong("silent", told)] if said.durability == way.level else [])
    if said.error == _UNKNOWN:
        return [] if content in (old, new) else [Wrong("torn", told)]
    if not (said.error == _UNSUPPORTED or (said.builtin and said.number)):
        return [Wrong("kind", told)]
    if content == old:
        expected = os.path.join(place, way.link or way.target)
        # An error of the saver's own, in what is staged, names what it opened.
        is_own = "/.durably-d-" in said.path or "/.durably-t-" in said.path
        # Of several files, any may be to blame, and is named by its path below the root.
        known = is_own or way.shape is ROOT or said.path in ("", expected)
        return [] if known else [Wrong("kind", f"{told}; it names {said.path}")]
    return [Wrong("changed" if content == new else "torn", told)]


def _discarded(way: Way, content: bytes | None, old: bytes | None, said: Outcome) -> list[Wrong]:
    told = f"{said.error} [{said.number}] {said.message}; the target: {_word(way, content)}"
    if content != old:
        return [Wrong("changed", told)]
    # The body's own exception, or the error of the system if the body was not reached.
    expected = said.error in (GivenUpError.__name__, _UNSUPPORTED) or (said.builtin and said.number)
    return [] if expected else [Wrong("kind", told)]


def _unnamed(way: Way, place: str, said: Outcome) -> list[Wrong]:
    """What is left and is not named; or is named, and is not of durably's pattern."""
    named = {os.path.normpath(path) for path in [*said.left, said.staged] if path}
    found = {os.path.join(place, one) for one in _beside(way, place)}
    unnamed = {path for path in found if not any(_lies_in(path, one) for one in named)}
    if way.target != os.path.basename(way.target):
        unnamed -= _kept_parents(way, place)
    return [Wrong("litter", f"not named: {', '.join(sorted(unnamed))}")] if unnamed else []


def _lies_in(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/") or place.startswith(f"{path}/")


def _kept_parents(way: Way, place: str) -> set[str]:
    """Directories that were made on the way, where the save has happened."""
    if not os.path.lexists(os.path.join(place, way.target)):
        return set()
    return _parents(way, place)


def _parents(way: Way, place: str) -> set[str]:
    parts = way.target.split("/")[:-1]
    return {os.path.join(place, *parts[: count + 1]) for count in range(len(parts))}


def _beside(way: Way, place: str) -> set[str]:
    """What lies there beside the target, by path below the directory."""
    inside = (
        os.path.relpath(os.path.join(directory, name), place)
        for directory, directories, files in os.walk(place)
        for name in (*directories, *files)
    )
    parents = {os.path.relpath(path, place) for path in _parents(way, place)}
    others = {path for path in inside if not way.shape.owns(place, way.target, path)}
    return others - {way.link} - parents


def _only_file(staged: str) -> str:
    """The staged copy: the file itself, or the only one in a private directory."""
    return os.path.join(staged, *os.listdir(staged)) if os.path.isdir(staged) else staged


def _word(way: Way, content: bytes | None) -> str:
    if content is None:
        return "absent"
    return "the old one" if content == way.shape.old else f"{len(content)} bytes"
