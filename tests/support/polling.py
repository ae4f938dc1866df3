"""Reading a file or a tree again and again while it is saved."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from durably._system import temp_names

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


def contents(root: Path) -> dict[str, bytes]:
    """Every file at a path or below it, but for the temporaries of saves."""
    if root.is_file():
        return {str(root): root.read_bytes()}
    found = {}
    for where, below, files in os.walk(root):
        below[:] = [name for name in below if temp_names.parse(name) is None]
        for name in files:
            if temp_names.parse(name) is None:
                found[os.path.join(where, name)] = (root / where / name).read_bytes()
    return found


class Poller(threading.Thread):
    """Reads everything, again and again, and keeps what it saw."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.done = threading.Event()
        self.seen: dict[str, set[bytes]] = {}
        self.rounds = 0

    def run(self) -> None:
        while not self.done.is_set():
            try:
                for name, content in contents(self.root).items():
                    self.seen.setdefault(name, set()).add(content)
            except FileNotFoundError:
                pass  # replaced or removed between the listing and the reading
            self.rounds += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join()
