"""A child process on Windows."""

from __future__ import annotations

import os
import subprocess
import sys

from durably._commit.windows.handles import PATIENCE

_INTERNAL_ERROR = 1359


def child(program: str, *arguments: object) -> int:
    """The exit status of a Python program."""
    command = [sys.executable, "-W", "error", "-c", program, *map(str, arguments)]
    environment = os.environ | {PATIENCE: "30"}
    done = _ended(command, environment)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode


def _ended(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    tries = 5
    while True:
        try:
            return subprocess.run(command, capture_output=True, check=False, timeout=90, env=environment)
        except OSError as error:
            # Seen once under Wine 8 on a busy machine, for a process like all the others.
            tries -= 1
            if getattr(error, "winerror", None) != _INTERNAL_ERROR or not tries:
                raise
