"""``durably recover``: what is on the disk afterwards, what is said, and the exit code."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

import durably
import entry_points
from capabilities import needs_linux, needs_posix
from disk import run
from durably._cli import main as command_line
from interrupted import _interrupted
from transactions import EVERYTHING, JOURNAL, held, ours

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [needs_posix, needs_linux]


@pytest.fixture
def root() -> Iterator[Path]:
    with entry_points.folder() as directory:
        yield directory / "root"


def test_it_finishes_and_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _interrupted(root)
    assert command_line.run(["recover", str(root)]) == 0
    said = capsys.readouterr()
    assert "finished" in said.out
    assert "sub/b" in said.out
    assert held(root) == EVERYTHING.after
    assert ours(root) == []
    assert command_line.run(["recover", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"root": str(root), "outcome": "nothing", "files": []}


def test_a_conflict(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _interrupted(root)
    durably.write_bytes(root / "d", b"a stranger's")
    before = held(root)
    assert command_line.run(["recover", str(root), "--json"]) == 8
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["kind"] == "RecoveryConflictError"
    assert error["conflicts"] == ["d"]
    assert error["path"] == str(root)
    assert "nothing was recovered" in said.err
    assert held(root) == before


def test_a_journal_that_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _interrupted(root)
    (root / JOURNAL).write_bytes(b"damaged")
    assert command_line.run(["recover", str(root)]) == 8
    assert str(root / JOURNAL) in capsys.readouterr().err
    shutil.rmtree(root)
    capsys.readouterr()
    assert command_line.run(["recover", str(root)]) == 1
    assert "No such file or directory; nothing was changed" in capsys.readouterr().err


def test_it_is_a_command_of_the_program(root: Path) -> None:
    done = run(
        "import sys; from durably.__main__ import main; sys.argv = ['durably', 'recover', '--help']; main()"
    )
    assert done.returncode == 0, done.stderr
    assert "ROOT" in done.stdout
    assert sys.executable


def test_a_store_is_named_by_the_public_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(["recover", "s3://bucket/key", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["kind"] == "UnsupportedError"
    assert said.err.endswith("nothing was changed\n")
