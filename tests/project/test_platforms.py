"""platforms/: the steps it names are the steps that are taken, and what it claims is backed."""

from __future__ import annotations

import errno
import importlib.util
import os
import stat
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import durably
from capabilities import needs_linux, needs_proc, needs_unnamed_files
from durably import Durability
from durably._system.native import darwin as mac
from durably._system.native import win32 as win
from durably._system.syscalls import Syscalls
from durably.testing import RecordingSyscalls, use
from fakes import FakeMacOS, FakeWindows

if TYPE_CHECKING:
    from collections.abc import Callable

    from durably import Receipt

ROOT = Path(__file__).resolve().parents[2]
SYSTEMS = ("linux", "macos", "windows")
KEYS = {"promise", "file_system", "rig", "points", "violations", "kernel", "date"}
TABLES: dict[str, tuple[str, Callable[[], Syscalls]]] = {
    "linux": ("linux", Syscalls),
    "macos": ("darwin", FakeMacOS),
    "windows": ("win32", FakeWindows),
}


def _support() -> Any:
    specification = importlib.util.spec_from_file_location("support", ROOT / "platforms" / "support.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


support = _support()


class Steps(RecordingSyscalls):
    """A table that reads the steps of a save off its calls, without asking the routine."""

    def __init__(self, base: Syscalls) -> None:
        self.seen: list[str] = []
        super().__init__(base)

    def _before(
        self,
        name: str,
        arguments: tuple[object, ...],
        keywords: dict[str, object],
        function: Callable[..., Any],
    ) -> None:
        step = self._step(name, arguments)
        if step and not (step == "write" and self.seen[-1:] == ["write"]):
            self.seen.append(step)

    def _step(self, name: str, arguments: tuple[Any, ...]) -> str:
        if name == "open":
            return _opened(arguments[1])
        if name == "create_file":
            return "create" if arguments[3] == win.CREATE_NEW else ""
        if name in ("fsync", "fcntl"):
            return _flushed(arguments[0], arguments[1] if name == "fcntl" else None)
        renames = dict.fromkeys(("replace", "renameat2", "renameatx_np", "rename_by_handle"), "rename")
        return {"write": "write", "link": "link", **renames}.get(name, "")


def _opened(flags: int) -> str:
    if flags & os.O_CREAT:
        return "create"
    unnamed = getattr(os, "O_TMPFILE", 0)
    return "create unnamed" if unnamed and flags & unnamed == unnamed else ""


def _flushed(fd: int, command: int | None) -> str:
    names = {None: "fsync", mac.F_FULLFSYNC: "F_FULLFSYNC", mac.F_BARRIERFSYNC: "F_BARRIERFSYNC"}
    if command not in names:
        return ""
    return "fsync directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else names[command]


def _saved(entry_point: str, path: Path, level: Durability) -> Receipt:
    if entry_point == "steps":
        return durably.write_bytes(path, b"new", durability=level)
    writer = durably.open(path, "wb", durability=level)
    with writer as file:
        file.write(b"new")
    assert writer.receipt is not None
    return writer.receipt


@needs_proc
@needs_unnamed_files
@pytest.mark.parametrize("there", [True, False], ids=["replacing", "new"])
@pytest.mark.parametrize("level", Durability)
@pytest.mark.parametrize("entry_point", ["steps", "stream"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_steps_are_the_steps_that_are_taken(
    system: str, entry_point: str, level: Durability, there: bool, tmp_path: Path
) -> None:
    named = support.load(system)["steps"]
    named = named["stream"] if entry_point == "stream" else named
    platform, base = TABLES[system]
    path = tmp_path / "file"
    if there:
        path.write_bytes(b"old")
    table = Steps(base())
    with use(table, platform):
        receipt = _saved(entry_point, path, level)
    assert path.read_bytes() == b"new"
    assert table.seen == named[level]
    assert list(receipt.steps) == named[level]


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_level_adds_to_the_one_before(system: str) -> None:
    steps = support.load(system)["steps"]
    for named in (steps, steps["stream"]):
        assert set(named) - {"stream"} == set(Durability)
        kept = [
            {step.replace("F_BARRIERFSYNC", "F_FULLFSYNC") for step in named[level]} for level in Durability
        ]
        assert kept[0] < kept[1] <= kept[2]


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_proof_is_whole_and_has_its_rig(system: str) -> None:
    kinds = {kind for row in support.rows(system) for kind in row.kinds}
    for proof in support.load(system).get("proof", []):
        assert set(proof) == KEYS
        assert proof["promise"] in support.PROMISES
        assert proof["file_system"] in kinds
        assert proof["points"] > 0
        assert proof["violations"] == 0, "a promise that was broken is not a yes"
        assert isinstance(proof["date"], date)
        assert (ROOT / "platforms" / system / "prove" / proof["rig"]).is_dir()


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_yes_names_what_it_rests_on_and_nothing_else_does(system: str) -> None:
    platform = support.load(system)
    claimed = {
        (promise, kind)
        for row in support.rows(system)
        for kind in row.kinds
        for promise, answer in zip(support.PROMISES, row.promises, strict=True)
        if answer == "yes"
    }
    for promise, kind in claimed:
        assert support.source_of(platform, promise, kind)
    for promise, sources in platform["sources"].items():
        for kind in sources:
            assert kind == "default" or (promise, kind) in claimed
    assert set(platform["sources"]) == set(support.PROMISES)
    assert set(platform["not_proven"]) >= {
        promise for promise in support.PROMISES if promise not in _proven(platform)
    }


def _proven(platform: dict[str, Any]) -> set[str]:
    return {proof["promise"] for proof in platform.get("proof", [])}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_rendered_table_is_current(system: str) -> None:
    support.update(system, check=True)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_page_names_every_step_and_its_evidence(system: str) -> None:
    page = (ROOT / "platforms" / system / "README.md").read_text(encoding="utf-8")
    steps = support.load(system)["steps"]
    for named in (steps, steps["stream"]):
        for level in Durability:
            for step in named[level]:
                assert f"**{step}**" in page
    for word in ("documented", "reported", "not verified"):
        assert f"- **{word}**" in page


def _copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for system in SYSTEMS:
        (tmp_path / system).mkdir()
        for name in ("README.md", "platform.toml"):
            source = ROOT / "platforms" / system / name
            (tmp_path / system / name).write_bytes(source.read_bytes())
    monkeypatch.setattr(support, "HERE", tmp_path)
    return tmp_path / "linux"


def test_a_proof_is_shown_and_makes_the_page_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    linux = _copied(tmp_path, monkeypatch)
    assert support.main(["--check"]) == 0
    with (linux / "platform.toml").open("a", encoding="utf-8") as file:
        file.write(
            '\n[[proof]]\npromise = "crash"\nfile_system = "f2fs"\nrig = "powercut"\npoints = 1234\n'
            'violations = 0\nkernel = "6.18"\ndate = 2026-11-22\n'
        )
    assert support.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert "1234 points" not in (linux / "README.md").read_text(encoding="utf-8")
    assert support.main([]) == 0
    page = (linux / "README.md").read_text(encoding="utf-8")
    shown = [line for line in page.splitlines() if "yes, proven: 1234 points, 0 violations" in line]
    assert [line.split("|")[1].strip() for line in shown] == ["f2fs"]
    assert shown[0].split("|")[2].strip() == "", "a proof on a plain mount is none for other options"
    assert support.main(["--check"]) == 0


def test_an_unknown_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert support.main(["--chekc"]) == 2
    assert "--check" in capsys.readouterr().err


def test_it_runs_as_a_program() -> None:
    source = Path(durably.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(ROOT / "platforms" / "support.py"), "--check"],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(source)},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


@needs_linux
def test_macos_finds_out_what_it_supports_through_its_own_calls(tmp_path: Path) -> None:
    from durably._api.probe import probe

    table = FakeMacOS()
    with use(table, "darwin"):
        found = probe(tmp_path)
    assert (found.file_system, found.routine) == ("apfs", "macos")
    assert found.supports >= {"no-replace", "exchange"}
    assert os.listdir(tmp_path) == []
    table.disk.plan.fail("renameatx_np", errno.ENOTSUP)
    with use(table, "darwin"):
        assert probe(tmp_path).supports == found.supports - {"no-replace", "exchange"}
    table.disk.plan.fail("renameatx_np", errno.EIO)
    with use(table, "darwin"), pytest.raises(OSError, match="Input/output"):
        probe(tmp_path)
    assert os.listdir(tmp_path) == []
