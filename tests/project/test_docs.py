"""The documentation: every Python example runs, and every command line does."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durably
import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
SETUPS = Path(__file__).parent / "docs_setups"
#: What pages call the place where a pipeline keeps its data: it must not be the machine's own.
_PLACE = "/data"
_SWAPS = "staged_directory("


def pages_with(language: str) -> list[str]:
    return [
        page.relative_to(DOCS).as_posix()
        for page in sorted(DOCS.rglob("*.md"))
        if any(block.language == language for block in examples.blocks(page))
    ]


def run_page(page: Mapping[str, object], **where: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error::ResourceWarning", examples.__file__]
    told = json.dumps(page)
    return subprocess.run(command, input=told, capture_output=True, text=True, check=False, **where)


@pytest.mark.parametrize("name", pages_with("python"))
def test_the_python_examples_run(name: str, tmp_path: Path) -> None:
    setup = SETUPS / f"of_{Path(name).stem.replace('-', '_')}.py"
    examined = [block for block in examples.blocks(DOCS / name) if block.language == "python"]
    if "exchange" not in durably.probe(tmp_path).supports and any(_SWAPS in each.text for each in examined):
        pytest.skip("directories cannot be exchanged here")
    (tmp_path / _PLACE[1:]).mkdir()
    place = (tmp_path / _PLACE[1:]).as_posix()
    page = {
        "page": name,
        "setup": setup.read_text(encoding="utf-8") if setup.exists() else "",
        "sources": [
            (block.line, block.text.replace(f'"{_PLACE}', f'"{place}').replace(f"://{_PLACE}", f"://{place}"))
            for block in examined
        ],
    }
    done = run_page(page, cwd=tmp_path, env={**os.environ, "PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ResourceWarning" not in done.stderr
    assert not list(tmp_path.rglob(".durably-*"))
    missing = json.loads(done.stdout.splitlines()[-1])
    if missing:
        told = ", ".join(f"{package} (line {line})" if line else package for line, package in missing)
        pytest.skip(f"not installed, all other examples ran: {told}")


@pytest.mark.skipif(sys.platform == "win32", reason="the examples are for a POSIX shell")
@pytest.mark.parametrize("name", pages_with("console"))
def test_the_commands_run_and_print_what_is_shown(name: str, tmp_path: Path) -> None:
    pytest.importorskip("click")
    pytest.importorskip("rich")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for block in examples.blocks(DOCS / name):
        for command in examples.commands(block.text) if block.language == "console" else []:
            done = subprocess.run(
                ["sh", "-c", command.line],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (command.line, done.stdout)
            assert examples.is_shown(done.stdout, command.output), (command, done.stdout)
    assert not list(tmp_path.rglob(".durably-*"))


@pytest.mark.parametrize("module", ["durably", "durably.testing", "durably.filesystem", "durably.stores"])
def test_the_reference_has_every_public_name(module: str) -> None:
    if module != "durably.testing":
        pytest.importorskip("fsspec")
    reference = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    shown = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)", reference, re.MULTILINE))
    for listed in re.finditer(r"automodule:: ([\w.]+)\n   :members: (.*)", reference):
        shown |= {f"{listed[1]}.{name.strip()}" for name in listed[2].split(",")}
    names = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    assert names <= shown, sorted(names - shown)


def run(sources: list[tuple[int, str]], setup: str = "") -> subprocess.CompletedProcess[str]:
    return run_page({"page": "a page", "setup": setup, "sources": sources})


class TestTheRunner:
    def test_shares_one_namespace(self) -> None:
        done = run([(3, "b = a + 1\n"), (9, "print(b)\n")], setup="a = 1\n")
        assert (done.returncode, done.stdout) == (0, "2\n[]\n")

    def test_names_the_line_of_the_page(self) -> None:
        done = run([(7, "good = 1\n1 / 0\n")])
        assert done.returncode == 1
        assert 'File "a page", line 8' in done.stderr

    def test_leaves_out_what_needs_a_package(self) -> None:
        done = run([(2, "import not_there.at_all\n"), (5, "print('on')\n")])
        assert done.stdout == 'on\n[[2, "not_there"]]\n'

    def test_leaves_out_what_goes_on_from_there(self) -> None:
        blocks = [(2, "import not_there\nfound = not_there.found\n"), (5, "found\n"), (9, "print('on')\n")]
        done = run(blocks)
        assert done.stdout == 'on\n[[2, "not_there"], [5, "not_there"]]\n'
        assert run([*blocks, (12, "other\n")]).returncode == 1

    def test_leaves_out_all_where_the_setup_needs_one(self) -> None:
        done = run([(5, "print('on')\n")], setup="import not_there\n")
        assert done.stdout == '[[0, "not_there"]]\n'

    @pytest.mark.parametrize("name", ["durably.not_there", "email.not_there"])
    def test_does_not_excuse_a_wrong_import(self, name: str) -> None:
        assert run([(1, f"import {name}\n")]).returncode == 1


class TestTheBlocks:
    @pytest.fixture
    def page(self, tmp_path: Path) -> Callable[[str], list[examples.Block]]:
        def parsed(text: str) -> list[examples.Block]:
            (tmp_path / "page.md").write_text(text)
            return examples.blocks(tmp_path / "page.md")

        return parsed

    def test_have_a_language_and_a_line(self, page: Callable[[str], list[examples.Block]]) -> None:
        text = "# A\n\n```python\na\n```\n\n```{include} x.md\n:end: y\n```\n\n- in a list\n"
        text += "\n  ```text\n  b\n  ```\n\n```\nc\n```\n"
        assert page(text) == [
            (4, "python", "a\n"),
            (8, "{include} x.md", ":end: y\n"),
            (14, "text", "b\n"),
            (18, "", "c\n"),
        ]

    def test_of_commands_are_taken_apart(self) -> None:
        assert examples.commands("$ a | b\n$ c\nd\n\ne\n") == [("a | b", ""), ("c", "d\n\ne\n")]

    def test_show_output_with_dots_for_what_differs(self) -> None:
        assert examples.is_shown("file system  ext4 (rw)\n", "file system  ...\n")
        assert not examples.is_shown("file system  ext4\nand more\n", "file system  ext4\n")
        assert not examples.is_shown("", "something\n")
