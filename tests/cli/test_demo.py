"""`durably demo`: what it shows is what happened."""

from __future__ import annotations

import errno
import importlib.metadata
import io
import json
import os
import runpy
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_mount, needs_posix
from durably import testing
from durably._cli import demo_view, victim
from durably._cli import main as command_line
from durably._cli import trial as _trial
from durably._cli.timing import TimingSyscalls
from durably._cli.trial import MEBIBYTE, Content, Killed, Timed, Trial, kill_halfway, state_of
from mounts import mounted

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_mock import MockerFixture

OLD, NEW = Content(b"old"), Content(b"piece", 4)
DEMO = ["demo", "--size", "2"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fields(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert command_line.run([*DEMO, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# What it does


def test_the_plain_file_is_lost_and_durablys_is_kept(fields: dict[str, Any], here: Path) -> None:
    killed = fields["killed"]
    assert fields["convincing"] is True
    assert killed["durably"]["state"] == "old"
    assert killed["plain"]["state"] == "part"
    assert MEBIBYTE <= killed["plain"]["size"] < 2 * MEBIBYTE
    assert os.listdir(here) == []


@needs_posix
def test_both_writers_are_killed_outright(fields: dict[str, Any]) -> None:
    assert {killed["status"] for killed in fields["killed"].values()} == {-signal.Signals["SIGKILL"]}


def test_each_level_is_asked_for_with_both_files(fields: dict[str, Any]) -> None:
    levels = list(durably.Durability)
    assert [save["asked"] for save in fields["saves"]] == levels * 2
    assert [save["receipt"]["size"] >= 2 * MEBIBYTE for save in fields["saves"]] == [False] * 3 + [True] * 3
    assert all(save["receipt"]["replaced"] for save in fields["saves"])


@needs_posix
def test_the_calls_are_those_that_the_level_makes(fields: dict[str, Any]) -> None:
    flushes = [
        {call["name"]: call["calls"] for call in save["calls"] if call["name"].startswith("fsync")}
        for save in fields["saves"]
    ]
    assert flushes == [{}, {"fsync file": 1}, {"fsync file": 1, "fsync directory": 1}] * 2
    for save in fields["saves"]:
        assert sum(call["milliseconds"] for call in save["calls"]) <= save["milliseconds"]


def test_the_place_is_described_as_probe_describes_it(fields: dict[str, Any]) -> None:
    found = durably.probe(".")
    assert fields["guarantees"]["file_system"] == found.file_system
    assert fields["guarantees"]["durable"] == {"answer": found.durable, "reason": found.durable.reason}


def test_it_is_legible_at_80_columns_without_a_terminal(here: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")
    }
    command = [sys.executable, "-m", "durably", *DEMO]
    done = subprocess.run(
        command, capture_output=True, check=False, env=environment | {"PYTHONIOENCODING": "utf-8"}
    )
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    for heading in ("none", "consistent", "durable", "System call", "level kept here", "survived whole"):
        assert heading in text
    assert "durably kept the whole old file" in " ".join(text.split())
    assert os.listdir(here) == []


def test_a_missing_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run([*DEMO, "--directory", "no"]) == 1
    assert capsys.readouterr().err.endswith("; nothing is left in the directory\n")


@needs_mount
def test_a_full_file_system(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mounted("tmpfs", here / "small", options="size=1m"):
        assert command_line.run([*DEMO, "--directory", "small"]) == 1
        assert os.listdir(here / "small") == []
    assert os.strerror(errno.ENOSPC) in capsys.readouterr().err


# That it would say so


def swapped(monkeypatch: pytest.MonkeyPatch, **openers: str) -> None:
    """Let the writers use other openers than the demonstration believes."""
    killed = _trial._killed
    monkeypatch.setattr(_trial, "_killed", lambda how, *rest: killed(openers[how], *rest))


def test_a_file_of_durably_that_did_not_survive_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped(monkeypatch, plain="plain", durably="plain")
    assert command_line.run(DEMO) == 1
    assert "durably's file did NOT survive" in capsys.readouterr().out


def test_a_plain_file_that_survived_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped(monkeypatch, plain="durably", durably="durably")
    assert command_line.run(DEMO) == 1
    assert "Nothing was shown" in capsys.readouterr().out


@needs_posix
def test_writers_that_did_not_run_show_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    assert command_line.run(DEMO) == 1
    out = capsys.readouterr().out
    assert "Nothing was shown" in out
    assert "never came halfway" in out


# Its parts


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (b"old", "old"),
        (b"piece" * 4, "new"),
        (b"piece" * 2, "part"),
        (b"", "part"),
        (b"odd", "part"),
        (b"piece" * 3 + b"peace", "part"),
        (None, "missing"),
    ],
)
def test_the_content_decides_what_survived(here: Path, content: bytes | None, state: str) -> None:
    if content is not None:
        (here / "file").write_bytes(content)
    assert state_of("file", OLD, NEW) == state


@pytest.mark.parametrize("how", ["plain", "durably"])
def test_a_writer_that_is_not_killed_finishes(
    here: Path, how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "piece").write_bytes(b"piece")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys, "argv", ["victim", how, "file", "piece", "4"])
    runpy.run_path(victim.__file__, run_name="__main__")
    assert capsys.readouterr().out == "halfway\n"
    assert state_of("file", OLD, NEW) == "new"


def test_what_is_left_beside_the_file_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(_: str, path: str, *__: object) -> int:
        os.unlink(path)
        (here / "plain" / "leftover").touch()
        return 0

    monkeypatch.setattr(_trial, "_killed", leave)
    assert kill_halfway("plain", ".", OLD, NEW) == Killed(0, "missing", 0, ("leftover",))


@needs_posix
def test_the_stop_watch_tells_files_from_directories_and_counts_failures(here: Path) -> None:
    calls = TimingSyscalls()
    with testing.use(calls):
        durably.write_bytes("file", b"new")
        with pytest.raises(FileNotFoundError):
            durably.write_bytes("no/file", b"new")
    assert calls.steps["fsync file"].calls == calls.steps["fsync directory"].calls == 1
    opened = calls.steps["open"].calls
    with pytest.raises(FileNotFoundError):
        calls.open("no", os.O_RDONLY)
    assert calls.steps["open"].calls == opened + 1
    assert calls.steps["open"].seconds > 0
    calls.clock()
    assert "clock" not in calls.steps


def test_the_description_is_the_one_of_the_installed_package(mocker: MockerFixture) -> None:
    installed = mocker.patch("importlib.metadata.metadata")
    installed.return_value.json = {"description": "# durably\n"}
    text, source = _trial.description()
    assert text == "# durably\n"
    assert "metadata" in source
    installed.assert_called_once_with("durably")


def test_without_a_description_the_docstring_is_used_and_said_so(mocker: MockerFixture) -> None:
    installed = mocker.patch("importlib.metadata.metadata")
    installed.return_value.json = {}
    text, source = _trial.description()
    assert text == durably.__doc__
    assert "docstring" in source
    installed.side_effect = importlib.metadata.PackageNotFoundError
    assert _trial.description() == (text, source)


def trial(plain: Killed, kept: Killed, durability: durably.Durability = durably.Durability.NONE) -> Trial:
    reason = {"durable": "it lies in memory"}
    receipt = durably.Receipt("file", 1, True, False, durability, (), reason, ())
    save = Timed(durably.Durability.DURABLE, receipt, 0.001, {})
    return Trial("nowhere", [save], [save], OLD, NEW, plain, kept, durably.probe("."))


@pytest.mark.parametrize(
    ("killed", "texts"),
    [
        (Killed(-9, "new", 20, ()), ["killed by SIGKILL", "the new file", "nothing"]),
        (Killed(-9, "missing", 0, ("x.tmp",)), ["nothing: it is gone", "x.tmp"]),
        (Killed(1, "part", 2, ()), ["ended with 1", "2 bytes: neither the old file nor all 20 bytes"]),
    ],
)
@needs_posix
def test_every_ending_has_its_words(
    killed: Killed, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    demo_view.present(trial(Killed(-9, "part", 2, ()), killed))
    out = " ".join(capsys.readouterr().out.split())
    assert all(" ".join(text.split())[:20] in out for text in texts)
    assert ("durably kept the whole new file" in out) is (killed.state == "new")


@needs_posix
@pytest.mark.parametrize(("kept", "said"), [("none", True), ("durable", False)])
def test_a_level_that_is_not_kept_is_explained(
    kept: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Killed(-9, "old", 3, ())
    demo_view.present(trial(whole, whole, durably.Durability(kept)))
    out = " ".join(capsys.readouterr().out.split())
    assert ("'durable' was asked for, and 'none' is kept here: it lies in memory" in out) is said
