"""The test suite in the Windows Python, on each drive."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from . import install, report
from .sandbox import MEMORY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .machine import Tools

VERSIONS = ("3.11", "3.12", "3.13")
ROOT = Path(__file__).resolve().parents[3]
CANNOT = 77
# Of the repository, what the tests read.
_PARTS = (
    "src", "tests", "platforms", "docs", ".ci", ".github",
    "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md",
)  # fmt: skip


class Drive(NamedTuple):
    """Where the tests put their files. ``short``: of the modules, what `python -m prove ci` runs there."""

    name: str
    place: str
    short: tuple[str, ...]


DRIVES = (
    Drive("C:", "C:\\tmp", ("windows", "windows_groups", "names", "create_only", "filesystem_abstract")),
    Drive("a drive that maps a folder of Linux", "L:\\", ("windows", "windows_ends", "staged_directory")),
)
# Wine takes TEMP from its registry, not from its environment.
_START = """
import os, runpy, sys
os.environ["TEMP"] = os.environ["TMP"] = sys.argv.pop(1)
runpy.run_module("pytest", run_name="__main__", alter_sys=True)
"""
_VERSION = "import sys; print(sys.version.split()[0])"
_NEVER = shutil.ignore_patterns("__pycache__", ".hypothesis", ".pytest_cache", "*.pyc")


def run(
    version: str, arguments: Sequence[str], tools: Tools, *, short: bool, findings: IO[str] | None
) -> int:
    """Set everything up and run pytest on both drives at once; the worse of the exit codes.

    ``short``: only what has something of Windows to show, half of it on each drive. ``findings``: gets what
    the tests have found out, as JSON.
    """
    started = time.monotonic()
    copy, linux = MEMORY / "copy", MEMORY / "linux"
    linux.mkdir()
    _copy(copy)
    try:
        exe = install.python(version, tools, MEMORY / "python")
        install.package(copy, exe)
    except install.UnavailableError as error:
        print(f"cannot run here: {error}", file=sys.stderr)
        return CANNOT
    prefix = MEMORY / "prefix"
    environment = install.prefix(tools, prefix, {"l": linux, "r": copy})
    (prefix / "drive_c" / "tmp").mkdir()
    (prefix / "drive_c" / "reports").mkdir()
    _say(f"Python {version}: set up in {time.monotonic() - started:.0f} s")
    command = [tools.wine, str(exe), "-X", "utf8", "-c", _START]
    # Of the two forms only the older one takes the figures that tests record.
    told = ["-o", "junit_family=xunit1", "--junitxml"]
    runs: list[tuple[str, subprocess.Popen[bytes]]] = []
    for drive in DRIVES:
        chosen = [_module(name) for name in drive.short] if short else []
        all_of_it = [*command, drive.place, *told, _report(drive), *chosen, *arguments]
        runs.append((drive.name, _start(all_of_it, environment)))
    code = max([_finish(name, run, started) for name, run in runs])
    if findings is not None:
        _tell(findings, prefix / "drive_c" / "reports", [tools.wine, str(exe)], environment)
    return code


def _module(name: str) -> str:
    """The file of tests of that name, from the project's folder."""
    (found,) = ROOT.glob(f"tests/*/test_{name}.py")
    return found.relative_to(ROOT).as_posix()


def _report(drive: Drive) -> str:
    return f"C:\\reports\\{drive.place[0]}.xml"


def _tell(findings: IO[str], reports: Path, python: list[str], environment: dict[str, str]) -> None:
    about = {
        "python": _output([*python, "-c", _VERSION], environment),
        "wine": _output([python[0], "--version"], environment),
    }
    drives = {drive.name: report.read(reports / f"{drive.place[0]}.xml") for drive in DRIVES}
    json.dump({"about": about, "drives": drives}, findings)
    findings.flush()


def _output(command: list[str], environment: dict[str, str]) -> str:
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    done = subprocess.run(command, env=environment, stdin=null, stdout=pipe, stderr=null, check=True)
    return done.stdout.decode().strip()


def _copy(place: Path) -> None:
    place.mkdir()
    for part in _PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, place / part, ignore=_NEVER)
        elif source.exists():
            shutil.copyfile(source, place / part)


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    # Python cannot start with a plain file of Linux as one of the three: pipes and the null device.
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(
        command, cwd=MEMORY / "copy", env=environment, stdin=null, stdout=pipe, stderr=subprocess.STDOUT
    )


def _finish(drive: str, run: subprocess.Popen[bytes], started: float) -> int:
    """Show what pytest says. Its exit code."""
    _say(f"files on {drive}")
    assert run.stdout is not None
    for line in run.stdout:
        sys.stdout.buffer.write(line.replace(b"\r\n", b"\n"))
        sys.stdout.buffer.flush()
    code = run.wait()
    _say(f"files on {drive}: exit code {code}, {time.monotonic() - started:.0f} s after the start")
    return code


def _say(what: str) -> None:
    print(f"\n== {what}", flush=True)
