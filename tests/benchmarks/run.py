"""Measure durably beside C, the classic recipe and other libraries, and say which stated figure is met.

    python tests/benchmarks/run.py                    all figures, as a table
    python tests/benchmarks/run.py --quick            only to see that they run: the numbers mean nothing
    python tests/benchmarks/run.py --only many        one group, or "stated" or "growth": the two halves
    python tests/benchmarks/run.py --record           keep them in docs/figures, and draw
    python tests/benchmarks/run.py --draw             only pages and pictures, from what was recorded
    python tests/benchmarks/run.py --check            fail if a page or a picture is out of date

Nothing here is asserted: a ratio is a finding, and a slow machine is not a defect. Fresh file systems take
root; other libraries and pictures `pip install --group bench`. What is missing is left out, and named.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import drawn
import record
import table
from findings import Found
from places import mounts_of_our_own
from rounds import end_progress
from suite import GROUPS, HALVES

if TYPE_CHECKING:
    from types import FrameType


def main() -> int:
    """Measure, keep and draw what was asked for; the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a console of Windows may have no sign for "at most"
    arguments = _arguments()
    if arguments.check:
        return drawn.check(arguments.into)
    if arguments.draw:
        return drawn.draw(arguments.into)
    signal.signal(signal.SIGTERM, _end)
    mounts_of_our_own()  # before there are threads
    failed = _measure(arguments)
    drawn_badly = drawn.draw(arguments.into) if arguments.record else 0
    return 1 if failed else drawn_badly


def _measure(arguments: argparse.Namespace) -> list[str]:
    """Run the groups, and print what they found. Returns the names of those that failed."""
    everything, failed = Found(), []
    for name in arguments.only or GROUPS:
        about, start = record.machine() | {"quick": arguments.quick}, time.monotonic()
        group = GROUPS[name]
        try:
            found = (group.quick if arguments.quick else group.whole)(arguments.disk)
        except Exception:  # the others may work  # noqa: BLE001
            end_progress()
            traceback.print_exc()
            failed.append(name)
            continue
        end_progress()
        taken = time.monotonic() - start
        print(f"{name}: {taken:.1f} s", flush=True)
        everything += found
        if arguments.record:
            record.write(arguments.into, name, about | {"seconds": round(taken)}, found)
    table.show(everything)
    for name in failed:
        print(f"FAILED: {name}, as said above")
    return failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument(
        "--only", action="append", default=[], metavar="GROUP", help=f"of {', '.join(GROUPS)}; or a half"
    )
    parser.add_argument("--record", action="store_true", help="write data files, pages and pictures")
    parser.add_argument("--draw", action="store_true", help="measure nothing, write pages and pictures")
    parser.add_argument("--check", action="store_true", help="measure nothing, write nothing")
    parser.add_argument("--into", type=Path, default=record.FIGURES, metavar="DIRECTORY")
    parser.add_argument("--disk", type=Path, default=Path.cwd(), metavar="DIRECTORY", help="a real disk")
    arguments = parser.parse_args()
    arguments.only = [name for wanted in arguments.only for name in HALVES.get(wanted, [wanted])]
    if unknown := set(arguments.only) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    if arguments.quick and arguments.record and arguments.into == record.FIGURES:
        parser.error("the numbers of a quick run mean nothing: keep them elsewhere (--into)")
    return arguments


def _end(number: int, _: FrameType | None) -> None:
    """So that what was mounted and made is taken away."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
