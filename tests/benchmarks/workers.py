"""1 to 32 threads or processes that save at the same time, each its own file in one directory."""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import durably
from findings import Found, Point
from many import CONTENT
from others import RECIPE, recipe
from places import CannotError, fresh, memory
from rounds import end_progress
from saves import WRITE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Save = Callable[[str, bytes], object]

THREADS, PROCESSES = "threads", "processes"
_UNIT = "saves a second"


def workers(parent: Path, rounds: int, seconds: float, wanted: Iterable[int]) -> Found:
    """Saves a second by all of them, for each kind of worker."""
    found, wanted = Found(), list(wanted)
    unflushed = partial(durably.write_bytes, durability="none")
    with memory() as (directory, place):
        found += _measured(directory, place, {f"{WRITE_BYTES}, none": unflushed}, rounds, seconds, wanted)
    try:
        with fresh("ext4", parent) as directory:
            savers: dict[str, Save] = {f"{WRITE_BYTES}, durable": durably.write_bytes, RECIPE: recipe}
            found += _measured(directory, "fresh ext4", savers, rounds, seconds, wanted)
    except CannotError as error:
        found.left_out.append(str(error))
    return found


def _measured(
    directory: Path, place: str, savers: dict[str, Save], rounds: int, seconds: float, wanted: list[int]
) -> Found:
    found = Found()
    for curve, crowd in ((THREADS, _threads), (PROCESSES, _processes)):
        if curve == PROCESSES and sys.platform == "win32":
            found.left_out.append("processes: they are forked here, and Windows has no fork")
            continue
        for number in wanted:
            rates: dict[str, list[float]] = {name: [] for name in savers}
            for _ in range(rounds):
                for name, save in savers.items():
                    rates[name].append(crowd(save, directory, number, seconds))
            end_progress()
            found.points += [
                Point(
                    curve,
                    place,
                    name,
                    number,
                    statistics.median(all_),
                    min(all_),
                    max(all_),
                    rounds,
                    _UNIT,
                )
                for name, all_ in rates.items()
            ]
    return found


def _threads(save: Save, directory: Path, number: int, seconds: float) -> float:
    start, counts = threading.Barrier(number + 1), [0] * number
    threads = [
        threading.Thread(target=_work, args=(save, f"{directory}/{own}", start, seconds, counts, own))
        for own in range(number)
    ]
    return _rate(threads, start, counts)


def _processes(save: Save, directory: Path, number: int, seconds: float) -> float:
    context = multiprocessing.get_context("fork")
    start, counts = context.Barrier(number + 1), context.Array("l", number, lock=False)
    processes = [
        context.Process(target=_work, args=(save, f"{directory}/{own}", start, seconds, counts, own))
        for own in range(number)
    ]
    return _rate(processes, start, counts)


def _rate(crowd: list[Any], start: Any, counts: Any) -> float:
    for one in crowd:
        one.start()
    start.wait(60)
    began = time.perf_counter()
    for one in crowd:
        one.join()
    return float(sum(counts)) / (time.perf_counter() - began)


def _work(save: Save, path: str, start: Any, seconds: float, counts: Any, own: int) -> None:
    start.wait(60)
    until, done = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        save(path, CONTENT)
        done += 1
    counts[own] = done
