"""The map of the house: its picture is drawn from the code, and what its page names is there."""

from __future__ import annotations

import re

import pytest

from durably._commit import strategy
from house import PACKAGE, PICTURE, RANKS, drawn

ROOT = PICTURE.parents[2]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="not run from a source tree")
_MOST_FLOORS = 11


def test_the_picture_is_what_the_code_imports() -> None:
    assert PICTURE.read_text(encoding="utf-8") == drawn(), "python tests/support/house.py draws it anew"


def test_there_are_few_floors() -> None:
    assert len(RANKS) <= _MOST_FLOORS


def test_what_the_page_names_is_there() -> None:
    named = set(re.findall(r"`((?:_|tests/|platforms/)[\w./]+)`", PAGE.read_text(encoding="utf-8")))
    assert named
    lacking = [
        name
        for name in named
        if not any((top / each).exists() for top in (PACKAGE, ROOT) for each in (name, f"{name}.py"))
    ]
    assert not lacking


def test_the_interfaces_are_small() -> None:
    for part in (strategy.OneFile, strategy.ManyFiles, strategy.InPlace, strategy.Sweeping):
        own = [name for name in vars(part) if not name.startswith("_")]
        assert len(own) <= 20, part


def test_it_is_linked() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "docs/explanation/index.md"):
        assert "architecture" in (ROOT / page).read_text(encoding="utf-8"), page
