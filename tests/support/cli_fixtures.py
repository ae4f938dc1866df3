"""The command line, run in this process."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from durably import testing
from durably._cli import main as command_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Body = Callable[[str, int], BaseException | None]


class Done(NamedTuple):
    """How a run in this process ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """Runs the command line in this process, in an empty directory."""

    def __init__(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path
    ) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self._input = place / "standard-input"

    def __call__(
        self, *arguments: object, stdin: bytes = b"new", calls: testing.Syscalls | None = None
    ) -> Done:
        self._input.write_bytes(stdin)
        with self._input.open() as file:
            self._monkeypatch.setattr(sys, "stdin", file)
            with testing.use(calls) if calls else nullcontext():
                code = command_line.run([str(argument) for argument in arguments])
        return Done(code, *map(str, self._capsys.readouterr()))


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Cli:
    return Cli(capsys, monkeypatch, tmp_path_factory.mktemp("input"))
