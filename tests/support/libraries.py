"""Libraries that few tests use."""

from __future__ import annotations

from typing import Any

import pytest


class Later:
    """A library that is imported by the first test that uses it, which is skipped where it is missing.

    Once pandas and Arrow are there, each fork takes several times as long, and tests start thousands.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(pytest.importorskip(self._name, exc_type=ImportError), attribute)
