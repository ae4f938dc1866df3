"""What people use instead: the classic recipe, the builtin open, and other libraries.

The libraries are called as in the power-cut rig (platforms/linux/prove/powercut/peers.py), each with its
strongest setting, so that a page can show the cost of one beside what it loses. One that is not
installed (`pip install --group bench`) is left out, and named.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Writer = Callable[[str, bytes], None]

RECIPE = "the classic recipe, in Python"
PLAIN = "builtin open, not atomic"
_RIG = Path(__file__).resolve().parents[2] / "platforms" / "linux"


def recipe(path: str, data: bytes) -> None:
    """A temporary file, fsync, rename, fsync of the directory."""
    directory = os.path.dirname(path)
    fd, temporary = tempfile.mkstemp(dir=directory)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    fsync_names(directory)


def recipe_unflushed(path: str, data: bytes) -> None:
    """A temporary file and a rename."""
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def plain(path: str, data: bytes) -> None:
    """Neither atomic nor flushed."""
    with open(path, "wb") as file:
        file.write(data)


def fsync_names(directory: str) -> None:
    """Windows cannot."""
    if sys.platform == "win32":
        return
    above = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def libraries() -> tuple[dict[str, Writer], list[str]]:
    """Those that are installed, by name and version, and why the others are left out."""
    if sys.platform != "linux":
        return {}, ["other libraries: the rig that calls them is Linux's"]
    if str(_RIG) not in sys.path:
        sys.path.append(str(_RIG))
    from prove.powercut import peers

    found: dict[str, Writer] = {}
    missing: list[str] = []
    for peer in peers.PEERS:
        name, release = peer.__name__, peers.release(peer.__name__)
        if release is None:
            missing.append(f"{name}: not installed")
        elif release:
            found[f"{name} {release}"] = peer
    return found, missing
