"""What ``import durably`` costs, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import durably
from findings import Finding, Found, Target
from rounds import Rounds

_SOURCE = str(Path(durably.__file__).parent.parent)
_TIMER = """
import sys, time
sys.path.insert(0, sys.argv[1])
start = time.perf_counter_ns()
import {module}
print(time.perf_counter_ns() - start)
"""
_STRANGERS = """
import sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
import durably
tops = {name.partition(".")[0] for name in set(sys.modules) - before} - {"durably"}
print(len(tops - sys.stdlib_module_names))
"""


def imports(rounds: int) -> Found:
    """Import durably and tempfile, each in an interpreter of its own."""
    contenders = {f"import {module}": partial(_import, module) for module in ("durably", "tempfile")}
    measured = Rounds("import, fresh interpreter", contenders, rounds)
    strangers = int(_run(_STRANGERS))
    counted = Finding(
        figure="import, fresh interpreter",
        contender="import durably",
        base="",
        median=strangers,
        low=strangers,
        high=strangers,
        fastest=strangers,
        seconds=0,
        rounds=1,
        target=Target(0),
        unit="third-party packages",
    )
    return Found([measured.ratio("import durably", "import tempfile", Target(1.0)), counted])


def _import(module: str) -> float:
    return int(_run(_TIMER.format(module=module))) / 1e9


def _run(script: str) -> str:
    command = [sys.executable, "-I", "-c", script, _SOURCE]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
