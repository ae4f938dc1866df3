"""Interleaved rounds: every contender runs in every round, so that a slow moment slows them all.

A ratio is taken inside a round, and the median of those counts; beside it stand their range and
the ratio of the fastest rounds, which noise from other processes touches least.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from typing import TYPE_CHECKING

from findings import Finding, Point, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Contender = Callable[[], float]
    """Does one round's share of work and returns how long one unit of it took, in seconds."""


class Rounds:
    """The times of all contenders of one figure, round by round.

    There are ``rounds`` of them, or as many as fit into ``seconds``, but always one. ``warm``: an
    uncounted round goes first, for caches, pools and calls that are bound when they are first needed.
    """

    def __init__(
        self,
        figure: str,
        contenders: Mapping[str, Contender],
        rounds: int,
        *,
        seconds: float = 30.0,
        warm: bool = True,
    ) -> None:
        self.figure = figure
        self.times: dict[str, list[float]] = {name: [] for name in contenders}
        start = time.monotonic()
        for contender in contenders.values() if warm else ():
            contender()
        for number in range(rounds):
            if number and time.monotonic() - start > seconds:
                break
            order = list(contenders)
            random.shuffle(order)
            for name in order:
                self.times[name].append(contenders[name]())
            _show_progress(figure, number + 1, rounds)

    def ratio(self, contender: str, base: str, target: Target | None = None) -> Finding:
        """The contender's time as a multiple of the base's."""
        pairs = zip(self.times[contender], self.times[base], strict=True)
        ratios = [mine / other for mine, other in pairs]
        return Finding(
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

    def points(self, curve: str, place: str, at: int, unit: str = "s") -> list[Point]:
        """A point of a curve for each contender."""
        return [
            Point(curve, place, name, at, statistics.median(times), min(times), max(times), len(times), unit)
            for name, times in self.times.items()
        ]


def repeated(save: Callable[[], object], count: int) -> Contender:
    """A contender that saves so many times in a round."""

    def contender() -> float:
        start = time.perf_counter()
        for _ in range(count):
            save()
        return (time.perf_counter() - start) / count

    return contender


def timed(work: Callable[[], object], before: Callable[[], object] | None = None) -> Contender:
    """A contender that works once in a round, after what is not counted."""

    def contender() -> float:
        if before is not None:
            before()
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return contender


def _show_progress(figure: str, done: int, rounds: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{figure}: round {done} of {rounds}")
        sys.stderr.flush()


def end_progress() -> None:
    """Clear the line that shows it."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
