"""What the coverage gate leaves out on this machine: only what a capability probe says it cannot run.

A plugin for coverage.py (see ``[tool.coverage.run]``). Two things are left out, with their reasons:

- the body of ``if sys.platform == "NAME":`` on every other system;
- a line or block whose first line ends in ``# needs PROBE``, where ``capabilities.PROBE()`` gives a
  reason why this machine cannot run it. The same probes skip the tests;
- the rooms of the stores, unless each of the servers that their tests save to can be started.

Run as a program, it prints what is left out here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from coverage import CoveragePlugin

import capabilities

if TYPE_CHECKING:
    from coverage.plugin_support import Plugins
    from coverage.types import TConfigurable

SOURCE = Path(__file__).parents[2] / "src"
_SYSTEMS = ("darwin", "linux", "win32")
_STORES = ["*/durably/_stores/*", "*/durably/stores.py"]
_MARK = re.compile(r"# needs (\w+)")


def exclusions() -> dict[str, str]:
    """Patterns of lines that cannot run here, each with its reason. Raises for an unknown probe."""
    found = {
        rf'if sys\.platform == "{system}":': f"only on {system}"
        for system in _SYSTEMS
        if system != sys.platform
    }
    for name in sorted(_marks()):
        reason = getattr(capabilities, name)()
        if reason:
            found[rf"# needs {name}\b"] = reason
    return found


def _marks() -> set[str]:
    return {name for path in SOURCE.rglob("*.py") for name in _MARK.findall(path.read_text(encoding="utf-8"))}


class ByCapability(CoveragePlugin):
    """Adds the patterns to coverage.py's own."""

    def configure(self, config: TConfigurable) -> None:
        """Called by coverage.py."""
        patterns = config.get_option("report:exclude_lines")
        assert isinstance(patterns, list)
        config.set_option("report:exclude_lines", [*patterns, *exclusions()])
        if capabilities.stores():
            config.set_option("run:omit", _STORES)


def coverage_init(registry: Plugins, _: object) -> None:
    """Called by coverage.py."""
    registry.add_configurer(ByCapability())


def main() -> None:
    """Print each exclusion, its reason, and the lines it begins at."""
    if capabilities.stores():
        print(f"not counted here: {capabilities.stores()} ({', '.join(_STORES)})")
    for pattern, reason in exclusions().items():
        print(f"not counted here: {reason} ({pattern})")
        for path in sorted(SOURCE.rglob("*.py")):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if re.search(pattern, line):
                    print(f"  {path.relative_to(SOURCE)}:{number}")


if __name__ == "__main__":
    main()
