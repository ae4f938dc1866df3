"""Saves to mounts that lack something, or that others decide about: what each entry point does there."""

from __future__ import annotations

import sys
from pathlib import Path

# The list of the entry points for one file, and what mounts a file system for a test, are the tests' own.
sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "tests" / "support"))
