"""Interleaved rounds: every contender runs in every round, so that a slow moment slows them all.

A ratio is taken inside a round, and the median of those counts; beside it stand their range and
the ratio of the fastest rounds, which noise from other processes touches least.
"""

from __future__ import annotations

import random
import statistics
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Contender = Callable[[], float]
    """Does one round's share of work and returns how long one unit of it took, in seconds."""


@dataclass(frozen=True)
class Target:
    """What a ratio is hoped to be. Printed, never asserted."""

    bound: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g} x"

    def is_met(self, ratio: float) -> bool:
        """Whether a measured ratio is on the hoped side."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound


@dataclass(frozen=True)
class Ratio:
    """One line of the table: a contender against the base it is measured in units of."""

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

    @property
    def verdict(self) -> str:
        """In words, whether the target is met."""
        if self.target is None:
            return ""
        return "met" if self.target.is_met(self.median) else "not met"

    def as_data(self) -> dict[str, object]:
        """The line for a data file."""
        target = str(self.target) if self.target else None
        return {**asdict(self), "target": target, "verdict": self.verdict or None}


class Rounds:
    """The times of all contenders of one figure, round by round."""

    def __init__(self, figure: str, contenders: Mapping[str, Contender], rounds: int) -> None:
        self.figure = figure
        self.times: dict[str, list[float]] = {name: [] for name in contenders}
        for contender in contenders.values():
            contender()  # warm: caches, pools, lazily bound calls
        for number in range(rounds):
            order = list(contenders)
            random.shuffle(order)
            for name in order:
                self.times[name].append(contenders[name]())
            _show_progress(figure, number + 1, rounds)

    def ratio(self, contender: str, base: str, target: Target | None = None) -> Ratio:
        """The contender's time as a multiple of the base's."""
        pairs = zip(self.times[contender], self.times[base], strict=True)
        ratios = [mine / other for mine, other in pairs]
        return Ratio(
            figure=self.figure,
            contender=contender,
            base=base,
            median=statistics.median(ratios),
            low=min(ratios),
            high=max(ratios),
            fastest=min(self.times[contender]) / min(self.times[base]),
            seconds=statistics.median(self.times[contender]),
            rounds=len(ratios),
            target=target,
        )


def _show_progress(figure: str, done: int, rounds: int) -> None:
    if sys.stderr.isatty():
        end = "\r\x1b[K" if done == rounds else ""
        sys.stderr.write(f"\r{figure}: round {done} of {rounds}{end}")
        sys.stderr.flush()
