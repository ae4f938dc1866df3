"""Which system calls one save makes, as strace sees them: counting comes before microseconds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import durably
from calls import running
from findings import Count, Found
from places import memory

_SOURCE = str(Path(durably.__file__).parent.parent)
_MARK = "/durably-benchmark-mark"
_CALL = re.compile(r"^(?:\d+\s+)?(?P<name>\w+)\(")
_SAVE = """
import os, sys
sys.path.insert(0, sys.argv[1])
import durably
path, level = sys.argv[2:]
def save():
    {save}
save()
os.access({mark!r}, os.F_OK)
save()
os.access({mark!r}, os.F_OK)
"""
_MEMORY = ("brk", "mmap", "munmap")  # the allocator's, now and then
_ENTRY_POINTS = {
    "durably.write_bytes": "durably.write_bytes(path, b'x' * 4096, durability=level)",
    'durably.open("wb"), one write': (
        "with durably.open(path, 'wb', durability=level) as file: file.write(b'x' * 4096)"
    ),
}


def counts() -> Found:
    """The calls of each entry point and of the C program."""
    if not _can_trace():
        return Found(left_out=["the system calls of a save: strace is not there, or may not trace"])
    found: list[Count] = []
    with memory() as (directory, _), running(directory) as calls:
        (directory / "target").write_bytes(b"x" * 4096)
        for level in ("none", "durable"):
            for name, save in _ENTRY_POINTS.items():
                script = _SAVE.format(save=save, mark=_MARK)
                target = str(directory / "target")
                command = [sys.executable, "-I", "-c", script, _SOURCE, target, level]
                found.append(Count(name, level, _traced(command, directory)))
            if calls is not None:
                for what in ("same", "bare"):
                    request = f"{what} {level} {directory} 0\n"
                    trace = _traced([str(calls.program)], directory, request)
                    found.append(Count(f"{what}, in C", level, trace))
    return Found(counts=found)


def _can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    trial = ["strace", "-o", os.devnull, "true"]
    return subprocess.run(trial, check=False, capture_output=True).returncode == 0


def _traced(command: list[str], directory: Path, request: str = "") -> tuple[str, ...]:
    trace = directory / "trace"
    strace = ["strace", "-f", "-e", "signal=none", "-o", str(trace), *command]
    subprocess.run(strace, check=True, input=request, text=True, capture_output=True)
    lines = trace.read_text(encoding="utf-8", errors="replace").splitlines()
    first, last = (number for number, line in enumerate(lines) if _MARK in line and "access(" in line)
    between = (_CALL.match(line) for line in lines[first + 1 : last])
    return tuple(match["name"] for match in between if match and match["name"] not in _MEMORY)
