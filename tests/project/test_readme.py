"""The README: two commands, examples that run, and no proof named that is not there."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import examples

if TYPE_CHECKING:
    from types import ModuleType

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
SCRIPT = PROJECT / ".ci" / "readme_command.py"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"[(`]((?:tests|platforms|\.ci|\.github)/[\w./-]+)|\]\(([\w./-]+)\)")


def blocks(language: str) -> list[str]:
    return [text for found, text in _BLOCK.findall(README) if found == language]


def test_there_are_exactly_two_commands_of_one_line_each() -> None:
    setup = r"python3 -m venv \.venv && \.venv/bin/pip install -q -e '\.\[{}\]' && \.venv/bin/{}\n"
    demo, tests = blocks("sh")
    assert re.fullmatch(setup.format("cli", "durably demo"), demo)
    assert re.fullmatch(setup.format("cli,test", "python -m pytest -n auto"), tests)


def test_every_block_says_its_language() -> None:
    assert {language for language, _ in _BLOCK.findall(README)} <= {"sh", "python", "console", "text"}


@pytest.mark.parametrize("example", blocks("python"))
def test_the_examples_run(example: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", example]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir())
    assert not list(tmp_path.glob(".durably-*"))


@pytest.mark.skipif(sys.platform == "win32", reason="the examples are for a POSIX shell")
def test_the_commands_run(tmp_path: Path) -> None:
    pytest.importorskip("click")
    pytest.importorskip("rich")
    report = tmp_path / "generate-report"
    report.write_text("#!/bin/sh\necho day,visitors\n")
    report.chmod(0o755)
    (tmp_path / "SRC").write_text("source")
    programs = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    for command in examples.commands("".join(blocks("console"))):
        done = subprocess.run(
            ["sh", "-c", command.line],
            cwd=tmp_path,
            env={**os.environ, "PATH": programs},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
    assert (tmp_path / "report.csv").read_text() == "day,visitors\n"
    assert (tmp_path / "DST").read_text() == "source"


@pytest.mark.parametrize("name", sorted({first or second for first, second in _FILE.findall(README)}))
def test_every_file_that_is_named_exists(name: str) -> None:
    if name.startswith(".") and not SCRIPT.exists():
        pytest.skip("a source distribution has no .ci")
    assert (PROJECT / name).exists()


def test_the_comparison_is_the_one_that_was_recorded() -> None:
    drawn = (PROJECT / "docs" / "figures" / "comparison.md").read_text(encoding="utf-8")
    rows = [line for line in drawn.splitlines() if line.startswith("|")]
    assert "\n".join(rows) in README


def load_script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("readme_command", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.skipif(not SCRIPT.exists(), reason="a source distribution has no .ci")
class TestTheScriptThatTakesTheCommands:
    def test_takes_both(self) -> None:
        commands = load_script().commands(README)
        assert [f"{command}\n" for command in commands.values()] == blocks("sh")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "```sh\none\n```\n",
            "```sh\none\n```\n```sh\ntwo\n```\n```sh\nthree\n```\n",
            "```sh\none\n```\n```sh\ntwo\nlines\n```\n",
            "```sh\none\n```\n```sh\n\n```\n",
        ],
    )
    def test_refuses_all_but_two_blocks_of_one_line(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"sh block"):
            load_script().commands(text)

    def test_knows_where_windows_puts_programs(self) -> None:
        adapted = load_script().for_windows("python3 -m venv .venv && .venv/bin/python -m pytest")
        assert adapted == "python -m venv .venv && .venv/Scripts/python -m pytest"
