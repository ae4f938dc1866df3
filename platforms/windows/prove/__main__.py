"""`python -m prove`, from platforms/windows: the test suite in a Windows Python, under Wine.

    python -m prove                     on Python 3.11
    python -m prove 3.13                on another one: 3.11, 3.12 or 3.13
    python -m prove all                 on all three, one after the other
    python -m prove 3.12 -k retries -x  with arguments for pytest
    python -m prove 3.12 --record       the whole suite; keeps what it found out for the dossier
    python -m prove ci                  the tests that have something of Windows to show, in two minutes
    python -m prove page                writes the tables anew from what was kept
    python -m prove page --check        fails if they are out of date

Runs the tests twice: with their files on drive C:, and on a drive that maps a folder of Linux. Needs Linux,
wine, a mingw compiler, a Python of that version for its library, and pip's registry. Exit code: that of
pytest; 77, with the reason, where the machine cannot run it; 2 for a wrong argument.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from . import machine, page, records, sandbox, suite

if TYPE_CHECKING:
    from typing import IO

CANNOT = 77
WRONG = 2
RECORD = "--record"


def main(arguments: list[str]) -> int:
    """Run the suite; the exit code."""
    if arguments[:1] == ["page"] and arguments[1:] in ([], ["--check"]):
        return page.main(check=bool(arguments[1:]))
    what, rest = suite.VERSIONS[0], arguments
    if arguments and not arguments[0].startswith("-"):
        what, *rest = arguments
    if what == "all":
        return max(_other(version, rest) for version in suite.VERSIONS)
    short = what == "ci"
    if short:
        what = _mine()
    if what not in suite.VERSIONS or (RECORD in rest and (short or rest != [RECORD])):
        print(__doc__, file=sys.stderr)
        return WRONG
    if rest == [RECORD]:
        return _recorded(what)
    return _run(what, rest, short=short)


def _mine() -> str:
    """The version that runs this, whose library is there; or the first."""
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    return mine if mine in suite.VERSIONS else suite.VERSIONS[0]


def _other(version: str, rest: list[str]) -> int:
    # A sandbox is entered once in a process.
    return subprocess.run([sys.executable, "-m", "prove", version, *rest], check=False).returncode


def _recorded(version: str) -> int:
    if suite.ROOT.is_relative_to("/tmp"):
        print("the sandbox has a /tmp of its own: what lies there cannot be changed", file=sys.stderr)
        return WRONG
    with tempfile.TemporaryFile("w+", encoding="utf-8") as findings:
        code = _run(version, [], findings=findings)
        findings.seek(0)
        found = findings.read()
    if not found:
        return code
    records.write(version, **json.loads(found))
    return page.main(check=False) or code


def _run(version: str, arguments: list[str], *, short: bool = False, findings: IO[str] | None = None) -> int:
    tools = machine.look(version)
    if isinstance(tools, str):
        print(f"cannot run here: {tools}", file=sys.stderr)
        return CANNOT
    try:
        return sandbox.alone(lambda: suite.run(version, arguments, tools, short=short, findings=findings))
    except sandbox.UnavailableError as error:
        print(f"cannot run here: {error}", file=sys.stderr)
        return CANNOT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
