"""`staged_directory` with versions behind a link, by real calls, on whatever system this is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import durably
from durably import Receipt, UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path


def save(path: Path, content: str) -> Receipt:
    staged = durably.staged_directory(path, fallback="symlink")
    with staged as directory:
        (directory / "part").mkdir()
        (directory / "part" / "file").write_text(content)
    assert staged.receipt is not None
    return staged.receipt


def test_the_link_is_replaced_or_nothing_is_begun(tmp_path: Path) -> None:
    path = tmp_path / "data"
    try:
        first = save(path, "old")
    except UnsupportedError as error:
        assert list(tmp_path.iterdir()) == []
        assert os.name == "nt"
        assert "fallback='symlink'" in str(error)
        return
    before = set(os.listdir(tmp_path))
    assert (path / "part" / "file").read_text() == "old"
    second = save(path, "new")
    assert (path / "part" / "file").read_text() == "new"
    assert (first.replaced, second.replaced) == (False, True)
    after = set(os.listdir(tmp_path))
    assert len(before) == len(after) == 2
    assert before & after == {"data"}
    assert [each.removed for each in durably.sweep(tmp_path, older_than=0)] == [False]
    assert (path / "part" / "file").read_text() == "new"


def test_a_real_directory_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UnsupportedError, match="nothing was changed"):
        save(tmp_path / "data", "new")
    assert os.listdir(tmp_path) == ["data"]
    assert os.listdir(tmp_path / "data") == []
