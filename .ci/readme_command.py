"""Print a command of the README: ``demo`` or ``tests``, the only two blocks marked ``sh``.

On Windows the programs of a virtual environment lie in another directory, and Python 3 is called
``python``; the command is otherwise the same.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_README = Path(__file__).parent.parent / "README.md"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMES = ("demo", "tests")


def commands(text: str) -> dict[str, str]:
    """The two commands by name. Raises ValueError unless there are two blocks of one line each."""
    blocks = [block.strip() for block in _BLOCK.findall(text)]
    if len(blocks) != len(_NAMES):
        raise ValueError(f"README.md must have {len(_NAMES)} sh blocks, not {len(blocks)}")
    for block in blocks:
        if not block or "\n" in block:
            raise ValueError(f"an sh block of README.md must be one line, not {block!r}")
    return dict(zip(_NAMES, blocks, strict=True))


def for_windows(command: str) -> str:
    """The same command where virtual environments are laid out as on Windows."""
    return command.replace(".venv/bin/", ".venv/Scripts/").replace("python3 ", "python ")


def main() -> None:
    """Print the command that was asked for."""
    if len(sys.argv) != len(_NAMES) or sys.argv[1] not in _NAMES:
        sys.exit(f"usage: readme_command.py {'|'.join(_NAMES)}")
    try:
        command = commands(_README.read_text(encoding="utf-8"))[sys.argv[1]]
    except ValueError as error:
        sys.exit(f"readme_command.py: {error}")
    print(for_windows(command) if sys.platform == "win32" else command)


if __name__ == "__main__":
    main()
