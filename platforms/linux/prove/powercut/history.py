"""What the writer did, and which contents it may therefore find after a cut at any position of the log."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

ABSENT = "absent"
NEVER = 1 << 62

#: What can be wrong with a state. A, B and C are the invariants of the rig.
KINDS = {
    "mount": "the file system cannot be mounted",
    "fsck": "the file system is damaged",
    "read": "a file cannot be read",
    "torn": "A: a file is not one complete version",
    "stale": "B: a file is older than the last acknowledged version",
    "lost": "B: an acknowledged file is missing",
    "failed": "a version is there although its save had failed",
    "litter": "C: a leftover that sweep does not remove",
}


class Violation(NamedTuple):
    """What is wrong with a state, one of `KINDS`, and where."""

    kind: str
    detail: str


class Found(NamedTuple):
    """What a mounted state held.

    ``broken``: why it could not be looked at: a kind and a detail; or None.
    ``files``: by path: a digest, and a word on the content.
    ``leftovers``: files that no operation was to make, before sweeping; ``remaining``: after it.
    """

    broken: tuple[str, str] | None
    files: dict[str, tuple[str, str]]
    leftovers: int
    remaining: list[str]


class Operation:
    """One save, or one removal, of one path."""

    __slots__ = ("digest", "done", "durable", "failed", "start")

    def __init__(self, digest: str, start: int, *, durable: bool) -> None:
        self.digest = digest
        self.start = start
        self.durable = durable
        """Whether its return promises that nothing older comes back."""
        self.done = NEVER
        self.failed = False


class History:
    """The operations on each path, read from the marks of a log."""

    def __init__(self, marks: list[tuple[int, dict[str, Any]]]) -> None:
        self.paths: dict[str, list[Operation]] = {}
        self.members: dict[str, list[str]] = {}
        """The files that are saved together under one name of `paths`."""
        self.begin = NEVER
        self.acknowledged: list[int] = []
        """The positions right after the return of a save."""
        self._running: dict[str, Operation] = {}
        for position, mark in marks:
            self._read(position, mark)

    def _read(self, position: int, mark: dict[str, Any]) -> None:
        event = mark["event"]
        if event == "begin":
            self.begin = position
            self.acknowledged.clear()
        elif event == "start":
            operation = Operation(mark["digest"], position, durable=mark["durable"])
            self._running[mark["id"]] = operation
            before = self.paths.setdefault(mark["path"], [_nothing()])
            before.append(operation)
            if "members" in mark:
                self.members[mark["path"]] = mark["members"]
        elif event == "done":
            operation = self._running.pop(mark["id"])
            operation.done = position
            operation.durable = operation.durable and mark["durable"]
            if self.begin != NEVER:
                self.acknowledged.append(position + 1)
        elif event == "failed":
            self._running.pop(mark["id"]).failed = True

    def judge(self, found: Found, position: int) -> list[Violation]:
        """What is wrong with a state that a cut before the record at ``position`` left."""
        if found.broken is not None:
            return [Violation(*found.broken)]
        wrong = [Violation("litter", name) for name in found.remaining]
        for path, operations in self.paths.items():
            digest, word = found.files.get(path, (ABSENT, "missing"))
            kind = _wrong(operations, digest, word, position)
            if kind:
                wrong.append(Violation(kind, f"{path} ({word})"))
        return wrong


def digest_of(content: bytes | memoryview) -> str:
    """What stands for a content in the marks."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def digest_of_all(digests: dict[str, str]) -> str:
    """What stands for several files, by name; for none of them, if each is absent."""
    if digests and set(digests.values()) <= {ABSENT}:
        return ABSENT
    return digest_of(json.dumps(digests, sort_keys=True).encode())


def _nothing() -> Operation:
    before = Operation(ABSENT, -1, durable=False)
    before.done = -1
    return before


def _wrong(operations: list[Operation], digest: str, word: str, position: int) -> str:
    started = [one for one in operations if one.start < position]
    if digest in permitted(started, position):
        return ""
    if digest == ABSENT:
        return "lost"
    if word == "unreadable":
        return "read"
    known = [one for one in started if one.digest == digest]
    if not known:
        return "torn"
    return "stale" if any(not one.failed for one in known) else "failed"


def permitted(operations: list[Operation], position: int) -> set[str]:
    """The contents that a path may have.

    Each version whose save had begun, but none that was there before a later save began that has
    returned by now. This holds for concurrent saves of one path as well.
    """
    whole = [one for one in operations if not one.failed]
    returned = [one.start for one in whole if one.durable and one.done < position]
    last = max(returned, default=-1)
    return {one.digest for one in whole if one.done >= last}
