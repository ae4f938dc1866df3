"""What many test files stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from doors import folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path() -> Iterator[Path]:
    """A target, not there yet, in a directory of its own where saves are fast."""
    with folder() as directory:
        yield directory / "target"
