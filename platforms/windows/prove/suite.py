"""The test suite in the Windows Python, on each drive."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import install
from .sandbox import MEMORY

if TYPE_CHECKING:
    from .machine import Tools

VERSIONS = ("3.11", "3.12", "3.13")
ROOT = Path(__file__).resolve().parents[3]
CANNOT = 77
# Of the repository, what the tests read.
_PARTS = (
    "src", "tests", "platforms", "docs", ".ci", ".github",
    "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md",
)  # fmt: skip
_NEVER = shutil.ignore_patterns("__pycache__", ".hypothesis", ".pytest_cache", "*.pyc")


def run(version: str, arguments: list[str], tools: Tools) -> int:
    """Set everything up and run pytest on both drives; the worse of the exit codes."""
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
    say(f"set up in {time.monotonic() - started:.0f} s")
    codes = [_pytest(exe, place, arguments, environment, tools) for place in (r"C:\tmp", "L:\\")]
    return max(codes)


def _copy(place: Path) -> None:
    place.mkdir()
    for part in _PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, place / part, ignore=_NEVER)
        elif source.exists():
            shutil.copyfile(source, place / part)


def _pytest(
    exe: Path, place: str, arguments: list[str], environment: dict[str, str], tools: Tools
) -> int:
    """Pytest's exit code. Its files lie in ``place``, as Windows calls it."""
    say(f"files in {place}")
    started = time.monotonic()
    process = subprocess.Popen(
        # Python cannot start with a plain file of Linux as one of the three: pipes and the null device.
        [tools.wine, str(exe), "-X", "utf8", "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=MEMORY / "copy",
        env=environment | {"TEMP": place, "TMP": place, "PYTHONDONTWRITEBYTECODE": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    for line in process.stdout:
        sys.stdout.buffer.write(line.replace(b"\r\n", b"\n"))
        sys.stdout.buffer.flush()
    code = process.wait()
    say(f"files in {place}: exit code {code}, {time.monotonic() - started:.0f} s")
    return code


def say(what: str) -> None:
    """A heading."""
    print(f"\n== {what}", flush=True)
