"""A program that saves a file and stops halfway, to be killed there. `durably demo` runs it.

Arguments: "durably" or "plain"; the path to save to; a file with the piece to write; how many times.
"""

from __future__ import annotations

import sys
from typing import Any

import durably

OPENERS: dict[str, Any] = {"durably": durably.open, "plain": open}


def main(opener: str, path: str, source: str, times: str) -> None:
    """Save the piece that many times over, and wait in the middle for standard input to end."""
    with open(source, encoding="utf-8", newline="") as file:
        piece = file.read()
    with OPENERS[opener](path, "w", encoding="utf-8", newline="") as file:
        for number in range(int(times)):
            if number == int(times) // 2:
                print("halfway", flush=True)
                sys.stdin.read()
            file.write(piece)


if __name__ == "__main__":
    main(*sys.argv[1:])
