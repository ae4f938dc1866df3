"""What ``import durably`` costs, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import durably
from rounds import Ratio, Rounds, Target

_SOURCE = str(Path(durably.__file__).parent.parent)
_TIMER = """
import sys, time
sys.path.insert(0, sys.argv[1])
start = time.perf_counter_ns()
import {module}
print(time.perf_counter_ns() - start)
"""


def import_time(rounds: int) -> list[Ratio]:
    """Import durably and tempfile, each in an interpreter of its own."""
    contenders = {f"import {module}": partial(_import, module) for module in ("durably", "tempfile")}
    measured = Rounds("import, fresh interpreter", contenders, rounds)
    return [measured.ratio("import durably", "import tempfile", Target(1.0))]


def _import(module: str) -> float:
    command = [sys.executable, "-I", "-c", _TIMER.format(module=module), _SOURCE]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout) / 1e9
