"""One save of many files, in a process of its own, so that its memory is seen apart.

    python tests/benchmarks/grown.py DOOR DIRECTORY COUNT

prints the seconds that it took and the peak of the process's memory in MiB.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from many import ENTRY_POINTS

LONGEST = 90.0
"""Seconds."""


def main(entry_point: str, directory: str, count: str) -> None:
    """Save, and print."""
    save, place = ENTRY_POINTS[entry_point], Path(directory)
    start = time.perf_counter()
    save(place, int(count))
    taken = time.perf_counter() - start
    assert len([name for name in place.iterdir() if not name.name.startswith(".")]) == int(count)
    print(taken, _peak())


def _peak() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def run(entry_point: str, directory: Path, count: int) -> tuple[float, float] | None:
    """Seconds and MiB; None if it takes longer than `LONGEST`."""
    command = [sys.executable, __file__, entry_point, str(directory), str(count)]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return None
    taken, peak = done.stdout.split()
    return float(taken), float(peak)


if __name__ == "__main__":
    main(*sys.argv[1:])
