"""Why a stated figure is not met, in the words and numbers of the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import filesystems
import many
import saves

if TYPE_CHECKING:
    from collections.abc import Callable

    from findings import Finding


def reason(finding: Finding, findings: list[Finding]) -> str:
    """A sentence; that there is none is one."""
    on_a_disk = finding.figure.endswith("durable")
    say = (
        _spread
        if on_a_disk and finding.base == saves.SAME
        else _REASONS.get((finding.contender, finding.base))
    )
    said = say(finding, findings) if say else None
    return said or "not explained yet."


def _interpreter(finding: Finding, findings: list[Finding]) -> str | None:
    """CPython itself."""
    straight = _beside(saves.STRAIGHT, finding, findings)
    same = _beside(saves.SAME, finding, findings)
    if straight is None or same is None:
        return None
    return (
        "the same calls, one after the other in Python with nothing decided between them, already take "
        f"{straight:.2f} x the bare ones, and in C {same:.2f} x. The rest is arguments, names, metadata "
        "and the receipt."
    )


def _stream(finding: Finding, findings: list[Finding]) -> str | None:
    """An unnamed file and a file object."""
    ours = _beside(saves.WRITE_BYTES, finding, findings)
    if ours is None:
        return None
    return (
        "a stream is staged without a name, so that a kill leaves nothing, then linked, and gets Python's "
        f"buffered file object; a save of what is in memory needs none of these, and takes {ours:.2f} x."
    )


def _staged(_: Finding, __: list[Finding]) -> str:
    """fsspec's own file system writes into the target."""
    return (
        "the file is staged as durably.open stages a stream: without a name, then linked and renamed over "
        "the old one, whose mode and attributes it takes. fsspec's own writes into the old one."
    )


def _spread(finding: Finding, _: list[Finding]) -> str:
    """A disk."""
    return (
        f"the calls are the same; over the rounds the ratio went from {finding.low:.2f} to "
        f"{finding.high:.2f}, for the disk answers a flush now faster and now slower, and by "
        "more than what is missing."
    )


def _between(_: Finding, __: list[Finding]) -> str:
    """CPython again."""
    return (
        "for each file both make the same system calls; what the interpreter does between them is the "
        "rest, and it weighs most where the file system needs least time for a file."
    )


def _through_fsspec(_: Finding, __: list[Finding]) -> str:
    """A path, and a second name."""
    return (
        "for each file its real path is looked up, and the old one gets a second name until the commit is "
        "over: work for the processor, and here the disk needs little more time than that."
    )


def _beside(contender: str, finding: Finding, findings: list[Finding]) -> float | None:
    """The median of a contender of the same figure, in units of the bare calls."""
    for one in findings:
        if (one.figure, one.contender, one.base) == (finding.figure, contender, saves.BARE):
            return one.median
    return None


_REASONS: dict[tuple[str, str], Callable[[Finding, list[Finding]], str | None]] = {
    (saves.WRITE_BYTES, saves.BARE): _interpreter,
    (saves.WRITE_BYTES, saves.SAME): _interpreter,
    (saves.OPEN, saves.BARE): _stream,
    (many.BATCH, many.SAME): _between,
    (filesystems.ONE_BY_ONE, filesystems.TRANSACTION): _through_fsspec,
    (filesystems.OPEN, filesystems.STOCK_OPEN): _staged,
}
