"""strace, attached to a running process and its children to come; and what it wrote down."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from ..powercut.file_systems import find
from .tracee import BEGIN, END

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_PATIENCE = 30.0


class Hit(NamedTuple):
    """A call of a child between its marks: its name, and the line of strace's log."""

    call: str
    line: str
    injected: bool


class Tracer:
    """strace on a process.

    ``log``: where it writes. ``calls``: those that it watches. ``fault``: what it does to them, as in its
    option ``inject``, such as "error=EIO:when=7"; "": nothing.
    """

    def __init__(self, process: int, log: str, calls: Sequence[str], fault: str = "") -> None:
        watched = ",".join(f"?{call}" for call in calls)
        command = [find("strace") or "strace", "-f", "-q", "-p", str(process), "-o", log, "-e", "signal=none"]
        command += ["-s", "64", "-e", f"trace={watched},getpgid"]
        if fault:
            command += ["-e", f"inject={watched}:{fault}"]
        self._strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._log = log
        self._wait(process)

    def _wait(self, process: int) -> None:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            with open(f"/proc/{process}/status", encoding="ascii") as file:
                if f"TracerPid:\t{self._strace.pid}\n" in file.readlines():
                    return
            if self._strace.poll() is not None:
                break
            time.sleep(0.005)
        self._strace.kill()
        raise RuntimeError(f"strace could not attach: {self._strace.communicate()[1].strip()}")

    def close(self) -> dict[int, list[Hit]]:
        """Wait until the traced processes have ended. Returns the calls between the marks, by process."""
        _, said = self._strace.communicate()
        if self._strace.returncode not in (0, None):
            raise RuntimeError(f"strace ended with {self._strace.returncode}: {said.strip()}")
        with open(self._log, encoding="utf-8", errors="replace") as file:
            found = parsed(file)
        os.unlink(self._log)
        return found


def parsed(lines: Iterable[str]) -> dict[int, list[Hit]]:
    """The calls of each process between its marks, in order."""
    found: dict[int, list[Hit]] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        process, call, rest = int(match[1]), match[2], match[3]
        if call == "getpgid":
            if rest.startswith(f"{BEGIN})"):
                found[process] = []
            elif rest.startswith(f"{END})"):
                found[-process] = found.pop(process)
        elif process in found:
            found[process].append(Hit(call, line.strip(), "(INJECTED)" in line))
    return {abs(process): hits for process, hits in found.items()}
