"""Ways to save that are wrong: the campaign must show what is wrong with each."""

from __future__ import annotations

import os
import tempfile

from .ways import NEW, Way


def _naive(path: str) -> None:
    with open(path, "wb") as file:
        file.write(NEW)


def _deaf(path: str) -> None:
    """The classic recipe, which takes no notice when a flush fails."""
    temporary = _written(path)
    os.replace(temporary, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    except OSError:
        pass
    os.close(directory)


def _untidy(path: str) -> None:
    """The classic recipe, which leaves its temporary behind when the rename fails."""
    os.replace(_written(path), path)


def _hasty(path: str) -> None:
    """The classic recipe, where a failure after the rename looks like one before it."""
    os.replace(_written(path), path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _written(path: str) -> str:
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    with open(fd, "wb") as file:
        file.write(NEW)
        file.flush()
        try:
            os.fsync(file.fileno())
        except OSError:
            pass
    return temporary


#: Each with the kind of violation that it is there for.
CONTROLS = (
    (Way("naive", _naive, carries=False), "torn"),
    (Way("deaf", _deaf, carries=False), "silent"),
    (Way("untidy", _untidy, carries=False), "litter"),
    (Way("hasty", _hasty, carries=False), "changed"),
)
