"""`python -m prove`, from platforms/windows: the test suite in a Windows Python, under Wine.

    python -m prove                     on Python 3.11
    python -m prove 3.13                on another one: 3.11, 3.12 or 3.13
    python -m prove 3.12 -k retries -x  with arguments for pytest

Runs the suite twice: with its files on drive C:, and on a drive that maps a folder of Linux. Needs Linux,
wine, a mingw compiler, a Python of that version for its library, and pip's registry. Exit code: that of
pytest; 77, with the reason, where the machine cannot run it; 2 for a wrong argument.
"""

from __future__ import annotations

import sys

from . import machine, sandbox, suite

CANNOT = 77


def main(arguments: list[str]) -> int:
    """Run the suite; the exit code."""
    version, rest = suite.VERSIONS[0], arguments
    if arguments and not arguments[0].startswith("-"):
        version, *rest = arguments
    if version not in suite.VERSIONS:
        print(__doc__, file=sys.stderr)
        return 2
    tools = machine.look(version)
    if isinstance(tools, str):
        print(f"cannot run here: {tools}", file=sys.stderr)
        return CANNOT
    try:
        return sandbox.alone(lambda: suite.run(version, rest, tools))
    except sandbox.UnavailableError as error:
        print(f"cannot run here: {error}", file=sys.stderr)
        return CANNOT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
