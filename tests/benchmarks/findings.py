"""What is found: ratios beside what was hoped for, and the points of curves. As data, and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Target:
    """What a finding is hoped to be. Printed, never asserted."""

    bound: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Whether a measured value is on the hoped side."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Finding:
    """One line of the table: a contender in units of the base it was measured beside, or of its own."""

    figure: str
    contender: str
    base: str
    median: float
    low: float
    high: float
    fastest: float
    seconds: float
    rounds: int
    target: Target | None = None
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """In words, whether the target is met; it is the median that counts."""
        if self.target is None:
            return ""
        return "met" if self.target.is_met(self.median) else "not met"

    @property
    def stated(self) -> str:
        """The target, in words."""
        if self.target is None:
            return ""
        return f"{'≥' if self.target.at_least else '≤'} {self.target.bound:g} {self.unit}"

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """A finding as a data file has it."""
        target = data["target"]
        return cls(**{**data, "target": Target(**target) if target else None})


@dataclass(frozen=True)
class Point:
    """One point of a curve: what ``contender`` took ``at`` so many bytes, files, entries or workers."""

    curve: str
    place: str
    contender: str
    at: int
    median: float
    low: float
    high: float
    rounds: int
    unit: str = "s"


@dataclass(frozen=True)
class Count:
    """The system calls of one save, in order."""

    contender: str
    level: str
    calls: tuple[str, ...]


@dataclass
class Found:
    """All that a group has found, and what it had to leave out, each with the reason."""

    findings: list[Finding] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def __iadd__(self, other: Found) -> Self:
        self.findings += other.findings
        self.points += other.points
        self.counts += other.counts
        self.left_out += [reason for reason in other.left_out if reason not in self.left_out]
        return self

    def as_data(self) -> dict[str, list[Any]]:
        """For a data file."""
        return {
            "findings": [asdict(one) for one in self.findings],
            "points": [asdict(one) for one in self.points],
            "counts": [asdict(one) for one in self.counts],
            "left_out": self.left_out,
        }

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """What a data file holds."""
        return cls(
            [Finding.from_data(one) for one in data["findings"]],
            [Point(**one) for one in data["points"]],
            [Count(**{**one, "calls": tuple(one["calls"])}) for one in data["counts"]],
            list(data["left_out"]),
        )
