"""`python -m prove`, from platforms/linux: the power-cut rig."""

from __future__ import annotations

import sys

from .powercut.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
