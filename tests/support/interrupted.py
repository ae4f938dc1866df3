"""A transaction that is interrupted, and leaves its journal."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from durably.testing import RecordingSyscalls, use
from entry_points import in_child
from kills import killed
from transactions import EVERYTHING, JOURNAL, Scenario

if TYPE_CHECKING:
    from pathlib import Path


def _interrupted(root: Path, scenario: Scenario = EVERYTHING, *, renames: int = 1) -> None:
    """A root whose transaction was killed after it had put some of its files in place."""
    scenario.lay(root)

    def body() -> None:
        table = RecordingSyscalls()
        seen = []

        def look(name: str) -> None:
            standing = (root / JOURNAL).exists()
            if standing and name in ("replace", "renameat2"):
                seen.append(name)
            if len(seen) == renames + 1:  # the journal's own is the first
                os.kill(os.getpid(), signal.SIGKILL)

        class Looking(RecordingSyscalls):
            def _watched(self, name: str, function: Any) -> Any:
                def watched(*arguments: object, **keywords: object) -> object:
                    try:
                        return function(*arguments, **keywords)
                    finally:
                        look(name)

                return watched

        with use(Looking(table)):
            scenario.run(root)

    assert in_child(lambda: killed(body))
    assert (root / JOURNAL).exists()
