"""Other libraries, each as its documentation says to save a file, with its strongest setting.

They are not installed with durably: `pip install -r prove/requirements-peers.txt`. Each is imported when
it is called, so that one that is missing is only left out. What they do in native code cannot be watched
from outside, so no commit is forced between those steps.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from . import writers
from .record import Recording
from .runs import Budget, run

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .runs import Result


def atomicwrites(path: str, data: bytes) -> None:
    """atomicwrites.atomic_write."""
    with _module("atomicwrites").atomic_write(path, mode="wb", overwrite=True) as file:
        file.write(data)


def atomicwriter(path: str, data: bytes) -> None:
    """atomicwriter.AtomicWriter."""
    with _module("atomicwriter").AtomicWriter(path, overwrite=True) as writer:
        writer.write_bytes(data)


def boltons(path: str, data: bytes) -> None:
    """boltons.fileutils.atomic_save."""
    with _module("boltons.fileutils").atomic_save(path) as file:
        file.write(data)


def durablewrite(path: str, data: bytes) -> None:
    """durablewrite.write_bytes_atomic, fully flushed."""
    _module("durablewrite").write_bytes_atomic(path, data, fsync="full")


def fsspec(path: str, data: bytes) -> None:
    """A transaction of fsspec's local file system."""
    local = _module("fsspec").filesystem("file")
    with local.transaction, local.open(path, "wb") as file:
        file.write(data)


def obstore(path: str, data: bytes) -> None:
    """obstore.store.LocalStore."""
    store = _module("obstore.store").LocalStore(os.path.dirname(path))
    _module("obstore").put(store, os.path.basename(path), data)


def safer(path: str, data: bytes) -> None:
    """safer.open, with a temporary file."""
    with _module("safer").open(path, "wb", temp_file=True) as file:
        file.write(data)


def recipe(path: str, data: bytes) -> None:
    """The classic recipe: a temporary file, fsync, rename, fsync of the directory."""
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)


PEERS = (recipe, atomicwrites, atomicwriter, boltons, durablewrite, fsspec, obstore, safer)


def _module(name: str) -> Any:
    return import_module(name)


def release(peer: str) -> str | None:
    """The installed version; "" for what is no package, None for what is not installed."""
    if peer == recipe.__name__:
        return ""
    try:
        return version(peer)
    except PackageNotFoundError:
        return None


def compared(kinds: list[str], *, points: int, seed: int, jobs: int) -> Iterator[dict[str, Any]]:
    """A row for durably and for each installed peer, on each file system."""
    names = [f"{writers.__name__}:{writers.one_shot.__name__}"]
    names += [f"{__name__}:{peer.__name__}" for peer in PEERS if release(peer.__name__) is not None]
    budget = Budget(-(-points // 2), seed, jobs)
    for name in names:
        label = name.rpartition(":")[2] if name.startswith(__name__) else "durably"
        for kind in kinds:
            plain = Recording(kind, "one-shot", writer=name, seed=seed)
            yield _row(label, [run(plain, budget), run(plain._replace(loud=False), budget)])


def _row(label: str, results: list[Result]) -> dict[str, Any]:
    """Points, and those with a torn file, with an acknowledged one lost or old, and with litter."""
    verdicts = [verdict for result in results for verdict in result.verdicts]
    kinds = [{one.kind for one in verdict.violations} for verdict in verdicts]
    for result in results:
        result.log.release()
    return {
        "name": label,
        "version": release(label) or "",
        "file_system": results[0].recording.kind,
        "points": len(verdicts),
        "torn": sum("torn" in found for found in kinds),
        "lost": sum(not found.isdisjoint(("lost", "stale")) for found in kinds),
        "litter": sum(verdict.leftovers > 0 for verdict in verdicts),
    }
