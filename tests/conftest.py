"""What many test files stand on."""

from __future__ import annotations

import gc
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

import durably
from durably import _commit
from durably._system import fork
from entry_points import folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# The fixtures that several files use, each where what it needs is installed.
pytest_plugins = [
    name
    for name, needed in {"cli_fixtures": "rich", "store_fixtures": "fsspec"}.items()
    if find_spec(needed) is not None
]

# Loaded before anything forks: a child would compile them anew, and the tests start thousands.
for _entry_point in durably.__all__:
    getattr(durably, _entry_point)
_commit.routine().trees()
_commit.routine().directory_operations()

# They load pandas and Arrow, which makes each later fork of the process dear: last of all.
LARGE = {
    "test_clients.py",
    "test_clients_distributed.py",
    "test_formats.py",
    "test_stores.py",
    "test_stores_distributed.py",
}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name in LARGE)


def pytest_collection_finish() -> None:
    """Take what is there by now out of every garbage collection: tests ask for thousands of them."""
    gc.freeze()


@pytest.fixture
def path() -> Iterator[Path]:
    """A target, not there yet, in a directory of its own where saves are fast."""
    with folder() as directory:
        yield directory / "target"


@pytest.fixture
def as_child() -> Iterator[Callable[[], None]]:
    """Calling it makes this process the child of a fork, as far as durably knows."""
    before, live, many = fork.generation, dict(fork._live), dict(fork._many)
    fork._live.clear()
    fork._many.clear()
    yield fork._in_child
    fork.generation = before
    fork._live.update(live)
    fork._many.update(many)
